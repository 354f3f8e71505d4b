//! What both controllers of endpoints know about Services and their pods.

use super::pods::selects;
use crate::{Context, Enqueue, Sources};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{Pod, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use kubeplane_client::{Change, Informer, ObjectKey};
use kubeplane_workload::{condition, is_ready, is_sidecar, is_terminal};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

/// On endpoints of Services without an address of their own.
pub(super) const HEADLESS: &str = "service.kubernetes.io/headless";
/// When the oldest change happened that endpoints show for the first time.
pub(super) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// The Service's spec when the controllers are to find its endpoints: it has a selector and is not an alias.
pub(super) fn selecting(service: &Service) -> Option<&ServiceSpec> {
    let spec = service.spec.as_ref()?;
    (spec.selector.is_some() && spec.type_.as_deref() != Some("ExternalName")).then_some(spec)
}

/// Whether the Service has an address of its own.
pub(super) fn has_address(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref().is_some_and(|ip| !ip.is_empty() && ip != "None")
}

/// The pods a Service selects.
pub(super) fn pods_of(context: &Context, namespace: &str, spec: &ServiceSpec) -> Vec<Arc<Pod>> {
    let selector = selector(spec);
    let pods = context.informers().of::<Pod>().list_in(namespace);
    pods.into_iter().filter(|pod| selects(&selector, pod.metadata.labels.as_ref())).collect()
}

fn selector(spec: &ServiceSpec) -> LabelSelector {
    LabelSelector { match_labels: spec.selector.clone(), match_expressions: None }
}

/// Asks for the Services whose endpoints a change of a pod may change, `batch` later.
pub(super) fn follow_pods(
    sources: &mut Sources<ObjectKey>,
    services: Informer<Service>,
    batch: Duration,
) {
    sources.handle::<Pod>(move |change, queue| {
        touched(&services, change).into_iter().for_each(|key| add_later(queue, key, batch));
    });
}

/// Asks for a reconciliation, with whatever else is asked of the same in the meantime.
pub(super) fn add_later(queue: &Enqueue<ObjectKey>, key: ObjectKey, batch: Duration) {
    if batch.is_zero() { queue.add(key) } else { queue.add_after(key, batch) }
}

/// The Services whose endpoints a change of a pod may change.
fn touched(services: &Informer<Service>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let pod = change.object();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let of = |labels: Option<&BTreeMap<String, String>>| -> BTreeSet<ObjectKey> {
        let all = services.list_in(namespace);
        let matching = all.iter().filter(|service| {
            let spec = service.spec.as_ref().filter(|spec| spec.selector.is_some());
            spec.is_some_and(|spec| selects(&selector(spec), labels))
        });
        matching.map(|service| ObjectKey::of(&**service)).collect()
    };
    let Some(old) = change.old() else {
        return of(pod.metadata.labels.as_ref()).into_iter().collect();
    };
    let name =
        |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone()));
    let relabeled = old.metadata.labels != pod.metadata.labels;
    if !relabeled && name(old) == name(pod) && !matters(old, pod) {
        return Vec::new();
    }
    let mut keys = of(pod.metadata.labels.as_ref());
    if relabeled {
        keys.extend(of(old.metadata.labels.as_ref()));
    }
    keys.into_iter().collect()
}

/// Whether a pod changed in a way that its endpoints show.
fn matters(old: &Pod, new: &Pod) -> bool {
    let ips = |pod: &Pod| {
        pod.status.as_ref().map(|status| (status.pod_ip.clone(), status.pod_ips.clone()))
    };
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || is_ready(old) != is_ready(new)
        || is_terminal(old) != is_terminal(new)
        || ips(old) != ips(new)
        || node(old) != node(new)
}

/// Whether a pod can be an endpoint at all.
pub(super) fn is_endpoint(pod: &Pod, terminating_too: bool) -> bool {
    !is_terminal(pod)
        && !addresses(pod).is_empty()
        && (terminating_too || pod.metadata.deletion_timestamp.is_none())
}

/// The pod's addresses.
pub(super) fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let several = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut found: Vec<_> = several.filter_map(|ip| ip.parse().ok()).collect();
    if found.is_empty() {
        found.extend(status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()));
    }
    found
}

/// The port of the pod that a port of a Service leads to.
pub(super) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(number)) => {
            return Some(if *number == 0 { port.port } else { *number });
        }
        Some(IntOrString::String(name)) => name,
    };
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    let mut ports =
        ports.filter(|candidate| protocol(&candidate.protocol) == protocol(&port.protocol));
    ports
        .find(|candidate| candidate.name.as_ref() == Some(name))
        .map(|candidate| candidate.container_port)
}

/// The name under which the pod is known within the Service's domain.
pub(super) fn hostname(pod: &Pod, service: &Service) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let host = spec.hostname.clone().filter(|host| !host.is_empty())?;
    let same = spec.subdomain.is_some() && spec.subdomain == service.metadata.name;
    (same && pod.metadata.namespace == service.metadata.namespace).then_some(host)
}

/// Copies a Service's labels without those that belong to endpoints, and marks headless ones.
pub(super) fn labels(
    service: &Service,
    spec: &ServiceSpec,
    reserved: &[&str],
) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|name, _| !reserved.contains(&name.as_str()));
    if has_address(spec) {
        labels.remove(HEADLESS);
    } else {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// Remembers which changes endpoints showed already.
#[derive(Debug, Default)]
pub(super) struct TriggerTimes(Mutex<HashMap<ObjectKey, Seen>>);

#[derive(Debug, Default)]
struct Seen {
    service: Option<Timestamp>,
    pods: HashMap<String, Timestamp>,
}

impl TriggerTimes {
    /// The oldest change of the Service or its pods that was not seen before; of a Service that was not seen before, its
    /// creation.
    pub(super) fn next(
        &self,
        key: &ObjectKey,
        service: &Service,
        pods: &[Arc<Pod>],
    ) -> Option<Timestamp> {
        let created = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let ready = |pod: &Pod| {
            let name = pod.metadata.name.clone()?;
            Some((name, condition(pod, "Ready")?.last_transition_time.as_ref()?.0))
        };
        let present: HashMap<_, _> = pods.iter().filter_map(|pod| ready(pod)).collect();
        let mut all = self.0.lock();
        let Some(seen) = all.get_mut(key) else {
            all.insert(key.clone(), Seen { service: created, pods: present });
            // What pods did before nobody had selected them is not late.
            return created;
        };
        let news = present
            .iter()
            .filter(|(name, time)| seen.pods.get(*name) < Some(*time))
            .map(|(_, time)| *time);
        let oldest = news.chain(created.filter(|time| seen.service < Some(*time))).min();
        *seen = Seen { service: created, pods: present };
        oldest
    }

    pub(super) fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }
}

/// Sets the trigger time, or removes an old one.
pub(super) fn note_trigger(
    annotations: &mut Option<BTreeMap<String, String>>,
    time: Option<Timestamp>,
) {
    if let Some(time) = time {
        annotations.get_or_insert_default().insert(TRIGGER_TIME.to_owned(), time.to_string());
    } else if let Some(present) = annotations {
        present.remove(TRIGGER_TIME);
        if present.is_empty() {
            *annotations = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_oldest_news_count_and_of_a_new_service_its_creation() {
        let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z");
        let pod = |name: &str, second: u32| -> Arc<Pod> {
            let ready =
                json!([{"type": "Ready", "status": "True", "lastTransitionTime": at(second)}]);
            let pod = json!({"metadata": {"name": name}, "status": {"conditions": ready}});
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let service = json!({"metadata": {"name": "web", "creationTimestamp": at(3)}});
        let service: Service = serde_json::from_value(service).unwrap();
        let (times, key) = (TriggerTimes::default(), ObjectKey::new("ns", "web"));
        let next =
            |pods: &[Arc<Pod>]| times.next(&key, &service, pods).map(|time| time.to_string());
        assert_eq!(next(&[pod("a", 1), pod("b", 5)]), Some(at(3)), "pods that were there before");
        assert_eq!(next(&[pod("a", 1), pod("b", 5)]), None);
        assert_eq!(next(&[pod("a", 8), pod("b", 7)]), Some(at(7)));
        assert_eq!(next(&[pod("a", 8)]), None);
        assert_eq!(next(&[pod("a", 8), pod("b", 9)]), Some(at(9)), "it went and came");
        times.forget(&key);
        assert_eq!(next(&[pod("a", 8)]), Some(at(3)));
    }
}
