use super::{Input, whole_seconds};
use crate::{
    observed::ObservedPod,
    resize::{IN_PROGRESS, PENDING},
    spec,
};
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};

/// The conditions that are the kubelet's alone to say.
pub(crate) const OWNED: [&str; 7] = [
    PENDING,
    IN_PROGRESS,
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];

/// Those of them that go away again.
pub(crate) const PASSING: [&str; 2] = [PENDING, IN_PROGRESS];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Verdict {
    ok: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Self { ok: true, ..Self::default() }
    }

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Self { ok: false, reason: Some(reason), message }
    }
}

/// Sets the conditions of `status`, whose phase and containers are known.
pub(crate) fn compute(input: &Input<'_>, status: &mut PodStatus) {
    let pod = input.pod;
    let foreign: Vec<PodCondition> = spec::status(pod)
        .conditions
        .iter()
        .flatten()
        .filter(|condition| !OWNED.contains(&condition.type_.as_str()))
        .cloned()
        .collect();
    let containers_ready = containers_ready(pod, status);
    let ready = ready(pod, &containers_ready, &foreign);
    let can_start = ready_to_start(pod, input.observed);
    let verdicts = [
        ("PodReadyToStartContainers", can_start),
        ("Initialized", initialized(pod, status)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Verdict::yes()),
    ];
    let mut conditions = foreign;
    // What has ended has nothing to be resized.
    conditions.extend(input.resizes.iter().filter(|_| !input.terminal).cloned());
    for (type_, verdict) in verdicts {
        conditions.push(condition(input, type_, verdict));
    }
    status.conditions = Some(conditions);
}

/// Says of a pod that failed without its containers telling so that it is not ready.
pub(crate) fn fail(status: &mut PodStatus, now: jiff::Timestamp) {
    let ready = |condition: &&mut PodCondition| {
        matches!(condition.type_.as_str(), "Ready" | "ContainersReady")
    };
    for condition in status.conditions.iter_mut().flatten().filter(ready) {
        if condition.status != "False" {
            condition.last_transition_time = Some(Time(whole_seconds(now)));
        }
        condition.status = "False".to_owned();
        condition.reason = Some("PodFailed".to_owned());
        condition.message = None;
    }
}

fn condition(input: &Input<'_>, type_: &str, verdict: Verdict) -> PodCondition {
    let word = if verdict.ok { "True" } else { "False" };
    let old = |status: &PodStatus| {
        let known = status.conditions.iter().flatten().find(|c| c.type_ == type_)?;
        (known.status == word).then(|| known.last_transition_time.clone()).flatten()
    };
    let since = old(input.previous)
        .or_else(|| old(&spec::status(input.pod)))
        .unwrap_or_else(|| Time(whole_seconds(input.now)));
    PodCondition {
        type_: type_.to_owned(),
        status: word.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        last_transition_time: Some(since),
        observed_generation: input.pod.metadata.generation,
        last_probe_time: None,
    }
}

fn ready_to_start(pod: &Pod, observed: &ObservedPod) -> Verdict {
    let (needs_sandbox, _, _) = observed.sandbox_change(spec::is_host_network(pod));
    Verdict { ok: !needs_sandbox, ..Verdict::default() }
}

fn all_statuses(status: &PodStatus) -> Vec<&ContainerStatus> {
    status.init_container_statuses.iter().chain(&status.container_statuses).flatten().collect()
}

/// Names in the form Go prints a slice of strings.
fn bracketed(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn sort_out<'a>(
    containers: impl Iterator<Item = &'a Container>,
    statuses: &[&ContainerStatus],
    good: impl Fn(&Container, &ContainerStatus) -> bool,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut unknown, mut bad) = (Vec::new(), Vec::new());
    for container in containers {
        match statuses.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !good(container, status) => bad.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    (unknown, bad)
}

fn complaint(unknown: &[&str], bad: &[&str], what: &str) -> Option<String> {
    let mut messages = Vec::new();
    if !unknown.is_empty() {
        messages.push(format!("containers with unknown status: {}", bracketed(unknown)));
    }
    if !bad.is_empty() {
        messages.push(format!("containers with {what} status: {}", bracketed(bad)));
    }
    (!messages.is_empty()).then(|| messages.join(", "))
}

fn containers_ready(pod: &Pod, status: &PodStatus) -> Verdict {
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    let relevant = sidecars.chain(spec::containers(pod));
    let (unknown, bad) = sort_out(relevant, &all_statuses(status), |_, status| status.ready);
    match spec::phase(status) {
        "Succeeded" if unknown.is_empty() => Verdict::no("PodCompleted", None),
        "Failed" => Verdict::no("PodFailed", None),
        _ => match complaint(&unknown, &bad, "unready") {
            Some(message) => Verdict::no("ContainersNotReady", Some(message)),
            None => Verdict::yes(),
        },
    }
}

fn ready(pod: &Pod, containers: &Verdict, conditions: &[PodCondition]) -> Verdict {
    if !containers.ok {
        return containers.clone();
    }
    let mut messages = Vec::new();
    for gate in spec::spec(pod).readiness_gates.iter().flatten() {
        let type_ = &gate.condition_type;
        match conditions.iter().find(|condition| condition.type_ == *type_) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate {type_:?} does not exist."
            )),
            Some(condition) if condition.status != "True" => messages.push(format!(
                "the status of pod readiness gate {type_:?} is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        Verdict::yes()
    } else {
        Verdict::no("ReadinessGatesNotReady", Some(messages.join(", ")))
    }
}

fn initialized(pod: &Pod, status: &PodStatus) -> Verdict {
    let statuses = all_statuses(status);
    let (unknown, incomplete) =
        sort_out(spec::init_containers(pod).iter(), &statuses, |container, status| {
            if spec::is_sidecar(container) { status.started.unwrap_or(false) } else { status.ready }
        });
    if spec::phase(status) == "Succeeded" && unknown.is_empty() {
        return Verdict { ok: true, reason: Some("PodCompleted"), message: None };
    }
    let any_app_started = spec::containers(pod)
        .iter()
        .any(|container| statuses.iter().any(|s| s.name == container.name && was_started(s)));
    if any_app_started {
        return Verdict::yes();
    }
    match complaint(&unknown, &incomplete, "incomplete") {
        Some(message) => Verdict::no("ContainersNotInitialized", Some(message)),
        None => Verdict::yes(),
    }
}

fn was_started(status: &ContainerStatus) -> bool {
    if status.started == Some(true) {
        return true;
    }
    let states = [status.state.as_ref(), status.last_state.as_ref()];
    states.into_iter().flatten().any(|state| state.running.is_some() || state.terminated.is_some())
}
