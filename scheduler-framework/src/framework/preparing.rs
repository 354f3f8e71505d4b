//! PreBind: what is done for a placed pod before it is bound.

use super::{
    Framework, Permission, Setback,
    binding::status_of,
    meter::status::{ERROR, SKIP, SUCCESS},
};
use crate::{CycleState, Objection, PodInfo, Point, PreBind, PreBindVerdict};
use futures::future::try_join_all;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What is said of a pod whose place was taken while it was made ready.
pub(super) const PREEMPTED: &str = "preempted by DefaultPreemption";
/// And of one that is gone.
const GONE: &str = "pod does not exist any more";

/// A plugin that has something to do, by its name.
type Step<'a> = (&'static str, &'a dyn PreBind);

/// The plugins that are at work, the first to begin first.
#[derive(Default)]
struct Busy(Mutex<Vec<&'static str>>);

impl Busy {
    /// What comes of it when they are ended for this reason.
    fn ended(&self, why: &str) -> Setback {
        match self.0.lock().first() {
            Some(&plugin) => Setback::of(Objection::Error(why.to_owned()), "PreBind", plugin),
            None => Setback::Failed(why.to_owned()),
        }
    }
}

impl Framework {
    /// Whether it takes a while until a placed pod is bound, and the pod is to say meanwhile where it will be.
    ///
    /// # Errors
    /// When a plugin cannot say whether it has something to do; nobody waits for the pod's permission any more.
    pub(crate) fn announces(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
        permission: &Permission,
    ) -> Result<bool, Setback> {
        if !self.expecting {
            return Ok(false);
        }
        let began = self.meter.begin();
        let needed = self.preflight(state, pod, node);
        let status = match &needed {
            Ok(true) => SUCCESS,
            Ok(false) => SKIP,
            Err(_) => ERROR,
        };
        self.meter.end("PreBindPreFlight", status, began);
        if needed.is_err() {
            self.waiting.lock().remove(pod.uid());
        }
        Ok(needed? || matches!(permission, Permission::Pending(_)))
    }

    /// Whether a plugin has something to do; all are asked.
    fn preflight(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Result<bool, Setback> {
        let mut needed = false;
        for plugin in self.at(Point::PreBind) {
            let Some(point) = plugin.as_pre_bind() else { continue };
            match point.preflight(state, pod, node) {
                PreBindVerdict::Needed => needed = true,
                PreBindVerdict::Skip => {}
                PreBindVerdict::Error(why) => {
                    let name = plugin.name();
                    return Err(Setback::Failed(format!(
                        "running PreBindPreFlight {name:?}: {why}"
                    )));
                }
            }
        }
        Ok(needed)
    }

    /// Whether something is to be done before a pod can be bound.
    fn prepares(&self, state: &CycleState, pod: &PodInfo, node: &str) -> bool {
        let mut points = self.at(Point::PreBind).filter_map(|plugin| plugin.as_pre_bind());
        points.any(|point| point.preflight(state, pod, node) != PreBindVerdict::Skip)
    }

    /// Does it; until that is done another pod may take this one's place.
    pub(super) async fn prepare(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
    ) -> Result<(), Setback> {
        if !self.prepares(state, pod, node) {
            return Ok(());
        }
        let (cancel, cancelled) = oneshot::channel();
        self.preparing.lock().insert(pod.uid().to_owned(), cancel);
        let busy = Busy::default();
        let prepared = tokio::select! {
            biased;
            Ok(why) = cancelled => Err(busy.ended(why)),
            prepared = self.pre_bind(state, pod, node, &busy) => prepared,
        };
        let is_left = self.preparing.lock().remove(pod.uid()).is_some();
        // It was told to end when it had just come to an end.
        let is_late = !is_left && prepared.is_ok();
        if is_late { Err(Setback::Failed(PREEMPTED.to_owned())) } else { prepared }
    }

    /// Ends what is done for a pod, for that reason; `false` when nothing is.
    pub(super) fn stop(&self, uid: &str, why: &'static str) -> bool {
        let cancel = self.preparing.lock().remove(uid);
        // Should it be ready this very moment, it finds that it is not there any more.
        cancel.map(|cancel| cancel.send(why)).is_some()
    }

    /// Ends what is done for a pod that is gone.
    pub(crate) fn abandon(&self, uid: &str) {
        self.stop(uid, GONE);
    }

    async fn pre_bind(
        &self,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
        busy: &Busy,
    ) -> Result<(), Setback> {
        for group in self.steps(state, pod, node) {
            let steps = group.into_iter().map(|step| self.step(step, state, pod, node, busy));
            // The first objection ends what the others do.
            try_join_all(steps).await?;
        }
        Ok(())
    }

    /// What there is to do: one group after the other, all of a group at once.
    fn steps(&self, state: &CycleState, pod: &PodInfo, node: &str) -> Vec<Vec<Step<'_>>> {
        let mut groups: Vec<Vec<Step<'_>>> = Vec::new();
        let mut is_open = false;
        for plugin in self.at(Point::PreBind) {
            let Some(point) = plugin.as_pre_bind() else { continue };
            let parallel = point.allows_parallel(state, pod, node);
            let needed = point.preflight(state, pod, node) != PreBindVerdict::Skip;
            let step: Step<'_> = (plugin.name(), point);
            if is_open
                && parallel
                && needed
                && let Some(group) = groups.last_mut()
            {
                group.push(step);
            } else if needed {
                groups.push(vec![step]);
            }
            is_open = parallel && (is_open || needed);
        }
        groups
    }

    async fn step(
        &self,
        (name, point): Step<'_>,
        state: &CycleState,
        pod: &PodInfo,
        node: &str,
        busy: &Busy,
    ) -> Result<(), Setback> {
        let began = self.meter.begin_plugin(state.sampled);
        busy.0.lock().push(name);
        let done = point.pre_bind(state, pod, node).await;
        busy.0.lock().retain(|own| *own != name);
        let done = done.map_err(|own| Setback::of(own, "PreBind", name));
        self.meter.end_plugin("PreBind", name, status_of(&done), began);
        done
    }
}
