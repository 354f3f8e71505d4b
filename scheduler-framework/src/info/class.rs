use k8s_openapi::{
    api::core::v1::{
        Container, ContainerPort, Pod, PodSpec, ResourceRequirements, Toleration, Volume,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kubeplane_client::controller_of;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
};

/// Two hashes of the same bytes, side by side: a number that two different texts do not share by any likely chance.
struct Digest(DefaultHasher, DefaultHasher);

impl Digest {
    fn new() -> Self {
        let salted = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u8(salt);
            hasher
        };
        Self(salted(1), salted(2))
    }

    /// What there is at most once, or as a list of its own.
    fn hash(&mut self, value: impl Hash) {
        value.hash(self);
    }

    /// What has no hash, and most pods have not.
    fn serialized<T: Serialize>(&mut self, value: Option<&T>) {
        // All of it is plain data.
        self.hash(value.map(|own| serde_json::to_vec(own).unwrap_or_default()));
    }

    fn done(&self) -> u128 {
        u128::from(self.0.finish()) << 64 | u128::from(self.1.finish())
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }
}

type Amounts = Option<BTreeMap<String, Quantity>>;

impl Digest {
    fn amounts(&mut self, amounts: &Amounts) {
        self.hash(amounts.as_ref().map(BTreeMap::len));
        for (name, amount) in amounts.iter().flatten() {
            self.hash((name, &amount.0));
        }
    }

    fn resources(&mut self, resources: Option<&ResourceRequirements>) {
        self.hash(resources.is_some());
        let Some(own) = resources else { return };
        self.amounts(&own.limits);
        self.amounts(&own.requests);
        let claims = own.claims.as_ref();
        self.hash(claims.map(Vec::len));
        for claim in claims.into_iter().flatten() {
            self.hash((&claim.name, &claim.request));
        }
    }

    fn containers(&mut self, containers: &[Container]) {
        self.hash(containers.len());
        for own in containers {
            self.hash((&own.image, &own.restart_policy));
            self.resources(own.resources.as_ref());
            let taken = |port: &&ContainerPort| port.host_port.is_some_and(|number| number > 0);
            for port in own.ports.iter().flatten().filter(taken) {
                self.hash((port.host_port, &port.host_ip, &port.protocol));
            }
        }
    }

    fn tolerations(&mut self, tolerations: &[Toleration]) {
        self.hash(tolerations.len());
        for own in tolerations {
            self.hash((&own.effect, &own.key, &own.operator, &own.value, own.toleration_seconds));
        }
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

/// What of a pod decides where it may go, as a number: pods alike in all of it, but for the claims that they name, are
/// one class.
pub(super) fn class(pod: &Pod, kind: u128) -> u128 {
    let mut digest = Digest::new();
    digest.hash(kind);
    digest.hash((&pod.metadata.namespace, &pod.metadata.labels));
    digest.hash(controller_of(pod).map(|own| (&own.kind, &own.name)));
    digest.done()
}

/// The same without namespace, labels and controller.
pub(super) fn kind(spec: &PodSpec) -> u128 {
    let mut digest = Digest::new();
    digest.hash((&spec.scheduler_name, &spec.node_name, &spec.node_selector));
    digest.serialized(spec.affinity.as_ref());
    digest.tolerations(spec.tolerations.as_deref().unwrap_or_default());
    digest.serialized(spec.topology_spread_constraints.as_ref());
    digest.containers(&spec.containers);
    digest.containers(spec.init_containers.as_deref().unwrap_or_default());
    digest.resources(spec.resources.as_ref());
    digest.amounts(&spec.overhead);
    // Which claims they are is seen for each pod.
    digest.hash(spec.resource_claims.as_ref().map(Vec::len));
    for claim in spec.resource_claims.iter().flatten() {
        digest.hash(claim.resource_claim_name.is_some());
    }
    for volume in spec.volumes.iter().flatten().filter(|own| matters(own)) {
        match &volume.persistent_volume_claim {
            Some(claim) => digest.hash(("claim", claim.read_only)),
            None => digest.serialized(Some(volume)),
        }
    }
    digest.done()
}

/// The number of a text.
pub(crate) fn digest(bytes: &[u8]) -> u128 {
    let mut digest = Digest::new();
    digest.write(bytes);
    digest.done()
}
