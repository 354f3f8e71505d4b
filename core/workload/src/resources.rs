//! What a pod takes from a node.

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::Quantity;
use std::collections::BTreeMap;

/// Amounts by resource name.
pub type Resources = BTreeMap<String, Quantity>;

/// What the pod needs at its peak, overhead included: the sum of the containers and sidecars, or the largest
/// init container with the sidecars started before it, per resource. Requests of the pod as a whole count
/// instead where they are set.
#[must_use]
pub fn requests(spec: &PodSpec) -> Resources {
    requests_beside(spec, &Resources::new())
}

/// As [`requests`], where `more` is needed beside what the containers request: what devices of claims take of the node
/// (KEP-5517). Requests of the pod as a whole are for both together.
#[must_use]
pub fn requests_beside(spec: &PodSpec, more: &Resources) -> Resources {
    let mut total = container_requests(spec);
    add(&mut total, more);
    override_with_pod_level(
        &mut total,
        spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()),
    );
    for (name, amount) in amounts(spec.overhead.as_ref()) {
        add_one(&mut total, name, &amount);
    }
    total
}

/// What the devices of a pod that has a node take of that node's own resources, as its status says (KEP-5517); for
/// [`requests_beside`]. Of a pod without a node it is nothing: what its status says is left over from an attempt that failed.
#[must_use]
pub fn taken_by_devices(pod: &Pod) -> Resources {
    let mut total = Resources::new();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let status = pod.status.as_ref().filter(|_| node.is_some_and(|name| !name.is_empty()));
    let claims = status.and_then(|own| own.node_allocatable_resource_claim_statuses.as_ref());
    for claim in claims.into_iter().flatten() {
        for (name, amount) in amounts(Some(&claim.resources)) {
            add_one(&mut total, name, &amount);
        }
    }
    total
}

/// What the pod may use at most; overhead is added where there is a limit.
#[must_use]
pub fn limits(spec: &PodSpec) -> Resources {
    let mut total = container_limits(spec);
    override_with_pod_level(
        &mut total,
        spec.resources.as_ref().and_then(|resources| resources.limits.as_ref()),
    );
    for (name, amount) in amounts(spec.overhead.as_ref()) {
        if let Some(limit) = total.get_mut(name).filter(|limit| !limit.is_zero()) {
            limit.add(&amount);
        }
    }
    total
}

/// The requests of the containers alone, without overhead and without those of the pod as a whole.
#[must_use]
pub fn container_requests(spec: &PodSpec) -> Resources {
    peak(spec, |resources| resources.requests.as_ref())
}

/// The limits of the containers alone.
#[must_use]
pub fn container_limits(spec: &PodSpec) -> Resources {
    peak(spec, |resources| resources.limits.as_ref())
}

/// Whether an init container keeps running beside the containers.
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Whether a resource may be requested for the pod as a whole.
#[must_use]
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Adds all amounts of one list to another.
pub fn add(total: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        add_one(total, name, amount);
    }
}

/// Takes the larger amount of each resource.
pub fn max(total: &mut Resources, other: &Resources) {
    for (name, amount) in other {
        match total.get_mut(name) {
            Some(present) if *present >= *amount => {}
            Some(present) => present.clone_from(amount),
            None => drop(total.insert(name.clone(), amount.clone())),
        }
    }
}

fn add_one(total: &mut Resources, name: &str, amount: &Quantity) {
    match total.get_mut(name) {
        Some(present) => present.add(amount),
        None => drop(total.insert(name.to_owned(), amount.clone())),
    }
}

fn amounts(
    list: Option<&BTreeMap<String, ApiQuantity>>,
) -> impl Iterator<Item = (&String, Quantity)> {
    list.into_iter().flatten().map(|(name, amount)| (name, Quantity::from_api(amount)))
}

type ListOf = fn(&ResourceRequirements) -> Option<&BTreeMap<String, ApiQuantity>>;

fn peak(spec: &PodSpec, list: ListOf) -> Resources {
    let of = |container: &Container| -> Resources {
        let list = container.resources.as_ref().and_then(list);
        amounts(list).map(|(name, amount)| (name.clone(), amount)).collect()
    };
    let (mut total, mut sidecars, mut starting) =
        (Resources::new(), Resources::new(), Resources::new());
    for container in &spec.containers {
        add(&mut total, &of(container));
    }
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if is_sidecar(container) {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            max(&mut starting, &sidecars);
        } else {
            let mut with_sidecars = own;
            add(&mut with_sidecars, &sidecars);
            max(&mut starting, &with_sidecars);
        }
    }
    max(&mut total, &starting);
    total
}

fn override_with_pod_level(total: &mut Resources, list: Option<&BTreeMap<String, ApiQuantity>>) {
    for (name, amount) in amounts(list).filter(|(name, _)| is_pod_level(name)) {
        total.insert(name.clone(), amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn texts(resources: &Resources) -> Vec<String> {
        resources.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
    }

    #[test]
    fn an_init_container_counts_when_it_is_larger_than_the_rest() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let spec = spec(json!({
            "containers": [{"name": "a", "resources": cpu("100m")}, {"name": "b", "resources": cpu("200m")}],
            "initContainers": [
                {"name": "i", "resources": cpu("1")},
                {"name": "s", "restartPolicy": "Always", "resources": cpu("50m")},
                {"name": "j", "resources": cpu("1")},
            ],
            "overhead": {"cpu": "10m", "memory": "1Mi"},
        }));
        assert_eq!(texts(&requests(&spec)), ["cpu=1060m", "memory=1Mi"]);
    }

    #[test]
    fn what_devices_take_counts_beside_the_containers() {
        let spec = spec(json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "memory": "1Mi"}}}],
            "initContainers": [{"name": "i", "resources": {"requests": {"cpu": "3"}}}],
            "resources": {"requests": {"memory": "5Mi"}},
            "overhead": {"cpu": "1"},
        }));
        let amount = |text: &str| Quantity::parse(text).unwrap();
        let more = Resources::from([
            ("cpu".to_owned(), amount("2")),
            ("memory".to_owned(), amount("2Mi")),
            ("hugepages-2Mi".to_owned(), amount("4Mi")),
        ]);
        let total = requests_beside(&spec, &more);
        assert_eq!(texts(&total), ["cpu=6", "hugepages-2Mi=4Mi", "memory=5Mi"]);
    }

    #[test]
    fn the_pod_as_a_whole_overrides_its_containers() {
        let spec = spec(json!({
            "containers": [{"name": "a", "resources": {"requests": {"cpu": "1", "example.com/gpu": "2"}}}],
            "resources": {"requests": {"cpu": "3"}, "limits": {"cpu": "4"}},
            "overhead": {"cpu": "1"},
        }));
        assert_eq!(texts(&requests(&spec)), ["cpu=4", "example.com/gpu=2"]);
        assert_eq!(texts(&limits(&spec)), ["cpu=5"]);
    }
}
