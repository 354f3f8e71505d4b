use crate::spec;
use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated, ContainerStatus, Pod};

#[derive(Debug, Default)]
struct Count {
    pending_init: u32,
    pending_sidecars: u32,
    failed_init: u32,
    unknown: u32,
    running: u32,
    waiting: u32,
    stopped: u32,
    stopped_for_good: u32,
    succeeded: u32,
}

enum Kind<'a> {
    Running,
    Terminated(&'a ContainerStateTerminated),
    WaitingAfter(&'a ContainerStateTerminated),
    Waiting,
    Unknown,
}

fn kind(status: Option<&ContainerStatus>) -> Kind<'_> {
    let Some(status) = status else { return Kind::Unknown };
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    match &status.state {
        Some(state) if state.running.is_some() => Kind::Running,
        Some(state) if state.terminated.is_some() => {
            state.terminated.as_ref().map_or(Kind::Unknown, Kind::Terminated)
        }
        Some(state) if state.waiting.is_some() => last.map_or(Kind::Waiting, Kind::WaitingAfter),
        _ => Kind::Unknown,
    }
}

/// The phase of a pod with these containers; `started` tells that a container of the pod proper was
/// started once, `terminal` that none will be started any more.
pub(crate) fn compute(
    pod: &Pod,
    statuses: &[&ContainerStatus],
    terminal: bool,
    started: bool,
) -> &'static str {
    let find = |name: &str| statuses.iter().copied().find(|status| status.name == name);
    let mut count = Count::default();
    for container in spec::init_containers(pod) {
        if spec::is_sidecar(container) {
            count_sidecar(find(&container.name), &mut count);
        } else {
            count_init(container, pod, find(&container.name), &mut count);
        }
    }
    for container in spec::containers(pod) {
        count_app(container, pod, find(&container.name), &mut count);
    }
    conclude(&count, terminal, started)
}

fn conclude(count: &Count, terminal: bool, started: bool) -> &'static str {
    if count.failed_init > 0 {
        return "Failed";
    }
    let initializing = count.pending_init > 0 || (count.pending_sidecars > 0 && !started);
    if initializing || count.waiting > 0 {
        return "Pending";
    }
    if count.unknown > 0 {
        return "Pending";
    }
    if count.running > 0 {
        return "Running";
    }
    if count.stopped == 0 {
        return "Pending";
    }
    if !terminal && count.stopped != count.stopped_for_good {
        return "Running";
    }
    if count.stopped == count.succeeded { "Succeeded" } else { "Failed" }
}

fn count_init(
    container: &Container,
    pod: &Pod,
    status: Option<&ContainerStatus>,
    count: &mut Count,
) {
    match kind(status) {
        Kind::Terminated(ended) | Kind::WaitingAfter(ended) => {
            if ended.exit_code != 0 && !spec::restarts_after(container, pod, ended.exit_code) {
                count.failed_init += 1;
            }
        }
        Kind::Running | Kind::Waiting | Kind::Unknown => count.pending_init += 1,
    }
}

fn count_sidecar(status: Option<&ContainerStatus>, count: &mut Count) {
    match kind(status) {
        Kind::Running => {
            count.running += 1;
            if !status.and_then(|status| status.started).unwrap_or(false) {
                count.pending_sidecars += 1;
            }
        }
        // Ended sidecars say nothing about the phase.
        Kind::Terminated(_) | Kind::WaitingAfter(_) => {}
        Kind::Waiting => {
            count.pending_sidecars += 1;
            count.waiting += 1;
        }
        Kind::Unknown => {
            count.pending_sidecars += u32::from(status.is_some());
            count.unknown += 1;
        }
    }
}

fn count_app(
    container: &Container,
    pod: &Pod,
    status: Option<&ContainerStatus>,
    count: &mut Count,
) {
    match kind(status) {
        Kind::Running => count.running += 1,
        Kind::Terminated(ended) => {
            count.stopped += 1;
            count.succeeded += u32::from(ended.exit_code == 0);
            let for_good = !spec::restarts_after(container, pod, ended.exit_code);
            count.stopped_for_good += u32::from(for_good);
        }
        Kind::WaitingAfter(ended) => {
            count.stopped += 1;
            let for_good = !spec::restarts_after(container, pod, ended.exit_code);
            count.stopped_for_good += u32::from(for_good);
        }
        Kind::Waiting => count.waiting += 1,
        Kind::Unknown => count.unknown += 1,
    }
}
