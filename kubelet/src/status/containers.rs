use super::{Input, resources, time_of_nanos};
use crate::{
    actions::{any_app_container, must_start},
    observed::{Observed, State},
    probes::Outcome,
    spec::{self, as_container, is_sidecar, status_named},
};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser, LinuxContainerUser, PodStatus,
    VolumeMountStatus,
};

const UNKNOWN: &str = "ContainerStatusUnknown";

/// Sets the container statuses of `status`.
pub(crate) fn compute(input: &Input<'_>, status: &mut PodStatus) {
    let pod = input.pod;
    let init = spec::init_containers(pod);
    let previous = input.previous;
    let waiting = if init.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    let convert = |containers: &[Container], old: &Option<Vec<ContainerStatus>>, is_init| {
        let old = old.as_deref().unwrap_or_default();
        let list: Vec<ContainerStatus> = containers
            .iter()
            .map(|container| {
                let mut status =
                    one(input, container, status_named(old, &container.name), waiting, is_init);
                probe_state(input, container, &mut status, is_init);
                status
            })
            .collect();
        (!list.is_empty()).then_some(list)
    };
    let ephemeral: Vec<Container> =
        spec::ephemeral_containers(pod).iter().map(as_container).collect();
    status.init_container_statuses = convert(init, &previous.init_container_statuses, true);
    let mut apps = convert(spec::containers(pod), &previous.container_statuses, false);
    if let Some(list) = &mut apps {
        list.sort_by(|a, b| a.name.cmp(&b.name));
    }
    status.container_statuses = apps;
    let mut list = convert(&ephemeral, &previous.ephemeral_container_statuses, false);
    for status in list.iter_mut().flatten() {
        status.ready = false;
        status.started = None;
    }
    status.ephemeral_container_statuses = list;
}

fn one(
    input: &Input<'_>,
    container: &Container,
    old: Option<&ContainerStatus>,
    waiting: &str,
    is_init: bool,
) -> ContainerStatus {
    let mut found =
        input.observed.containers.iter().filter(|observed| observed.name == container.name);
    let newest = found.next();
    let mut status = match newest {
        Some(observed) => from_runtime(input, observed, old),
        None => without_runtime(input, container, old, waiting),
    };
    if let Some(before) = found.next() {
        status.last_state = Some(from_runtime(input, before, None).state.unwrap_or_default());
    } else if newest.is_some() {
        status.last_state = old.and_then(|old| {
            let ended = old.state.clone().filter(|state| state.terminated.is_some());
            let is_same = old.container_id == status.container_id;
            if is_same { old.last_state.clone() } else { ended.or_else(|| old.last_state.clone()) }
        });
    }
    if let Some(observed) = newest {
        status.resources = Some(resources::of(container, observed, old, &status));
        status.allocated_resources =
            container.resources.as_ref().and_then(|given| given.requests.clone());
    }
    status.volume_mounts = volume_mounts(container);
    let lost = is_init && newest.is_none() && !is_sidecar(container) && is_waiting(&status);
    if lost && any_app_container(input.pod, input.observed) {
        status.state = Some(terminated(
            0,
            "Completed",
            "Unable to get init container status from container runtime and pod has been \
             initialized, treat it as exited normally",
        ));
        return status;
    }
    let ended_well = newest.is_some_and(|o| o.state == State::Exited && o.exit_code == 0);
    if is_init && ended_well && !is_sidecar(container) {
        return status;
    }
    overlay_reason(input, container, &mut status);
    status
}

/// A container that waits for its next start shows why.
fn overlay_reason(input: &Input<'_>, container: &Container, status: &mut ContainerStatus) {
    if input.terminal || !must_start(container, input.pod, input.observed) {
        return;
    }
    let Some(reason) = input.reasons.get(&container.name) else { return };
    if let Some(state) = status.state.take().filter(|state| state.terminated.is_some()) {
        status.last_state = Some(state);
    }
    status.state = Some(ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.reason.to_owned()),
            message: (!reason.message.is_empty()).then(|| reason.message.clone()),
        }),
        ..ContainerState::default()
    });
}

fn is_waiting(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.waiting.is_some())
}

fn terminated(exit_code: i32, reason: &str, message: &str) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

fn waiting_for(reason: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            message: None,
        }),
        ..ContainerState::default()
    }
}

fn from_runtime(
    input: &Input<'_>,
    observed: &Observed,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let id = format!("{}://{}", input.runtime_name, observed.id);
    let mut restart_count = i32::try_from(observed.restart_count).unwrap_or(i32::MAX);
    let was_running =
        old.and_then(|old| old.state.as_ref()).is_some_and(|state| state.running.is_some());
    let state = match observed.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: time_of_nanos(observed.started_at) }),
            ..ContainerState::default()
        },
        State::Exited => exited(observed, &id),
        State::Unknown if was_running => {
            restart_count += 1;
            let mut state = terminated(
                137,
                UNKNOWN,
                "The container could not be located when the pod was terminated",
            );
            if let Some(ended) = &mut state.terminated {
                ended.container_id = Some(id.clone());
            }
            state
        }
        State::Created | State::Unknown => waiting_for(""),
    };
    ContainerStatus {
        name: observed.name.clone(),
        image: observed.image.clone(),
        image_id: observed.image_ref.clone(),
        container_id: Some(id),
        restart_count,
        state: Some(state),
        user: observed.user.as_ref().map(|user| ContainerUser {
            linux: Some(LinuxContainerUser {
                uid: user.uid,
                gid: user.gid,
                supplemental_groups: (!user.supplemental_groups.is_empty())
                    .then(|| user.supplemental_groups.clone()),
            }),
        }),
        ..ContainerStatus::default()
    }
}

fn exited(observed: &Observed, id: &str) -> ContainerState {
    let reason = match observed.reason.as_str() {
        "" if observed.exit_code == 0 => "Completed",
        "" => "Error",
        reason => reason,
    };
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: observed.exit_code,
            reason: Some(reason.to_owned()),
            message: (!observed.message.is_empty()).then(|| observed.message.clone()),
            started_at: time_of_nanos(observed.started_at),
            finished_at: time_of_nanos(observed.finished_at),
            container_id: Some(id.to_owned()),
            signal: None,
        }),
        ..ContainerState::default()
    }
}

/// The status of a container the runtime does not have: not made yet, or lost.
fn without_runtime(
    input: &Input<'_>,
    container: &Container,
    old: Option<&ContainerStatus>,
    waiting: &str,
) -> ContainerStatus {
    let fresh = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting_for(waiting)),
        ..ContainerStatus::default()
    };
    let Some(old) = old else { return fresh };
    let state = old.state.clone().unwrap_or_default();
    if state.terminated.is_some() {
        return old.clone();
    }
    let mut status = ContainerStatus {
        restart_count: old.restart_count,
        last_state: old.last_state.clone(),
        ..fresh
    };
    let ended_before = status.last_state.as_ref().is_some_and(|state| state.terminated.is_some());
    if state.running.is_some() && !ended_before {
        // It ran, so the pod must not look as if it had never started.
        status.last_state = Some(terminated(
            137,
            UNKNOWN,
            "The container could not be located when the pod was deleted.  The container used to be \
             Running",
        ));
        if !spec::is_being_deleted(input.pod) {
            status.restart_count += 1;
        }
    }
    status
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts: Vec<VolumeMountStatus> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| {
            let read_only = mount.read_only.unwrap_or(false);
            VolumeMountStatus {
                name: mount.name.clone(),
                mount_path: mount.mount_path.clone(),
                read_only: read_only.then_some(true),
                recursive_read_only: read_only.then(|| "Disabled".to_owned()),
                ..VolumeMountStatus::default()
            }
        })
        .collect();
    (!mounts.is_empty()).then_some(mounts)
}

fn probe_state(
    input: &Input<'_>,
    container: &Container,
    status: &mut ContainerStatus,
    is_init: bool,
) {
    let state = status.state.clone().unwrap_or_default();
    let running = state.running.is_some();
    let id = input.observed.container(&container.name).map(|observed| observed.id.clone());
    let previous = input.previous;
    let known = previous.container_statuses.iter().chain(&previous.init_container_statuses);
    // A container that kept running while the kubelet did not is what it was before.
    let same = known
        .flatten()
        .find(|known| known.name == container.name && known.container_id == status.container_id);
    let passed = |outcome: Option<Outcome>, before: bool| match outcome {
        Some(outcome) => outcome == Outcome::Success,
        None => before,
    };
    let started = running
        && match (&id, &container.startup_probe) {
            (_, None) => true,
            (Some(id), Some(_)) => passed(
                input.results.startup(id),
                same.is_some_and(|same| same.started == Some(true)),
            ),
            (None, Some(_)) => false,
        };
    status.started = Some(started);
    if is_init && !is_sidecar(container) {
        status.ready = state.terminated.is_some_and(|ended| ended.exit_code == 0);
        return;
    }
    status.ready = started
        && match (&id, &container.readiness_probe) {
            (_, None) => true,
            (Some(id), Some(_)) => {
                passed(input.results.readiness(id), same.is_some_and(|same| same.ready))
            }
            (None, Some(_)) => false,
        };
}

/// Marks what did not end as ended, for a pod of which nothing runs any more.
pub(crate) fn end_all(status: &mut PodStatus) {
    let apps_started = status.container_statuses.iter().flatten().any(|status| {
        status.state.as_ref().is_some_and(|s| s.terminated.is_some() || s.running.is_some())
            || status.last_state.as_ref().is_some_and(|s| s.terminated.is_some())
    });
    let end = |status: &mut ContainerStatus| {
        if status.state.as_ref().is_some_and(|state| state.terminated.is_some()) {
            return;
        }
        status.ready = false;
        status.started = Some(false);
        status.state = Some(terminated(
            137,
            UNKNOWN,
            "The container could not be located when the pod was terminated",
        ));
    };
    if apps_started {
        status.container_statuses.iter_mut().flatten().for_each(end);
    }
    status
        .init_container_statuses
        .iter_mut()
        .flatten()
        .filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()))
        .for_each(end);
}
