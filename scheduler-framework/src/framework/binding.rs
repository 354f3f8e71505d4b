use super::{Framework, meter::status};
use crate::{BindVerdict, CycleState, PermitVerdict, PodInfo, Point, PreBindVerdict};
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::oneshot;

/// A placed pod that waits for the plugins which hold it back.
#[derive(Debug)]
pub(super) struct Waiting {
    plugins: BTreeSet<&'static str>,
    answer: oneshot::Sender<Result<(), String>>,
}

/// What Permit decided for a pod.
#[derive(Debug)]
pub(crate) enum Permission {
    Granted,
    Pending { answer: oneshot::Receiver<Result<(), String>>, limit: Duration },
}

impl Framework {
    /// Asks all Reserve plugins; on a refusal takes everything back.
    pub(crate) fn reserve(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), String> {
        let start = self.meter.begin();
        for plugin in self.at(Point::Reserve) {
            let Some(point) = plugin.as_reserve() else { continue };
            let began = self.meter.begin_plugin(state.sampled);
            let reserved = point.reserve(state, pod, node);
            let status = if reserved.is_ok() { status::SUCCESS } else { status::ERROR };
            self.meter.end_plugin("Reserve", plugin.name(), status, began);
            if let Err(why) = reserved {
                self.meter.end("Reserve", status, start);
                self.unreserve(state, pod, node);
                return Err(format!("running Reserve plugin {:?}: {why}", plugin.name()));
            }
        }
        self.meter.end("Reserve", status::SUCCESS, start);
        Ok(())
    }

    pub(crate) fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) {
        let start = self.meter.begin();
        for plugin in self.at(Point::Reserve).rev() {
            if let Some(point) = plugin.as_reserve() {
                let began = self.meter.begin_plugin(state.sampled);
                point.unreserve(state, pod, node);
                self.meter.end_plugin("Unreserve", plugin.name(), status::SUCCESS, began);
            }
        }
        self.meter.end("Unreserve", status::SUCCESS, start);
    }

    /// Whether the pod could be bound now, or would have to wait.
    pub(crate) fn would_permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<bool, String> {
        Ok(self.ask_permit(state, pod, node)?.0.is_empty())
    }

    /// Asks all Permit plugins.
    pub(crate) fn permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<Permission, String> {
        let (holding, limit) = self.ask_permit(state, pod, node)?;
        if holding.is_empty() {
            return Ok(Permission::Granted);
        }
        let (sender, answer) = oneshot::channel();
        self.waiting
            .lock()
            .insert(pod.uid().to_owned(), Waiting { plugins: holding, answer: sender });
        Ok(Permission::Pending { answer, limit })
    }

    /// Which plugins want to wait, and how long at most.
    fn ask_permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(BTreeSet<&'static str>, Duration), String> {
        let mut holding = BTreeSet::new();
        let mut limit = Duration::MAX;
        let start = self.meter.begin();
        for plugin in self.at(Point::Permit) {
            let Some(point) = plugin.as_permit() else { continue };
            let began = self.meter.begin_plugin(state.sampled);
            let verdict = point.permit(state, pod, node);
            let status = match &verdict {
                PermitVerdict::Allow => status::SUCCESS,
                PermitVerdict::Wait(_) => status::WAIT,
                PermitVerdict::Reject(_) => status::UNSCHEDULABLE,
            };
            self.meter.end_plugin("Permit", plugin.name(), status, began);
            match verdict {
                PermitVerdict::Allow => {}
                PermitVerdict::Wait(most) => {
                    holding.insert(plugin.name());
                    limit = limit.min(most);
                }
                PermitVerdict::Reject(why) => {
                    self.meter.end("Permit", status, start);
                    return Err(why);
                }
            }
        }
        let status = if holding.is_empty() { status::SUCCESS } else { status::WAIT };
        self.meter.end("Permit", status, start);
        Ok((holding, limit))
    }

    /// Waits for a pod's permission.
    pub(crate) async fn permitted(
        &self,
        pod: &PodInfo,
        permission: Permission,
    ) -> Result<(), String> {
        let Permission::Pending { answer, limit } = permission else { return Ok(()) };
        let began = self.meter.begin();
        let outcome = kubeplane_clock::timeout(&*self.clock, limit, answer).await;
        let status = match &outcome {
            Some(Ok(Ok(()))) => status::SUCCESS,
            Some(Err(_)) => status::ERROR,
            _ => status::UNSCHEDULABLE,
        };
        self.meter.waited(status, began);
        self.waiting.lock().remove(pod.uid());
        match outcome {
            Some(Ok(answer)) => answer,
            Some(Err(_)) => Err("the permission was dropped".into()),
            None => Err("timed out waiting on permit".into()),
        }
    }

    /// Lets a waiting pod go as far as one plugin is concerned; `false` when it does not wait.
    pub fn allow(&self, uid: &str, plugin: &str) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(pod) = waiting.get_mut(uid) else { return false };
        pod.plugins.retain(|name| *name != plugin);
        if pod.plugins.is_empty()
            && let Some(pod) = waiting.remove(uid)
        {
            // The pod may just have timed out.
            let _ = pod.answer.send(Ok(()));
        }
        true
    }

    /// Gives up a waiting pod; `false` when it does not wait.
    pub fn reject(&self, uid: &str, why: &str) -> bool {
        let pod = self.waiting.lock().remove(uid);
        pod.is_some_and(|pod| pod.answer.send(Err(why.to_owned())).is_ok())
    }

    /// The uids of the pods that wait for permission.
    #[must_use]
    pub fn waiting(&self) -> Vec<String> {
        self.waiting.lock().keys().cloned().collect()
    }

    /// Everything from PreBind to PostBind.
    pub(crate) async fn bind(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), String> {
        let began = self.meter.begin();
        let prepared = self.pre_bind(state, pod, node).await;
        self.meter.end("PreBind", status_of(&prepared), began);
        prepared?;
        let began = self.meter.begin();
        let bound = self.bind_only(state, pod, node).await;
        self.meter.end("Bind", status_of(&bound), began);
        bound?;
        let start = self.meter.begin();
        for plugin in self.at(Point::PostBind) {
            if let Some(point) = plugin.as_post_bind() {
                let began = self.meter.begin_plugin(state.sampled);
                point.post_bind(state, pod, node);
                self.meter.end_plugin("PostBind", plugin.name(), status::SUCCESS, began);
            }
        }
        self.meter.end("PostBind", status::SUCCESS, start);
        Ok(())
    }

    async fn pre_bind(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Result<(), String> {
        for plugin in self.at(Point::PreBind) {
            let Some(point) = plugin.as_pre_bind() else { continue };
            if point.preflight(state, pod, node) != PreBindVerdict::Needed {
                continue;
            }
            let began = self.meter.begin_plugin(state.sampled);
            let done = point.pre_bind(state, pod, node).await;
            self.meter.end_plugin("PreBind", plugin.name(), status_of(&done), began);
            done.map_err(|why| format!("running PreBind plugin {:?}: {why}", plugin.name()))?;
        }
        Ok(())
    }

    async fn bind_only(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Result<(), String> {
        if let Some(extender) = self.extenders(pod).find(|own| own.binds()) {
            return extender.bind(pod, node).await;
        }
        for plugin in self.at(Point::Bind) {
            let Some(point) = plugin.as_bind() else { continue };
            let began = self.meter.begin_plugin(state.sampled);
            let verdict = point.bind(state, pod, node).await;
            let status = match &verdict {
                BindVerdict::Bound => status::SUCCESS,
                BindVerdict::Skip => status::SKIP,
                BindVerdict::Error(_) => status::ERROR,
            };
            self.meter.end_plugin("Bind", plugin.name(), status, began);
            match verdict {
                BindVerdict::Bound => return Ok(()),
                BindVerdict::Skip => {}
                BindVerdict::Error(why) => {
                    return Err(format!("running Bind plugin {:?}: {why}", plugin.name()));
                }
            }
        }
        Err("no plugin bound the pod".into())
    }
}

fn status_of(result: &Result<(), String>) -> &'static str {
    if result.is_ok() { status::SUCCESS } else { status::ERROR }
}
