//! Bringing running containers to what they were given.

use crate::{
    allocation::Figures,
    observed::{Observed, ObservedPod, State},
    spec,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use kubeplane_runtime_cri::ContainerId;
use std::cmp::Ordering;

/// One running container that is to have something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) id: ContainerId,
    pub(crate) name: String,
    pub(crate) from: Figures,
    pub(crate) to: Figures,
}

/// What is changed while containers run, in this order: what takes away comes before what gives.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resize {
    pub(crate) memory: Vec<Update>,
    pub(crate) cpu: Vec<Update>,
}

impl Resize {
    pub(crate) fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.cpu.is_empty()
    }
}

/// Whether a running container stays as it is or can be changed while it runs, which is added to `resize`; otherwise it
/// is to start anew.
pub(super) fn keeps(container: &Container, status: &Observed, resize: &mut Resize) -> bool {
    let from = status.actuated.unwrap_or_default();
    let to = Figures::of(container.resources.as_ref());
    // By the limit, or else by the request.
    let memory =
        to.memory_limit.cmp(&from.memory_limit).then(to.memory_request.cmp(&from.memory_request));
    let cpu = to.cpu_limit.cmp(&from.cpu_limit).then(to.cpu_request.cmp(&from.cpu_request));
    if memory.is_ne() && restarts(container, "memory") || cpu.is_ne() && restarts(container, "cpu")
    {
        return false;
    }
    let update = Update { id: status.id.clone(), name: container.name.clone(), from, to };
    for (way, list) in [(memory, &mut resize.memory), (cpu, &mut resize.cpu)] {
        match way {
            Ordering::Greater => list.push(update.clone()),
            Ordering::Less => list.insert(0, update.clone()),
            Ordering::Equal => {}
        }
    }
    true
}

fn restarts(container: &Container, resource: &str) -> bool {
    let policies = container.resize_policy.iter().flatten();
    let mut own = policies.filter(|policy| policy.resource_name == resource);
    own.next().is_some_and(|policy| policy.restart_policy == "RestartContainer")
}

/// Whether a running container does not have yet what it was given; others get it when they start.
pub(crate) fn is_going(pod: &Pod, observed: &ObservedPod) -> bool {
    spec::init_containers(pod).iter().chain(spec::containers(pod)).any(|container| {
        let status = observed.container(&container.name);
        status.filter(|status| status.state == State::Running).is_some_and(|status| {
            status.actuated.unwrap_or_default() != Figures::of(container.resources.as_ref())
        })
    })
}
