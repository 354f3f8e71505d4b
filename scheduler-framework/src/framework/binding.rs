use super::Framework;
use crate::{BindVerdict, CycleState, PermitVerdict, PodInfo, PreBindVerdict};
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
        for plugin in self.plugins() {
            if let Some(point) = plugin.as_reserve()
                && let Err(why) = point.reserve(state, pod, node)
            {
                self.unreserve(state, pod, node);
                return Err(format!("running Reserve plugin {:?}: {why}", plugin.name()));
            }
        }
        Ok(())
    }

    pub(crate) fn unreserve(&self, state: &mut CycleState, pod: &PodInfo, node: &str) {
        for own in self.plugins.iter().rev() {
            if let Some(point) = own.plugin.as_reserve() {
                point.unreserve(state, pod, node);
            }
        }
    }

    /// Asks all Permit plugins.
    pub(crate) fn permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<Permission, String> {
        let mut holding = BTreeSet::new();
        let mut limit = Duration::MAX;
        for plugin in self.plugins() {
            match plugin.as_permit().map(|point| point.permit(state, pod, node)) {
                None | Some(PermitVerdict::Allow) => {}
                Some(PermitVerdict::Wait(most)) => {
                    holding.insert(plugin.name());
                    limit = limit.min(most);
                }
                Some(PermitVerdict::Reject(why)) => return Err(why),
            }
        }
        if holding.is_empty() {
            return Ok(Permission::Granted);
        }
        let (sender, answer) = oneshot::channel();
        self.waiting
            .lock()
            .insert(pod.uid().to_owned(), Waiting { plugins: holding, answer: sender });
        Ok(Permission::Pending { answer, limit })
    }

    /// Waits for a pod's permission.
    pub(crate) async fn permitted(
        &self,
        pod: &PodInfo,
        permission: Permission,
    ) -> Result<(), String> {
        let Permission::Pending { answer, limit } = permission else { return Ok(()) };
        let outcome = kubeplane_clock::timeout(&*self.clock, limit, answer).await;
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
        for plugin in self.plugins() {
            if let Some(point) = plugin.as_pre_bind()
                && point.preflight(state, pod, node) == PreBindVerdict::Needed
            {
                let done = point.pre_bind(state, pod, node).await;
                done.map_err(|why| format!("running PreBind plugin {:?}: {why}", plugin.name()))?;
            }
        }
        self.bind_only(state, pod, node).await?;
        for plugin in self.plugins() {
            if let Some(point) = plugin.as_post_bind() {
                point.post_bind(state, pod, node);
            }
        }
        Ok(())
    }

    async fn bind_only(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Result<(), String> {
        for plugin in self.plugins() {
            let Some(point) = plugin.as_bind() else { continue };
            match point.bind(state, pod, node).await {
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
