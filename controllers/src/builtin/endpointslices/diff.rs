use super::{
    CONTROLLER, MANAGED_BY, Plan, SERVICE_NAME,
    desired::{Desired, Group, port_key},
};
use crate::builtin::services;
use k8s_openapi::{
    api::{
        core::v1::{Service, ServiceSpec},
        discovery::v1::{Endpoint, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kubeplane_client::controller_ref;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

/// Changes as few slices as possible, which have up to `largest` endpoints; every family has at least one slice, an empty
/// one if need be.
pub(super) fn plan(
    service: &Service,
    spec: &ServiceSpec,
    desired: &Desired,
    present: &[Arc<EndpointSlice>],
    largest: usize,
) -> Plan {
    let mut plan = Plan::default();
    for (family, groups) in &desired.families {
        let slices: Vec<_> = present.iter().filter(|slice| slice.address_type == *family).collect();
        let template = Template { service, spec, family, largest };
        plan.append(template.plan(groups, &slices));
    }
    let kept = |slice: &EndpointSlice| desired.families.contains_key(slice.address_type.as_str());
    plan.delete.extend(present.iter().filter(|slice| !kept(slice)).map(|slice| (**slice).clone()));
    plan
}

fn is_owned(slice: &EndpointSlice, service: &Service) -> bool {
    let uid = service.metadata.uid.as_deref();
    let mut owners = slice.metadata.owner_references.iter().flatten();
    owners.any(|owner| {
        Some(owner.uid.as_str()) == uid && owner.kind == "Service" && owner.api_version == "v1"
    })
}

/// What identifies an endpoint across its changes.
pub(super) fn identity(endpoint: &Endpoint) -> String {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    let target =
        endpoint.target_ref.as_ref().map(|target| (&target.namespace, &target.name, &target.uid));
    format!("{addresses:?} {:?} {target:?}", endpoint.hostname)
}

/// Slices of one Service and family.
struct Template<'a> {
    service: &'a Service,
    spec: &'a ServiceSpec,
    family: &'static str,
    largest: usize,
}

impl Template<'_> {
    fn labels(&self) -> BTreeMap<String, String> {
        let reserved = [SERVICE_NAME, MANAGED_BY, services::HEADLESS];
        let mut labels = services::labels(self.service, self.spec, &reserved);
        let name = self.service.metadata.name.clone().unwrap_or_default();
        labels.insert(SERVICE_NAME.to_owned(), name);
        labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
        labels
    }

    fn slice(&self, ports: &[EndpointPort], endpoints: Vec<Endpoint>) -> EndpointSlice {
        let meta = &self.service.metadata;
        EndpointSlice {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", meta.name.as_deref().unwrap_or_default())),
                namespace: meta.namespace.clone(),
                labels: Some(self.labels()),
                owner_references: Some(vec![controller_ref(self.service)]),
                ..ObjectMeta::default()
            },
            address_type: self.family.to_owned(),
            ports: Some(ports.to_vec()),
            endpoints: Some(endpoints),
        }
    }

    fn plan(&self, groups: &BTreeMap<String, Group>, present: &[&Arc<EndpointSlice>]) -> Plan {
        let mut plan = Plan::default();
        let mut by_ports: BTreeMap<String, Vec<EndpointSlice>> = BTreeMap::new();
        for slice in present.iter().map(|slice| EndpointSlice::clone(slice)) {
            if is_owned(&slice, self.service) {
                let key = port_key(slice.ports.as_deref().unwrap_or_default());
                by_ports.entry(key).or_default().push(slice);
            } else {
                plan.delete.push(slice);
            }
        }
        for (key, group) in groups {
            let slices = by_ports.remove(key).unwrap_or_default();
            plan.append(self.fill(group, slices));
        }
        plan.delete.extend(by_ports.into_values().flatten());
        if plan.delete.len() == present.len() && plan.create.is_empty() {
            self.keep_one(&mut plan);
        }
        plan.reuse(|slice| is_owned(slice, self.service));
        plan
    }

    /// A Service without endpoints has an empty slice.
    fn keep_one(&self, plan: &mut Plan) {
        let placeholder = self.slice(&[], Vec::new());
        let same = |slice: &EndpointSlice| {
            slice.metadata.labels == placeholder.metadata.labels
                && slice.ports.as_ref().is_none_or(Vec::is_empty)
                && slice.endpoints.as_ref().is_none_or(Vec::is_empty)
                && is_owned(slice, self.service)
        };
        if plan.delete.len() == 1 && same(&plan.delete[0]) {
            plan.delete.clear();
        } else {
            plan.create.push(placeholder);
        }
    }

    fn fill(&self, group: &Group, slices: Vec<EndpointSlice>) -> Plan {
        let mut plan = Plan::default();
        let labels = self.labels();
        let mut missing: HashMap<String, &Endpoint> =
            group.endpoints.iter().map(|endpoint| (identity(endpoint), endpoint)).collect();
        let mut unchanged = Vec::new();
        for mut slice in slices {
            let before = slice.endpoints.take().unwrap_or_default();
            let kept: Vec<_> = before
                .iter()
                .filter_map(|endpoint| missing.remove(&identity(endpoint)).cloned())
                .collect();
            let relabeled = slice.metadata.labels.as_ref() != Some(&labels);
            if kept.is_empty() && !before.is_empty() {
                slice.endpoints = Some(before);
                plan.delete.push(slice);
            } else if kept != before || relabeled {
                slice.endpoints = Some(kept);
                slice.metadata.labels = Some(labels.clone());
                plan.update.push(slice);
            } else {
                slice.endpoints = Some(before);
                unchanged.push(slice);
            }
        }
        // The order of the pods decides, so that equal input gives equal slices.
        let left =
            group.endpoints.iter().filter(|endpoint| missing.contains_key(&identity(endpoint)));
        let mut left: VecDeque<Endpoint> = left.cloned().collect();
        plan.update.sort_by_key(|slice| Reverse(size(slice)));
        for slice in &mut plan.update {
            top_up(slice, &mut left, self.largest);
        }
        while !left.is_empty() {
            let room = |slice: &EndpointSlice| self.largest.checked_sub(size(slice) + left.len());
            let fitting = (left.len() < self.largest)
                .then(|| {
                    unchanged
                        .iter()
                        .enumerate()
                        .filter_map(|(at, slice)| Some((room(slice)?, at)))
                        .min()
                })
                .flatten();
            if let Some((_, at)) = fitting {
                let mut slice = unchanged.swap_remove(at);
                top_up(&mut slice, &mut left, self.largest);
                plan.update.push(slice);
            } else {
                let mut slice = self.slice(&group.ports, Vec::new());
                top_up(&mut slice, &mut left, self.largest);
                plan.create.push(slice);
            }
        }
        plan
    }
}

fn size(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

fn top_up(slice: &mut EndpointSlice, left: &mut VecDeque<Endpoint>, largest: usize) {
    let endpoints = slice.endpoints.get_or_insert_default();
    let count = largest.saturating_sub(endpoints.len()).min(left.len());
    endpoints.extend(left.drain(..count));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service() -> Service {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns", "uid": "u", "labels": {"a": "b"}},
            "spec": {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "ports": [{"port": 80}]},
        }))
        .unwrap()
    }

    fn endpoint(number: usize, ready: bool) -> Endpoint {
        serde_json::from_value(json!({
            "addresses": [format!("10.0.{}.{}", number / 256, number % 256)], "conditions": {"ready": ready},
            "targetRef": {"kind": "Pod", "name": format!("p{number}"), "uid": format!("{number}")},
        }))
        .unwrap()
    }

    fn desired(endpoints: Vec<Endpoint>) -> Desired {
        let ports: Vec<EndpointPort> =
            vec![serde_json::from_value(json!({"port": 80, "name": ""})).unwrap()];
        let group = BTreeMap::from([(port_key(&ports), Group { ports, endpoints })]);
        Desired { families: BTreeMap::from([("IPv4", group)]), missing: Vec::new() }
    }

    fn step(
        endpoints: Vec<Endpoint>,
        present: &mut Vec<Arc<EndpointSlice>>,
    ) -> (usize, usize, usize) {
        let service = service();
        let spec = service.spec.clone().unwrap();
        let desired = if endpoints.is_empty() {
            Desired { families: BTreeMap::from([("IPv4", BTreeMap::new())]), missing: Vec::new() }
        } else {
            desired(endpoints)
        };
        let plan = plan(&service, &spec, &desired, present, 100);
        let counts = (plan.create.len(), plan.update.len(), plan.delete.len());
        let gone: Vec<_> = plan
            .delete
            .iter()
            .chain(&plan.update)
            .map(|slice| slice.metadata.name.clone())
            .collect();
        present.retain(|slice| !gone.contains(&slice.metadata.name));
        present.extend(plan.update.into_iter().map(Arc::new));
        for mut slice in plan.create {
            slice.metadata.name = Some(format!("web-{}", present.len()));
            present.push(Arc::new(slice));
        }
        counts
    }

    #[test]
    fn slices_have_as_many_endpoints_as_is_said() {
        let service = service();
        let spec = service.spec.clone().unwrap();
        let desired = desired((0..5).map(|number| endpoint(number, true)).collect());
        let plan = plan(&service, &spec, &desired, &[], 2);
        assert_eq!(plan.create.iter().map(size).collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn slices_change_as_little_as_possible() {
        let many =
            |range: std::ops::Range<usize>| range.map(|n| endpoint(n, true)).collect::<Vec<_>>();
        let mut present = Vec::new();
        assert_eq!(step(vec![], &mut present), (1, 0, 0), "an empty Service has one empty slice");
        assert_eq!(step(vec![], &mut present), (0, 0, 0));
        assert_eq!(step(many(0..3), &mut present), (0, 1, 0), "the empty slice is filled");
        assert_eq!(step(many(0..3), &mut present), (0, 0, 0));
        assert_eq!(step(many(0..250), &mut present), (2, 1, 0), "a slice holds a hundred");
        assert_eq!(present.iter().map(|slice| size(slice)).max(), Some(100));
        assert_eq!(step(many(0..249), &mut present), (0, 1, 0));
        let mut one_unready = many(0..249);
        one_unready[7] = endpoint(7, false);
        assert_eq!(step(one_unready, &mut present), (0, 1, 0), "one endpoint changes one slice");
        let (_, _, deleted) = step(many(0..1), &mut present);
        assert_eq!((present.len(), deleted), (1, 2));
        assert_eq!(step(vec![], &mut present), (0, 1, 0), "the last slice becomes the empty one");
        let labels = present[0].metadata.labels.clone().unwrap();
        assert_eq!(labels.get("a").map(String::as_str), Some("b"));
        assert_eq!(labels.get(SERVICE_NAME).map(String::as_str), Some("web"));
        assert_eq!(labels.get(MANAGED_BY).map(String::as_str), Some(CONTROLLER));
    }
}
