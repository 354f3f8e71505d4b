//! Which resizes of pods the node has room for, in which order, and what is told of them (KEP-1287).
//!
//! A pod that asks for more than there is keeps what it has and waits; it is looked at again when another pod has ended or
//! has less, and from time to time. The answers are computed without asking or telling anybody.

pub(crate) mod words;

use crate::{
    admit,
    allocation::Allocation,
    container::security,
    host::Host,
    metrics::resizes::Counts,
    pods::Record,
    spec,
    status::{Verdict, whole_seconds},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kubeplane_client::EventType;
use kubeplane_workload::requests;
use std::{cmp::Reverse, collections::HashMap, sync::Arc};
use tokio::sync::Notify;

/// The condition of a pod that was not given what it asks for.
pub(crate) const PENDING: &str = "PodResizePending";
/// The condition of a pod whose containers do not have yet what it was given.
pub(crate) const IN_PROGRESS: &str = "PodResizeInProgress";

const DEFERRED: &str = "Deferred";
const INFEASIBLE: &str = "Infeasible";
pub(crate) const ERROR: &str = "Error";

/// A pod may ask for something else than it has: it is looked at, or what was told of its wish is taken back. Why, is said
/// in metrics.
pub(crate) fn asked(host: &Host, uid: &str, trigger: &'static str) {
    let waits = host.pods.change(uid, |record| {
        let pod = &record.pod;
        let given = &mut record.given;
        given.waits = given.allocated.as_ref().is_some_and(|own| own.differs(pod));
        if !given.waits {
            given.pending = None;
        }
        given.waits
    });
    if waits == Some(true) {
        retry(host, trigger);
    }
}

/// Takes up what was told of the wishes of a pod before this kubelet worked on it.
pub(crate) fn recall(host: &Host, uid: &str) {
    host.pods.change(uid, |record| {
        let known = spec::status(&record.pod).conditions.clone().unwrap_or_default();
        for condition in known {
            match condition.type_.as_str() {
                PENDING => record.given.pending = Some(condition),
                IN_PROGRESS => record.given.in_progress = Some(condition),
                _ => {}
            }
        }
    });
}

/// There may be more room: all that wait for some are looked at. Why, is said in metrics.
pub(crate) fn retry(host: &Host, trigger: &'static str) {
    if !host.pods.all(|records| records.values().any(may_have_more)) {
        return;
    }
    let node = host.node();
    let allocatable = host.machine.allocatable_amounts();
    let gates = admit::Gates::of(&host.config.features);
    let check = |pod: &Pod, others: &[Arc<Pod>]| {
        admit::check(pod, others, node.as_deref(), &allocatable, gates)
    };
    let now = host.clock.now();
    let metrics = &host.metrics.resizes;
    for told in host.pods.all(|records| look(records, now, check)) {
        if told.waited {
            metrics.accepted(trigger);
        }
        if told.event.as_ref().is_some_and(|(_, reason, _)| *reason == "ResizeInfeasible") {
            metrics.infeasible("plr_feature_gate_off");
        }
        if let Some((kind, reason, message)) = told.event {
            host.pod_event(&told.pod, kind, reason, message);
        }
        told.wake.notify_one();
    }
}

/// How many pods are being resized.
pub(crate) fn counts(host: &Host) -> Counts {
    host.pods.all(|records| {
        let mut counts = Counts::default();
        for given in records.values().filter(|record| !record.ended).map(|record| &record.given) {
            counts.in_progress += usize::from(given.in_progress.is_some());
            match given.pending.as_ref().and_then(|own| own.reason.as_deref()) {
                Some(DEFERRED) => counts.deferred += 1,
                Some(_) => counts.infeasible += 1,
                None => {}
            }
        }
        counts
    })
}

fn may_have_more(record: &Record) -> bool {
    record.given.waits && record.admitted && !record.ended && !spec::is_being_deleted(&record.pod)
}

/// What is to be told of one pod.
#[derive(Debug)]
struct Told {
    pod: Arc<Pod>,
    wake: Arc<Notify>,
    event: Option<(EventType, &'static str, String)>,
    /// It was given what it had to wait for.
    waited: bool,
}

/// Looks at all pods that wait, each given what the ones before it were given.
fn look(
    records: &mut HashMap<String, Record>,
    now: Timestamp,
    check: impl Fn(&Pod, &[Arc<Pod>]) -> Result<(), Verdict>,
) -> Vec<Told> {
    let mut all = Vec::new();
    for uid in in_order(records) {
        // Pods that are not admitted yet are there already, so that none is given their place.
        let others: Vec<Arc<Pod>> = records
            .iter()
            .filter(|(other, record)| **other != uid && !record.ended)
            .filter(|(_, record)| !spec::is_terminal(&spec::status(&record.pod)))
            .map(|(_, record)| record.counted())
            .collect();
        let Some(record) = records.get_mut(&uid) else { continue };
        let answer = answer(record, |pod| check(pod, &others));
        all.extend(settle(record, answer, now));
    }
    all
}

/// The pods that wait: those first that ask for less, then by priority, by class of service, and by how long they wait.
fn in_order(records: &HashMap<String, Record>) -> Vec<String> {
    let mut waiting: Vec<_> = records
        .iter()
        .filter(|(_, record)| may_have_more(record))
        .map(|(uid, record)| {
            let pod = &record.pod;
            let since =
                record.given.pending.as_ref().and_then(|own| own.last_transition_time.clone());
            let priority = spec::spec(pod).priority.unwrap_or(0);
            let class = security::qos(pod) != "Guaranteed";
            (asks_for_more(record), Reverse(priority), class, (since.is_none(), since), uid.clone())
        })
        .collect();
    waiting.sort();
    waiting.into_iter().map(|(.., uid)| uid).collect()
}

fn asks_for_more(record: &Record) -> bool {
    let Some(own) = &record.given.allocated else { return false };
    let given = requests(&spec::spec(&own.apply(&record.pod)));
    let asked = requests(&spec::spec(&record.pod));
    ["cpu", "memory"].into_iter().any(|name| {
        let amount =
            |list: &kubeplane_workload::Resources| list.get(name).cloned().unwrap_or_default();
        amount(&asked) > amount(&given)
    })
}

/// What becomes of a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    /// The pod has what it asks for.
    Same,
    Given,
    /// Perhaps later.
    Deferred(String),
    /// Never.
    Infeasible(String),
}

fn answer(record: &Record, check: impl FnOnce(&Pod) -> Result<(), Verdict>) -> Answer {
    let Some(own) = record.given.allocated.as_ref().filter(|own| own.differs(&record.pod)) else {
        return Answer::Same;
    };
    if own.pod_differs(&record.pod) {
        // The node does not declare that it can, so the API server does not let such a wish through.
        let why = "InPlacePodLevelResourcesVerticalScaling is disabled";
        return Answer::Infeasible(why.to_owned());
    }
    match check(&record.pod) {
        Ok(()) => Answer::Given,
        Err(verdict) => {
            Answer::Deferred(verdict.message.trim_start_matches("Pod was rejected: ").to_owned())
        }
    }
}

/// Notes an answer; what is to be told when it is news.
fn settle(record: &mut Record, answer: Answer, now: Timestamp) -> Option<Told> {
    let pod = record.pod.clone();
    let generation = pod.metadata.generation;
    let given = &mut record.given;
    let before = given.pending.clone();
    given.waits = matches!(answer, Answer::Deferred(_));
    let (reason, message, name) = match answer {
        Answer::Same | Answer::Given => {
            given.pending = None;
            let mut event = None;
            if answer == Answer::Given {
                given.allocated = Some(Allocation::of(&pod));
                given.turn += 1;
                given.in_progress = Some(condition(IN_PROGRESS, None, ("", ""), generation, now));
                let text = words::summary("Pod resize started", &pod, generation, "");
                event = Some((EventType::Normal, "ResizeStarted", text));
            }
            let news = event.is_some() || before.is_some();
            let waited = event.is_some()
                && before.is_some_and(|own| own.reason.as_deref() == Some(DEFERRED));
            return news.then(|| Told { pod, wake: record.wake.clone(), event, waited });
        }
        Answer::Deferred(message) => (DEFERRED, message, "ResizeDeferred"),
        Answer::Infeasible(message) => (INFEASIBLE, message, "ResizeInfeasible"),
    };
    let next = condition(PENDING, before.as_ref(), (reason, message.as_str()), generation, now);
    let is_same = before.as_ref() == Some(&next);
    let repeats = before.is_some_and(|own| {
        own.reason == next.reason && own.observed_generation == next.observed_generation
    });
    given.pending = Some(next);
    let event = (!repeats).then(|| {
        let prefix = format!("Pod resize {reason}");
        (EventType::Warning, name, words::summary(&prefix, &pod, generation, &message))
    });
    (!is_same).then(|| Told { pod, wake: record.wake.clone(), event, waited: false })
}

/// A condition with this reason and message, about that generation of the pod.
pub(crate) fn condition(
    type_: &str,
    old: Option<&PodCondition>,
    (reason, message): (&str, &str),
    generation: Option<i64>,
    now: Timestamp,
) -> PodCondition {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let now = Some(Time(whole_seconds(now)));
    let since = old.filter(|old| old.reason == text(reason));
    let mut next = PodCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: text(reason),
        message: text(message),
        last_transition_time: since
            .map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
        observed_generation: generation,
        last_probe_time: old.and_then(|old| old.last_probe_time.clone()),
    };
    if old != Some(&next) {
        next.last_probe_time = now;
    }
    next
}

#[cfg(test)]
mod tests;
