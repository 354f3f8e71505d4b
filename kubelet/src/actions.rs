//! What must be done to bring a pod from what runs to what is asked for; without doing it.

pub(crate) mod resize;

use crate::{
    observed::{Observed, ObservedPod, State},
    probes::{Outcome, Results},
    spec,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use kubeplane_runtime_cri::{ContainerId, SandboxId};
use resize::Resize;

/// Why a container is killed; a probe may have a grace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillReason {
    Startup,
    Liveness,
    Other,
}

/// One container that must end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) message: String,
    pub(crate) reason: KillReason,
}

/// The steps of one synchronization.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    /// Everything of the pod ends first.
    pub(crate) kill_pod: bool,
    pub(crate) create_sandbox: bool,
    pub(crate) sandbox: Option<SandboxId>,
    pub(crate) attempt: u32,
    /// Indices into the lists of the specification.
    pub(crate) init: Vec<usize>,
    pub(crate) ephemeral: Vec<usize>,
    pub(crate) start: Vec<usize>,
    pub(crate) kill: Vec<Kill>,
    /// Containers that get something else while they run.
    pub(crate) resize: Resize,
}

/// Whether a container that is not running must be started.
pub(crate) fn must_start(container: &Container, pod: &Pod, observed: &ObservedPod) -> bool {
    if spec::is_being_deleted(pod) {
        return false;
    }
    match observed.container(&container.name) {
        None => true,
        Some(status) => match status.state {
            State::Running => false,
            State::Created | State::Unknown => true,
            State::Exited => spec::restarts_after(container, pod, status.exit_code),
        },
    }
}

/// Whether a container of the pod proper was ever made.
pub(crate) fn any_app_container(pod: &Pod, observed: &ObservedPod) -> bool {
    spec::containers(pod).iter().any(|container| observed.container(&container.name).is_some())
}

fn definition_changed(container: &Container, status: &Observed) -> bool {
    status.hash.is_some_and(|hash| hash != spec::container_hash(container))
}

/// The steps that lead from `observed` to `pod`.
pub(crate) fn compute(pod: &Pod, observed: &ObservedPod, results: &Results) -> Actions {
    let (change, attempt, sandbox) = observed.sandbox_change(spec::is_host_network(pod));
    let mut actions = Actions {
        kill_pod: change,
        create_sandbox: change,
        sandbox,
        attempt,
        ..Actions::default()
    };
    if change {
        new_sandbox(pod, observed, &mut actions);
        return actions;
    }
    for (index, container) in spec::ephemeral_containers(pod).iter().enumerate() {
        if observed.container(&container.name).is_none() {
            actions.ephemeral.push(index);
        }
    }
    let initialized = init_actions(pod, observed, results, &mut actions);
    if actions.kill_pod || !initialized {
        return actions;
    }
    let kept = app_actions(pod, observed, results, &mut actions);
    if kept == 0 && actions.start.is_empty() {
        actions.kill_pod = true;
        actions.init.clear();
    }
    actions
}

fn new_sandbox(pod: &Pod, observed: &ObservedPod, actions: &mut Actions) {
    let restarts = spec::containers(pod).iter().any(|c| spec::restarts_on_failure(c, pod));
    if !restarts && actions.attempt != 0 && !observed.containers.is_empty() {
        actions.create_sandbox = false;
        return;
    }
    let start: Vec<usize> = spec::containers(pod)
        .iter()
        .enumerate()
        .filter(|(_, container)| {
            let once =
                container.restart_policy.as_deref().unwrap_or_else(|| spec::restart_policy(pod))
                    == "OnFailure";
            let succeeded = observed
                .container(&container.name)
                .is_some_and(|status| status.state == State::Exited && status.exit_code == 0);
            !(once && succeeded)
        })
        .map(|(index, _)| index)
        .collect();
    if start.is_empty() && any_app_container(pod, observed) {
        actions.create_sandbox = false;
        return;
    }
    if spec::init_containers(pod).is_empty() {
        actions.start = start;
    } else {
        actions.init.push(0);
    }
}

fn app_actions(
    pod: &Pod,
    observed: &ObservedPod,
    results: &Results,
    actions: &mut Actions,
) -> usize {
    let mut kept = 0;
    for (index, container) in spec::containers(pod).iter().enumerate() {
        let running =
            observed.container(&container.name).filter(|status| status.state == State::Running);
        let Some(status) = running else {
            if must_start(container, pod, observed) {
                actions.start.push(index);
                kill_unknown(observed.container(&container.name), "Container", actions);
            }
            continue;
        };
        let mut restart = spec::restarts_on_failure(container, pod);
        let (message, reason) = if definition_changed(container, status) {
            restart = true;
            (format!("Container {} definition changed", container.name), KillReason::Other)
        } else if results.liveness(&status.id) == Some(Outcome::Failure) {
            (format!("Container {} failed liveness probe", container.name), KillReason::Liveness)
        } else if results.startup(&status.id) == Some(Outcome::Failure) {
            (format!("Container {} failed startup probe", container.name), KillReason::Startup)
        } else if resize::keeps(container, status, &mut actions.resize) {
            kept += 1;
            continue;
        } else {
            actions.start.push(index);
            actions.kill.push(restart_for_resize(container, status));
            continue;
        };
        let message = if restart {
            actions.start.push(index);
            format!("{message}, will be restarted")
        } else {
            message
        };
        actions.kill.push(Kill {
            id: status.id.clone(),
            name: container.name.clone(),
            message,
            reason,
        });
    }
    kept
}

fn restart_for_resize(container: &Container, status: &Observed) -> Kill {
    Kill {
        id: status.id.clone(),
        name: container.name.clone(),
        message: format!("Container {} resize requires restart", container.name),
        reason: KillReason::Other,
    }
}

fn kill_unknown(status: Option<&Observed>, what: &str, actions: &mut Actions) {
    let Some(status) = status.filter(|status| status.state == State::Unknown) else { return };
    actions.kill.push(Kill {
        id: status.id.clone(),
        name: status.name.clone(),
        message: format!("{what} is in \"unknown\" state, try killing it before restart"),
        reason: KillReason::Other,
    });
}

/// How far one init container leads.
enum Step {
    /// The pod is initialized with it.
    Initialized,
    /// It has something to do, or to wait for.
    Going,
    /// The pod cannot be initialized any more.
    Failed,
}

/// Where an init container stands among the others.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    is_last: bool,
    /// A later one, or a container of the pod proper, was made already.
    passed: bool,
}

/// Adds what the init containers need; true when the pod is initialized.
fn init_actions(
    pod: &Pod,
    observed: &ObservedPod,
    results: &Results,
    actions: &mut Actions,
) -> bool {
    let all = spec::init_containers(pod);
    if all.is_empty() {
        return true;
    }
    let mut initialized = spec::containers(pod).iter().any(|container| {
        observed
            .container(&container.name)
            .is_some_and(|s| matches!(s.state, State::Created | State::Running))
    });
    let mut passed = initialized;
    // Backwards, because finished ones may be gone from the runtime: the last one found tells how
    // far the pod came.
    for (index, container) in all.iter().enumerate().rev() {
        let sidecar = spec::is_sidecar(container);
        let Some(status) = observed.container(&container.name) else {
            if passed && sidecar {
                actions.init.push(index);
            }
            continue;
        };
        if passed && !sidecar {
            continue;
        }
        let place = Place { index, is_last: index + 1 == all.len(), passed };
        let step = if sidecar {
            sidecar_step(place, container, status, results, actions)
        } else {
            init_step(place, container, status, pod, actions)
        };
        match step {
            Step::Initialized => initialized = true,
            Step::Going => {}
            Step::Failed => {
                actions.kill_pod = true;
                actions.init.clear();
                return false;
            }
        }
        passed = true;
    }
    if !passed {
        actions.init.push(0);
    }
    actions.init.reverse();
    initialized
}

fn init_step(
    place: Place,
    container: &Container,
    status: &Observed,
    pod: &Pod,
    actions: &mut Actions,
) -> Step {
    let starts_again = match status.state {
        State::Running => {
            // None of these may ask to be started anew for it.
            resize::keeps(container, status, &mut actions.resize);
            return Step::Going;
        }
        State::Exited if status.exit_code == 0 => {
            if place.is_last {
                return Step::Initialized;
            }
            actions.init.push(place.index + 1);
            return Step::Going;
        }
        State::Created => true,
        State::Exited => {
            !spec::is_being_deleted(pod) && spec::restarts_after(container, pod, status.exit_code)
        }
        State::Unknown => spec::restarts_on_failure(container, pod),
    };
    if !starts_again {
        return Step::Failed;
    }
    kill_unknown(Some(status), "Init container", actions);
    actions.init.push(place.index);
    Step::Going
}

fn sidecar_step(
    place: Place,
    container: &Container,
    status: &Observed,
    results: &Results,
    actions: &mut Actions,
) -> Step {
    if status.state == State::Running {
        return running_sidecar(place, container, status, results, actions);
    }
    kill_unknown(Some(status), "Init container", actions);
    actions.init.push(place.index);
    Step::Going
}

fn running_sidecar(
    place: Place,
    container: &Container,
    status: &Observed,
    results: &Results,
    actions: &mut Actions,
) -> Step {
    let kill = |actions: &mut Actions, why: &str, reason| {
        actions.kill.push(Kill {
            id: status.id.clone(),
            name: container.name.clone(),
            message: format!("Init container {} {why}", container.name),
            reason,
        });
        actions.init.push(place.index);
    };
    if container.startup_probe.is_some() {
        match results.startup(&status.id) {
            Some(Outcome::Success) => {}
            Some(Outcome::Failure) => {
                kill(actions, "failed startup probe", KillReason::Startup);
                return Step::Going;
            }
            _ => return Step::Going,
        }
    }
    // Pushed before a restart of this one, because the list is turned round at the end.
    if !place.is_last && !place.passed {
        actions.init.push(place.index + 1);
    }
    if definition_changed(container, status) {
        kill(actions, "definition changed", KillReason::Other);
    } else if container.liveness_probe.is_some()
        && results.liveness(&status.id) == Some(Outcome::Failure)
    {
        kill(actions, "failed liveness probe", KillReason::Liveness);
    } else if !resize::keeps(container, status, &mut actions.resize) {
        actions.kill.push(restart_for_resize(container, status));
        actions.init.push(place.index);
    }
    if place.is_last { Step::Initialized } else { Step::Going }
}

#[cfg(test)]
mod tests;
