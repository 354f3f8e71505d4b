use super::{Framework, meter::status, preparing::PREEMPTED};
use crate::{BindVerdict, CycleState, Objection, PermitVerdict, PodInfo, Point, span::as_go};
use std::{collections::BTreeMap, time::Duration};
use tokio::sync::oneshot;

/// What is said of a pod whose place was taken while it waited.
const PREEMPTED_WAITING: &str = "waiting on permit for pod: preempted";

/// No plugin may have a placed pod wait for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// A placed pod that waits for the plugins which hold it back.
#[derive(Debug)]
pub(super) struct Waiting {
    /// How long each of them does so at most.
    plugins: BTreeMap<&'static str, Duration>,
    /// When that began, by the clock's [`elapsed`](kubeplane_clock::Clock::elapsed).
    since: Duration,
    answer: oneshot::Sender<Answer>,
}

/// What a waiting pod is told.
type Answer = Result<(), Setback>;

impl Waiting {
    /// The plugin whose patience ends first: how long it was in all, and when it ends.
    fn first(&self) -> Option<(&'static str, Duration, Duration)> {
        let (plugin, most) = self.plugins.iter().min_by_key(|(_, most)| **most)?;
        Some((*plugin, *most, self.since.saturating_add(*most)))
    }
}

/// Why a placement does not come to a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setback {
    /// A plugin will not have it, as if it had refused the node.
    Rejected { plugin: &'static str, why: String },
    /// A plugin that prepares or binds the pod will not have it: it is tried again whatever happens.
    Refused(String),
    /// Something failed.
    Failed(String),
}

impl Setback {
    /// What a plugin objects at a point.
    pub(super) fn of(objection: Objection, point: &str, plugin: &'static str) -> Self {
        match objection {
            Objection::Unschedulable(why) if point == "PreBind" => Self::Refused(why),
            Objection::Unschedulable(why) => Self::Rejected { plugin, why },
            Objection::Error(why) => {
                Self::Failed(format!("running {point} plugin {plugin:?}: {why}"))
            }
        }
    }

    /// What went wrong, in words.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Rejected { why, .. } | Self::Refused(why) | Self::Failed(why) => why,
        }
    }
}

/// What Permit decided for a pod.
#[derive(Debug)]
pub(crate) enum Permission {
    Granted,
    Pending(oneshot::Receiver<Answer>),
}

impl Framework {
    /// Asks all Reserve plugins; on a refusal takes everything back.
    pub(crate) fn reserve(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), Setback> {
        let start = self.meter.begin();
        for plugin in self.at(Point::Reserve) {
            let Some(point) = plugin.as_reserve() else { continue };
            let began = self.meter.begin_plugin(state.sampled);
            let reserved = point.reserve(state, pod, node);
            let reserved = reserved.map_err(|own| Setback::of(own, "Reserve", plugin.name()));
            let status = status_of(&reserved);
            self.meter.end_plugin("Reserve", plugin.name(), status, began);
            if reserved.is_err() {
                self.meter.end("Reserve", status, start);
                self.unreserve(state, pod, node);
                return reserved;
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
    ) -> Result<bool, Setback> {
        Ok(self.ask_permit(state, pod, node)?.is_empty())
    }

    /// Asks all Permit plugins.
    pub(crate) fn permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<Permission, Setback> {
        let plugins = self.ask_permit(state, pod, node)?;
        if plugins.is_empty() {
            return Ok(Permission::Granted);
        }
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { plugins, since: self.clock.elapsed(), answer };
        self.waiting.lock().insert(pod.uid().to_owned(), waiting);
        Ok(Permission::Pending(answered))
    }

    /// Which plugins want to wait, and how long each at most.
    fn ask_permit(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<BTreeMap<&'static str, Duration>, Setback> {
        let mut holding = BTreeMap::new();
        let start = self.meter.begin();
        for plugin in self.at(Point::Permit) {
            let Some(point) = plugin.as_permit() else { continue };
            let began = self.meter.begin_plugin(state.sampled);
            let verdict = point.permit(state, pod, node);
            let status = match &verdict {
                PermitVerdict::Allow => status::SUCCESS,
                PermitVerdict::Wait(_) => status::WAIT,
                PermitVerdict::Reject(_) => status::UNSCHEDULABLE,
                PermitVerdict::Error(_) => status::ERROR,
            };
            self.meter.end_plugin("Permit", plugin.name(), status, began);
            match verdict {
                PermitVerdict::Allow => {}
                PermitVerdict::Wait(most) => {
                    holding.insert(plugin.name(), most.min(LONGEST_WAIT));
                }
                PermitVerdict::Reject(why) => {
                    self.meter.end("Permit", status, start);
                    return Err(Setback::Rejected { plugin: plugin.name(), why });
                }
                PermitVerdict::Error(why) => {
                    self.meter.end("Permit", status, start);
                    return Err(Setback::of(Objection::Error(why), "Permit", plugin.name()));
                }
            }
        }
        let status = if holding.is_empty() { status::SUCCESS } else { status::WAIT };
        self.meter.end("Permit", status, start);
        Ok(holding)
    }

    /// Waits for a pod's permission.
    pub(crate) async fn permitted(
        &self,
        pod: &PodInfo,
        permission: Permission,
    ) -> Result<(), Setback> {
        let Permission::Pending(mut answer) = permission else { return Ok(()) };
        let began = self.meter.begin();
        let outcome = self.answered(pod.uid(), &mut answer).await;
        let status = match &outcome {
            Some(Ok(())) => status::SUCCESS,
            Some(Err(_)) => status::UNSCHEDULABLE,
            None => status::ERROR,
        };
        self.meter.waited(status, began);
        self.waiting.lock().remove(pod.uid());
        outcome.unwrap_or_else(|| Err(Setback::Failed("the permission was dropped".into())))
    }

    /// What a waiting pod is told; that it is refused, when a plugin that still holds it back has no more patience; `None`
    /// if nobody is left who could.
    async fn answered(&self, uid: &str, answer: &mut oneshot::Receiver<Answer>) -> Option<Answer> {
        loop {
            let first = self.waiting.lock().get(uid).and_then(Waiting::first);
            let Some((plugin, most, until)) = first else { return answer.await.ok() };
            let left = until.saturating_sub(self.clock.elapsed());
            let told = kubeplane_clock::timeout(&*self.clock, left, &mut *answer).await;
            if let Some(told) = told {
                return told.ok();
            }
            let holds = |own: &Waiting| own.plugins.contains_key(plugin);
            if self.waiting.lock().get(uid).is_some_and(holds) {
                let waited = as_go(most);
                let why =
                    format!("rejected due to timeout after waiting {waited} at plugin {plugin}");
                return Some(Err(Setback::Rejected { plugin, why }));
            }
        }
    }

    /// Lets a waiting pod go as far as one plugin is concerned; `false` when it does not wait.
    pub fn allow(&self, uid: &str, plugin: &str) -> bool {
        let mut waiting = self.waiting.lock();
        let Some(pod) = waiting.get_mut(uid) else { return false };
        pod.plugins.retain(|name, _| *name != plugin);
        if pod.plugins.is_empty()
            && let Some(pod) = waiting.remove(uid)
        {
            // The pod may just have timed out.
            let _ = pod.answer.send(Ok(()));
        }
        true
    }

    /// Has a waiting pod count as refused by a plugin it waits for, so that it is tried again after what that plugin
    /// waits for; `false` when it does not wait.
    pub fn reject(&self, uid: &str, why: &str) -> bool {
        let Some(pod) = self.waiting.lock().remove(uid) else { return false };
        let plugin = pod.plugins.keys().next().copied().unwrap_or_default();
        pod.answer.send(Err(Setback::Rejected { plugin, why: why.to_owned() })).is_ok()
    }

    /// Takes the place of a pod that waits, or is made ready, for another; it is tried again by itself. `false` when it
    /// is neither.
    pub(crate) fn preempt(&self, uid: &str) -> bool {
        let waiting = self.waiting.lock().remove(uid);
        if let Some(pod) = waiting {
            return pod.answer.send(Err(Setback::Failed(PREEMPTED_WAITING.into()))).is_ok();
        }
        self.stop(uid, PREEMPTED)
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
    ) -> Result<(), Setback> {
        let began = self.meter.begin();
        let prepared = self.prepare(state, pod, node).await;
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

    async fn bind_only(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), Setback> {
        for extender in self.extenders(pod).filter(|own| own.binds()) {
            match extender.bind(pod, node).await {
                Err(error) if extender.is_ignorable() => {
                    tracing::info!(extender = extender.url(), error, "extender skipped");
                }
                bound => return bound.map_err(Setback::Failed),
            }
        }
        for plugin in self.at(Point::Bind) {
            let Some(point) = plugin.as_bind() else { continue };
            let began = self.meter.begin_plugin(state.sampled);
            let verdict = point.bind(state, pod, node).await;
            let status = match &verdict {
                BindVerdict::Bound => status::SUCCESS,
                BindVerdict::Skip => status::SKIP,
                BindVerdict::Unschedulable(_) => status::UNSCHEDULABLE,
                BindVerdict::Error(_) => status::ERROR,
            };
            self.meter.end_plugin("Bind", plugin.name(), status, began);
            match verdict {
                BindVerdict::Bound => return Ok(()),
                BindVerdict::Skip => {}
                BindVerdict::Unschedulable(why) => return Err(Setback::Refused(why)),
                BindVerdict::Error(why) => {
                    return Err(Setback::of(Objection::Error(why), "Bind", plugin.name()));
                }
            }
        }
        Err(Setback::Failed("no plugin bound the pod".to_owned()))
    }
}

pub(super) fn status_of(result: &Result<(), Setback>) -> &'static str {
    match result {
        Ok(()) => status::SUCCESS,
        Err(Setback::Rejected { .. } | Setback::Refused(_)) => status::UNSCHEDULABLE,
        Err(Setback::Failed(_)) => status::ERROR,
    }
}
