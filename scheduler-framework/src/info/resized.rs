//! What a pod takes while what it asks for is being changed in place (KEP-1287, KEP-5419).

use super::RequestGates;
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::{is_sidecar, resources::is_pod_level};
use std::{borrow::Cow, collections::BTreeMap};

type List = BTreeMap<String, ApiQuantity>;
/// What the status says of a container.
type Told<'a> = (&'a String, Option<&'a ResourceRequirements>, Option<&'a List>);

/// What is asked for, what there is, and what was promised; the most of it counts.
#[derive(Clone, Copy)]
struct State<'a> {
    wanted: Option<&'a List>,
    actual: Option<&'a List>,
    allocated: Option<&'a List>,
}

impl State<'_> {
    /// What counts; `None` when that is what is asked for.
    fn counted(self, infeasible: bool) -> Option<List> {
        let wanted = self.wanted.filter(|_| !infeasible);
        let mut most = wanted.cloned().unwrap_or_default();
        for (name, amount) in [self.actual, self.allocated].into_iter().flatten().flatten() {
            let less = |own: &ApiQuantity| {
                own != amount && Quantity::from_api(own) < Quantity::from_api(amount)
            };
            if most.get(name).is_none_or(less) {
                most.insert(name.clone(), amount.clone());
            }
        }
        let none = List::new();
        (most != *self.wanted.unwrap_or(&none)).then_some(most)
    }
}

/// Whether the node can never give what is asked for: then only what there is counts.
fn is_infeasible(status: &PodStatus) -> bool {
    let own = status.conditions.iter().flatten().find(|own| own.type_ == "PodResizePending");
    own.is_some_and(|own| own.reason.as_deref() == Some("Infeasible"))
}

fn statuses(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let main = status.container_statuses.iter().flatten();
    main.chain(status.init_container_statuses.iter().flatten())
}

fn state<'a>(container: &'a Container, status: &'a PodStatus) -> Option<State<'a>> {
    let own = statuses(status).find(|own| own.name == container.name)?;
    Some(State {
        wanted: container.resources.as_ref().and_then(|own| own.requests.as_ref()),
        actual: own.resources.as_ref()?.requests.as_ref(),
        allocated: own.allocated_resources.as_ref(),
    })
}

fn change(containers: &mut [Container], status: &PodStatus, infeasible: bool) {
    for container in containers {
        let counted = state(container, status).and_then(|own| own.counted(infeasible));
        if let Some(counted) = counted {
            container.resources.get_or_insert_default().requests = Some(counted);
        }
    }
}

fn of_pod<'a>(spec: &'a PodSpec, status: &'a PodStatus) -> Option<State<'a>> {
    Some(State {
        wanted: Some(spec.resources.as_ref()?.requests.as_ref()?),
        actual: status.resources.as_ref()?.requests.as_ref(),
        allocated: status.allocated_resources.as_ref(),
    })
}

/// The spec of a pod as it counts: with what its containers have, or were promised, where that is more than what they
/// ask for.
pub(crate) fn counted<'a>(
    pod: &Pod,
    spec: &'a PodSpec,
    counting: RequestGates,
) -> Cow<'a, PodSpec> {
    let Some(status) = &pod.status else { return Cow::Borrowed(spec) };
    let infeasible = is_infeasible(status);
    let changed =
        |own: &Container| state(own, status).is_some_and(|own| own.counted(infeasible).is_some());
    let lasting = |own: &&Container| is_sidecar(own);
    let sidecars = spec.init_containers.iter().flatten().filter(lasting);
    let whole = of_pod(spec, status).filter(|_| counting.whole_resized);
    let whole = whole.and_then(|own| own.counted(infeasible));
    if whole.is_none() && !spec.containers.iter().chain(sidecars).any(changed) {
        return Cow::Borrowed(spec);
    }
    let mut spec = spec.clone();
    change(&mut spec.containers, status, infeasible);
    for own in spec.init_containers.iter_mut().flatten().filter(|own| is_sidecar(own)) {
        change(std::slice::from_mut(own), status, infeasible);
    }
    let asked = spec.resources.as_mut().and_then(|own| own.requests.as_mut());
    if let (Some(whole), Some(asked)) = (whole, asked) {
        // Only what was asked for as a whole counts as a whole.
        for (name, amount) in asked.iter_mut().filter(|(name, _)| is_pod_level(name)) {
            *amount = whole.get(name).cloned().unwrap_or_else(|| ApiQuantity("0".to_owned()));
        }
    }
    Cow::Owned(spec)
}

/// Whether what two states of a pod say of its containers' resources is not the same.
pub(crate) fn differs(old: &Pod, new: &Pod) -> bool {
    fn told(pod: &Pod) -> impl Iterator<Item = Told<'_>> {
        let all = pod.status.iter().flat_map(statuses);
        all.map(|own| (&own.name, own.resources.as_ref(), own.allocated_resources.as_ref()))
    }
    let whole = |pod: &Pod| {
        let status = pod.status.as_ref();
        status.map(|own| (own.resources.clone(), own.allocated_resources.clone()))
    };
    let infeasible = |pod: &Pod| pod.status.as_ref().is_some_and(is_infeasible);
    infeasible(old) != infeasible(new) || !told(old).eq(told(new)) || whole(old) != whole(new)
}

#[cfg(test)]
mod tests {
    use crate::PodInfo;
    use k8s_openapi::api::core::v1::Pod;
    use kubeplane_core::features::Features;
    use serde_json::{Value, json};
    use std::sync::Arc;

    /// CPU in thousandths that a pod counts as: what its container wants, has and was promised.
    fn cpu(wanted: &str, actual: &str, allocated: &str, reason: Option<&str>) -> i64 {
        let of = |amount: &str| match amount {
            "" => Value::Null,
            amount => json!({"cpu": amount}),
        };
        let condition =
            reason.map(|own| json!({"type": "PodResizePending", "status": "True", "reason": own}));
        let conditions: Vec<_> = condition.into_iter().collect();
        let pod = json!({"metadata": {}, "spec": {"containers": [
                {"name": "c", "resources": {"requests": of(wanted)}}]},
            "status": {"conditions": conditions, "containerStatuses": [{"name": "c", "image": "",
                "imageID": "", "ready": true, "restartCount": 0,
                "resources": {"requests": of(actual)}, "allocatedResources": of(allocated)}]}});
        PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())).requests().milli_cpu
    }

    #[test]
    fn the_most_of_what_is_wanted_there_and_promised_counts() {
        assert_eq!(cpu("1", "1", "1", None), 1000);
        assert_eq!(cpu("1", "2", "1", None), 2000, "not smaller yet");
        assert_eq!(cpu("1", "1", "3", None), 3000);
        assert_eq!(cpu("4", "2", "2", None), 4000, "not larger yet");
        assert_eq!(cpu("4", "2", "3", Some("Deferred")), 4000);
        assert_eq!(cpu("4", "2", "3", Some("Infeasible")), 3000, "it never will be");
        assert_eq!(cpu("", "500m", "", None), 500);
    }

    #[test]
    fn what_is_asked_for_as_a_whole_counts_as_a_whole() {
        let pod = |actual: &str| {
            let pod = json!({"metadata": {}, "spec": {"resources": {"requests": {"cpu": "1"}},
                    "containers": [{"name": "c", "resources": {"requests": {"memory": "1Gi"}}}]},
                "status": {"resources": {"requests": {"cpu": actual, "memory": "9Gi"}}}});
            let pod = PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()));
            (pod.requests().milli_cpu, pod.requests().memory >> 30)
        };
        assert_eq!(pod("1"), (1000, 1));
        assert_eq!(pod("3"), (3000, 1));
    }

    #[test]
    fn what_is_asked_for_as_a_whole_counts_only_where_the_gates_are() {
        let pod = json!({"metadata": {}, "spec": {"resources": {"requests": {"cpu": "1"}},
                "containers": [{"name": "c", "resources": {"requests": {"cpu": "200m"}}}]},
            "status": {"resources": {"requests": {"cpu": "3"}}}});
        let pod: Arc<Pod> = Arc::new(serde_json::from_value(pod).unwrap());
        let cpu = |gates: &str| {
            let own = PodInfo::with_features(pod.clone(), &gates.parse::<Features>().unwrap());
            (own.requests().milli_cpu, own.scored_requests().milli_cpu)
        };
        assert_eq!(cpu(""), (3000, 3000));
        assert_eq!(cpu("InPlacePodLevelResourcesVerticalScaling=false"), (1000, 1000));
        let none = "PodLevelResources=false,InPlacePodLevelResourcesVerticalScaling=false";
        assert_eq!(cpu(none), (200, 200));
    }
}
