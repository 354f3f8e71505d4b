use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, Pod, PodResourceClaim, PodSpec, ResourceRequirements,
    Toleration, TopologySpreadConstraint, Volume,
};
use kubeplane_client::controller_of;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
};

/// What of a pod decides where it may go: pods alike in all of it are one class.
#[derive(Serialize)]
struct Class<'a> {
    namespace: Option<&'a str>,
    labels: Option<&'a BTreeMap<String, String>>,
    controller: Option<(String, String)>,
    scheduler: Option<&'a str>,
    node: Option<&'a str>,
    selector: Option<&'a BTreeMap<String, String>>,
    affinity: Option<&'a Affinity>,
    tolerations: Option<&'a [Toleration]>,
    spread: Option<&'a [TopologySpreadConstraint]>,
    containers: Vec<Part<'a>>,
    init: Vec<Part<'a>>,
    resources: Option<&'a ResourceRequirements>,
    overhead: Option<String>,
    claims: Option<&'a [PodResourceClaim]>,
    volumes: Vec<&'a Volume>,
}

#[derive(Serialize)]
struct Part<'a> {
    image: Option<&'a str>,
    restart: Option<&'a str>,
    resources: Option<&'a ResourceRequirements>,
    ports: Vec<(Option<i32>, Option<&'a str>, Option<&'a str>)>,
}

fn part(container: &Container) -> Part<'_> {
    let port = |own: &ContainerPort| own.host_port.is_some_and(|number| number > 0);
    let ports = container.ports.iter().flatten().filter(|own| port(own));
    Part {
        image: container.image.as_deref(),
        restart: container.restart_policy.as_deref(),
        resources: container.resources.as_ref(),
        ports: ports
            .map(|own| (own.host_port, own.host_ip.as_deref(), own.protocol.as_deref()))
            .collect(),
    }
}

/// Whether a volume is none that every node has.
fn matters(volume: &Volume) -> bool {
    volume.secret.is_none()
        && volume.config_map.is_none()
        && volume.projected.is_none()
        && volume.downward_api.is_none()
        && volume.empty_dir.is_none()
        && volume.host_path.is_none()
}

/// The class of a pod, as a number that two different classes do not share by any likely chance.
pub(super) fn class(pod: &Pod, spec: &PodSpec) -> u128 {
    let class = Class {
        namespace: pod.metadata.namespace.as_deref(),
        labels: pod.metadata.labels.as_ref(),
        controller: controller_of(pod).map(|own| (own.kind.clone(), own.name.clone())),
        scheduler: spec.scheduler_name.as_deref(),
        node: spec.node_name.as_deref(),
        selector: spec.node_selector.as_ref(),
        affinity: spec.affinity.as_ref(),
        tolerations: spec.tolerations.as_deref(),
        spread: spec.topology_spread_constraints.as_deref(),
        containers: spec.containers.iter().map(part).collect(),
        init: spec.init_containers.iter().flatten().map(part).collect(),
        resources: spec.resources.as_ref(),
        overhead: spec.overhead.as_ref().map(|own| format!("{own:?}")),
        claims: spec.resource_claims.as_deref(),
        volumes: spec.volumes.iter().flatten().filter(|own| matters(own)).collect(),
    };
    // All of it is plain data.
    digest(&serde_json::to_vec(&class).unwrap_or_default())
}

/// Two hashes of the same bytes, side by side.
pub(crate) fn digest(bytes: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write(bytes);
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}
