//! What the built-in controllers keep of a pod: there is no other kind of which a cluster has as many, and most of what a
//! pod says is its kubelet's business.
//!
//! Who reads what, beside the phase, the node, and all metadata but the annotations of others:
//!
//! | of the pod | who |
//! |---|---|
//! | claims of volumes | claims, their protection, attaching, ephemeral volumes, StatefulSets |
//! | Secrets of volumes, variables and images | the cleaner of unused tokens |
//! | resources of containers, of the pod, overhead | quotas, autoscalers |
//! | names and restart policies of containers | autoscalers, ReplicaSets and Jobs (sidecars) |
//! | named ports, hostname, subdomain, addresses | endpoints and their slices |
//! | affinity | DaemonSets, quotas |
//! | tolerations | the eviction for taints |
//! | priority class, active deadline | quotas |
//! | resource claims, the group, both in its status | resource claims, the eviction for taints of devices |
//! | conditions `Ready` and `DisruptionTarget` | all who count pods, disruption budgets |
//! | any other condition | failure policies of Jobs |
//! | restarts, exit codes and resources of containers | ReplicaSets, Jobs, quotas |
//! | whether containers run, of a pod that is being deleted and has claims | attaching |
//! | start and reason | autoscalers, the garbage collector of pods |
//!
//! A controller that is to read more of its cache says so here, and in the tests.

use super::account_tokens::{secret_of_source, secret_of_variable, secrets_of_volume};
use k8s_openapi::{
    api::core::v1::{
        Container, ContainerState, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, EnvFromSource, EnvVar, EphemeralContainer, Pod, PodSpec, PodStatus,
        ResourceRequirements, Volume,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kubeplane_client::controller_of;
use kubeplane_workload::{phase::is_deleting, storage::claim_names};
use std::mem;

/// The conditions that are read of pods of which no Job decides what their failure means.
const CONDITIONS: [&str; 2] = ["Ready", "DisruptionTarget"];

/// Takes away what no built-in controller reads of a pod, most of it by size: for a manager that runs nothing but
/// [`builtin`](crate::builtin()), by [`ManagerBuilder::transform`](crate::ManagerBuilder::transform).
///
/// Containers that ask for nothing, have no named port and mention no Secret are left out altogether. The built-in
/// controllers write pods by patches, or after they have asked the server for the whole pod; so must whoever reads such a
/// cache.
pub fn trim_pod(pod: &mut Pod) {
    // One that nobody manages may be about to become a Job's.
    let of_job = controller_of(pod).is_none_or(|owner| owner.kind == "Job");
    // Its volumes are let go when none of its containers runs any more.
    let leaves = is_deleting(pod) && claim_names(pod).next().is_some();
    trim_metadata(&mut pod.metadata);
    pod.spec.iter_mut().for_each(trim_spec);
    if let Some(status) = &mut pod.status {
        trim_status(status, of_job, leaves);
    }
}

/// What `wanted` says of a list; no list where that is nothing.
fn kept<T>(list: Option<Vec<T>>, wanted: impl FnMut(&T) -> bool) -> Option<Vec<T>> {
    let mut list = list?;
    list.retain(wanted);
    (!list.is_empty()).then_some(list)
}

fn trim_metadata(meta: &mut ObjectMeta) {
    meta.generate_name = None;
    let Some(mut annotations) = meta.annotations.take() else { return };
    annotations.retain(|name, _| is_ours(name));
    meta.annotations = (!annotations.is_empty()).then_some(annotations);
}

/// Whether an annotation may be one of those that controllers give meaning to, rather than clients, networks and meshes.
fn is_ours(annotation: &str) -> bool {
    let prefix = annotation.split('/').next().unwrap_or_default();
    prefix != "kubectl.kubernetes.io"
        && ["kubernetes.io", "k8s.io", "kubeplane.dev"].iter().any(|own| prefix.ends_with(*own))
}

fn trim_spec(spec: &mut PodSpec) {
    spec.dns_config = None;
    spec.dns_policy = None;
    spec.host_aliases = None;
    spec.node_selector = None;
    spec.preemption_policy = None;
    spec.readiness_gates = None;
    spec.restart_policy = None;
    spec.runtime_class_name = None;
    spec.scheduler_name = None;
    spec.security_context = None;
    spec.service_account = None;
    spec.service_account_name = None;
    spec.topology_spread_constraints = None;
    spec.volumes = kept(spec.volumes.take(), is_read);
    for volume in spec.volumes.iter_mut().flatten() {
        if let Some(projected) = &mut volume.projected {
            projected.sources = kept(projected.sources.take(), |source| source.secret.is_some());
        }
    }
    let containers = spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten());
    containers.for_each(trim_container);
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    if containers.all(is_plain) && spec.resources.is_none() {
        spec.containers = Vec::new();
        spec.init_containers = None;
    }
    spec.ephemeral_containers.iter_mut().flatten().for_each(trim_ephemeral);
    spec.ephemeral_containers = kept(spec.ephemeral_containers.take(), |container| {
        container.env.is_some() || container.env_from.is_some()
    });
}

fn is_read(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
        || !secrets_of_volume(volume).is_empty()
}

/// Whether nothing is read of it but, where a figure is missing, its name: that the autoscaler asks the server for.
fn is_plain(container: &Container) -> bool {
    let Container { env, env_from, ports, resources, restart_policy, .. } = container;
    env.is_none()
        && env_from.is_none()
        && ports.is_none()
        && resources.is_none()
        && restart_policy.is_none()
}

fn of_secrets(variables: Option<Vec<EnvVar>>) -> Option<Vec<EnvVar>> {
    kept(variables, |variable| secret_of_variable(variable).is_some())
}

fn from_secrets(sources: Option<Vec<EnvFromSource>>) -> Option<Vec<EnvFromSource>> {
    kept(sources, |source| secret_of_source(source).is_some())
}

/// Resources that say something.
fn said(resources: Option<ResourceRequirements>) -> Option<ResourceRequirements> {
    resources.filter(|own| *own != ResourceRequirements::default())
}

fn trim_container(container: &mut Container) {
    let named = |name: &String| !name.is_empty();
    *container = Container {
        name: mem::take(&mut container.name),
        env: of_secrets(container.env.take()),
        env_from: from_secrets(container.env_from.take()),
        ports: kept(container.ports.take(), |port| port.name.as_ref().is_some_and(named)),
        resources: said(container.resources.take()),
        restart_policy: container.restart_policy.take(),
        ..Container::default()
    };
}

fn trim_ephemeral(container: &mut EphemeralContainer) {
    *container = EphemeralContainer {
        name: mem::take(&mut container.name),
        env: of_secrets(container.env.take()),
        env_from: from_secrets(container.env_from.take()),
        ..EphemeralContainer::default()
    };
}

fn trim_status(status: &mut PodStatus, of_job: bool, leaves: bool) {
    status.allocated_resources = None;
    if leaves {
        status.ephemeral_container_statuses.iter_mut().flatten().for_each(trim_container_status);
    } else {
        status.ephemeral_container_statuses = None;
    }
    status.host_ip = None;
    status.host_ips = None;
    status.message = None;
    status.qos_class = None;
    status.resources = None;
    status.conditions = kept(status.conditions.take(), |condition| {
        of_job || CONDITIONS.contains(&&*condition.type_)
    });
    status.conditions.iter_mut().flatten().for_each(|condition| condition.message = None);
    let lists = [&mut status.container_statuses, &mut status.init_container_statuses];
    // When the last of all has ended is asked for, so that they are told of together or not at all.
    let told = leaves || lists.iter().any(|list| list.iter().flatten().any(has_a_past));
    for list in lists {
        if told {
            list.iter_mut().flatten().for_each(trim_container_status);
        } else {
            *list = None;
        }
    }
}

/// Whether a container was ever restarted or has ended, or says what it has of its node.
fn has_a_past(status: &ContainerStatus) -> bool {
    let ended = status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    let resources = status.resources.as_ref();
    ended
        || status.restart_count != 0
        || resources.is_some_and(|own| *own != ResourceRequirements::default())
}

fn trim_container_status(status: &mut ContainerStatus) {
    let state = status.state.take().unwrap_or_default();
    let waits = state.waiting.map(|_| ContainerStateWaiting::default());
    let ended = state.terminated.map(|ended| ContainerStateTerminated {
        exit_code: ended.exit_code,
        finished_at: ended.finished_at,
        ..ContainerStateTerminated::default()
    });
    let is_known = waits.is_some() || ended.is_some();
    let known = ContainerState { waiting: waits, terminated: ended, running: None };
    *status = ContainerStatus {
        name: mem::take(&mut status.name),
        ready: status.ready,
        resources: said(status.resources.take()),
        restart_count: status.restart_count,
        state: is_known.then_some(known),
        ..ContainerStatus::default()
    };
}

#[cfg(test)]
mod tests;
