use super::super::{
    bindings::{after, bind},
    cycle::Loop,
    reports::insist,
};
use crate::{
    CycleState, Diagnosis, Framework, Nomination, PodInfo, groups::PodGroupObject, queue::QueuedPod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

const UNSCHEDULABLE: &str = "pod group is unschedulable";
const SHORT: &str = "waiting for minCount pods from a gang to be scheduled, \
                     one or more plugins asked to wait and no plugin rejected pod";
const PREEMPTING: &str = "pod group is waiting for preemption to complete";

/// What came of one pod of a group.
pub(super) enum Fate {
    /// It is assumed and reserved there; with a diagnosis if room has to be made first.
    Held {
        node: String,
        state: Box<CycleState>,
        diagnosis: Option<Box<Diagnosis>>,
    },
    Unschedulable(Box<Diagnosis>),
    Failed(String),
}

/// What came of the group.
pub(super) enum Verdict {
    /// Enough pods have a node.
    Placed,
    /// Enough will have when others have left; what is said of the group until then.
    Preempting(String),
    /// Not enough have, and perhaps more is to say.
    Refused(String),
    /// What went wrong, for the group and those of its pods that have no failure of their own.
    Failed(String),
}

/// One try to place a group.
pub(super) struct Attempt {
    pub(super) fates: Vec<Fate>,
    pub(super) verdict: Verdict,
    /// Whether what it held was let go.
    pub(super) reverted: bool,
}

impl Attempt {
    /// Without anything said of single pods.
    pub(super) fn new(verdict: Verdict) -> Self {
        Self { fates: Vec::new(), verdict, reverted: false }
    }

    /// Enough pods have a node, or will have when others have left.
    pub(super) fn suffice(&mut self, preempting: bool) {
        self.verdict = match preempting {
            true => Verdict::Preempting(format!("{UNSCHEDULABLE}, {PREEMPTING}")),
            false => Verdict::Placed,
        };
    }

    /// Something failed for the next pod, and so for all.
    pub(super) fn fail(&mut self, why: String) {
        let group = format!("failed to schedule other pod from a pod group: {why}");
        self.fates.push(Fate::Failed(why));
        self.verdict = Verdict::Failed(group);
    }

    /// The pods that found a node, with it.
    pub(super) fn assigned(&self, pods: &[QueuedPod]) -> Vec<(Arc<PodInfo>, String)> {
        let each = pods.iter().zip(&self.fates).filter_map(|(pod, fate)| match fate {
            Fate::Held { node, .. } => Some((pod.info.clone(), node.clone())),
            Fate::Unschedulable(_) | Fate::Failed(_) => None,
        });
        each.collect()
    }

    /// What it counts as.
    pub(super) fn result(&self) -> &'static str {
        match &self.verdict {
            Verdict::Placed => "scheduled",
            Verdict::Preempting(_) => "waiting_on_preemption",
            Verdict::Refused(_) => "unschedulable",
            Verdict::Failed(_) => "error",
        }
    }

    /// What is said of the group.
    pub(super) fn message(&self) -> String {
        match &self.verdict {
            Verdict::Placed => String::new(),
            Verdict::Refused(why) if why.is_empty() => UNSCHEDULABLE.to_owned(),
            Verdict::Preempting(why) | Verdict::Refused(why) | Verdict::Failed(why) => why.clone(),
        }
    }
}

impl Loop {
    /// Binds what was placed, or sends all back.
    pub(super) fn settle(
        &mut self,
        framework: &Arc<Framework>,
        pods: Vec<QueuedPod>,
        mut attempt: Attempt,
        object: Option<Arc<PodGroupObject>>,
        started: Duration,
    ) {
        let message = attempt.message();
        let (status, reason) = match &attempt.verdict {
            Verdict::Placed => ("True", "Scheduled"),
            Verdict::Preempting(_) | Verdict::Refused(_) => ("False", "Unschedulable"),
            Verdict::Failed(_) => ("False", "SchedulerError"),
        };
        if let Some(object) = object {
            self.tell_group(&object, status, reason, &message);
        }
        if !matches!(attempt.verdict, Verdict::Placed) {
            self.revert(framework, &pods, &mut attempt);
        }
        let mut fates = attempt.fates.into_iter();
        for pod in pods {
            let fate = fates.next();
            let mut result = "unschedulable";
            match (&attempt.verdict, fate) {
                (_, Some(Fate::Failed(why))) => {
                    result = "error";
                    self.fail(pod, &why);
                }
                (Verdict::Failed(why), _) => {
                    result = "error";
                    self.fail(pod, why);
                }
                (_, Some(Fate::Unschedulable(diagnosis))) => self.refuse(pod, &diagnosis),
                (Verdict::Preempting(_), Some(Fate::Held { diagnosis: Some(own), .. })) => {
                    self.refuse(pod, &own);
                }
                (Verdict::Preempting(_), Some(Fate::Held { node, .. })) => {
                    self.wait_for_group(pod, &message, &Nomination::Node(node));
                }
                (Verdict::Placed, Some(Fate::Held { node, mut state, diagnosis: Some(_) })) => {
                    framework.unreserve(&mut state, &pod.info, &node);
                    self.release(&pod);
                    self.wait_for_enough(pod);
                }
                (Verdict::Placed, Some(Fate::Held { node, state, diagnosis: None })) => {
                    // It counts when it is known how the binding went.
                    self.commit(framework, pod, node, *state);
                    continue;
                }
                (Verdict::Refused(_), Some(Fate::Held { .. })) => self.wait_for_enough(pod),
                (_, None) => self.wait_for_group(pod, &message, &Nomination::Keep),
            }
            self.attempted(framework, result, started);
        }
    }

    fn commit(
        &mut self,
        framework: &Arc<Framework>,
        pod: QueuedPod,
        node: String,
        mut state: CycleState,
    ) {
        let started = self.clock.elapsed();
        state.set_placed();
        match framework.permit(&mut state, &pod.info, &node) {
            Ok(permission) => {
                let framework = framework.clone();
                let (evaluated, feasible, followed) = (0, 0, false);
                let placement = crate::Placement { node, evaluated, feasible, followed, state };
                let before = self.reports.turn(pod.info.uid());
                let (client, clock) = (self.client.clone(), self.clock.clone());
                let binding = bind(client, clock, framework, pod, placement, permission, started);
                self.bindings.spawn(after(before, binding));
            }
            Err(setback) => {
                framework.unreserve(&mut state, &pod.info, &node);
                self.give_up(pod, &node, &setback);
            }
        }
    }

    pub(super) fn fail_group(&mut self, pods: Vec<QueuedPod>, key: &str, why: &str) {
        tracing::warn!(group = key, why, "group not placed");
        pods.into_iter().for_each(|pod| self.fail(pod, why));
    }

    /// There is room for it, but not for enough of its group.
    fn wait_for_enough(&mut self, pod: QueuedPod) {
        self.wait_for_group(pod, &format!("{UNSCHEDULABLE}, {SHORT}"), &Nomination::Clear);
    }

    /// It waits for the rest of its group.
    fn wait_for_group(&mut self, pod: QueuedPod, message: &str, nomination: &Nomination) {
        self.nominate(&pod, nomination);
        self.report(&pod.info, "Unschedulable", message, nomination);
        self.queue.set_unschedulable(pod, BTreeSet::new());
    }

    /// Tells how the group stands; one that was placed once stays so.
    fn tell_group(&mut self, group: &PodGroupObject, status: &str, reason: &str, message: &str) {
        const KIND: &str = "PodGroupScheduled";
        let known = group.status.conditions.iter().find(|own| own.type_ == KIND);
        let same = known.is_some_and(|own| {
            own.status == "True" && status != "True"
                || own.status == status
                    && own.reason == reason
                    && own.message == message
                    && own.observed_generation == group.metadata.generation
        });
        if same {
            return;
        }
        let since = known.filter(|own| own.status == status);
        let now = || Time(self.clock.now());
        let condition = Condition {
            type_: KIND.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            observed_generation: group.metadata.generation,
            last_transition_time: since.map_or_else(now, |own| own.last_transition_time.clone()),
        };
        let namespace = group.namespace().unwrap_or_default();
        let api: Api<PodGroupObject> = Api::namespaced(self.client.clone(), &namespace);
        let patch =
            json!({"metadata": {"uid": group.metadata.uid}, "status": {"conditions": [condition]}});
        let (name, clock) = (group.name_any(), self.clock.clone());
        let uid = group.metadata.uid.as_deref().unwrap_or_default();
        self.reports.spawn(uid, async move {
            // Said once, so it has to arrive: placed pods do not come by again.
            let (parameters, patch) = (PatchParams::default(), Patch::Strategic(patch));
            let told = insist(&clock, || api.patch_status(&name, &parameters, &patch)).await;
            if let Err(error) = told {
                tracing::warn!(namespace, name, %error, "condition of the group not written");
            }
        });
    }
}
