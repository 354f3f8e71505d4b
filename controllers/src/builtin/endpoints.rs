use super::{
    patient,
    services::{self, TriggerTimes, addresses, hostname, is_endpoint, target_port},
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Retry, Sources, error::unless_gone};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{
        EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
        ServiceSpec,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_clock::SharedClock;
use kubeplane_workload::{is_ready, phase::node_name};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpoint-controller";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The most addresses in one Endpoints object.
const LARGEST: usize = 1000;

/// Keeps Endpoints, the older form of endpoint slices, equal to the pods that Services select.
pub(super) struct EndpointsController {
    triggers: TriggerTimes,
    written: Written,
    /// Services that were seen to go: what is under their names goes, too, whoever wrote it.
    gone: Arc<Mutex<BTreeSet<ObjectKey>>>,
    /// How long changes wait for more of them.
    batch: Duration,
}

impl EndpointsController {
    pub(super) fn new(clock: SharedClock, batch: Duration) -> Self {
        let triggers = TriggerTimes::default();
        Self { triggers, written: Written::new(clock), gone: Arc::default(), batch }
    }
}

#[async_trait]
impl Controller for EndpointsController {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "endpoints-controller"
    }

    fn identity(&self) -> &'static str {
        CONTROLLER
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let all = sources.informer::<Service>();
        let gone = self.gone.clone();
        sources.watch::<Service>(move |change| {
            let key = ObjectKey::of(&**change.object());
            if change.is_deleted() {
                gone.lock().insert(key.clone());
            }
            vec![key]
        });
        services::follow_pods(sources, all, self.batch);
        let (written, batch) = (self.written.clone(), self.batch);
        sources.handle::<Endpoints>(move |change, queue| {
            let key = ObjectKey::of(&**change.object());
            if change.is_deleted() {
                written.gone(&key, &**change.object());
                queue.add(key);
            } else {
                services::add_later(queue, key, batch);
            }
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let endpoints = informers.of::<Endpoints>();
        let api: Api<Endpoints> = Api::namespaced(context.client(), &request.namespace);
        let Some(service) = informers.of::<Service>().get(&request.namespace, &request.name) else {
            self.triggers.forget(request);
            self.written.forget(request);
            let ours = |present: Arc<Endpoints>| {
                present.metadata.labels.as_ref()?.get(MANAGED_BY).cloned()
            };
            let ours = endpoints.get(&request.namespace, &request.name).and_then(ours);
            let gone = self.gone.lock().contains(request);
            if gone || ours.as_deref() == Some(CONTROLLER) {
                unless_gone(api.delete(&request.name, &DeleteParams::default()).await)?;
                self.gone.lock().remove(request);
            }
            return Ok(Action::Done);
        };
        self.gone.lock().remove(request);
        let Some(spec) = services::selecting(&service) else { return Ok(Action::Done) };
        if !self.written.is_seen(request, &endpoints) {
            return Ok(LAGGING);
        }
        let pods = services::pods_of(context, &request.namespace, spec);
        let trigger = self.triggers.next(request, &service, &pods);
        let present = endpoints.get(&request.namespace, &request.name);
        let mut next = present.as_deref().cloned().unwrap_or_else(|| named(&service));
        let (subsets, truncated) = subsets(&service, spec, &pods);
        let mut labels = services::labels(&service, spec, &[]);
        labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
        next.metadata.labels = Some(labels);
        next.subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
        note_capacity(&mut next, truncated);
        if present.as_deref().is_some_and(|present| same(present, &next)) {
            return Ok(Action::Done);
        }
        services::note_trigger(&mut next.metadata.annotations, trigger);
        let is_new = present.is_none();
        let written = match present {
            None => api.create(&PostParams::default(), &next).await,
            Some(_) => api.replace(&request.name, &PostParams::default(), &next).await,
        };
        match written.map_err(Error::from) {
            Ok(written) if is_new => self.written.created(request, &written),
            Ok(written) => self.written.updated(request, &written),
            Err(error) if error.is_namespace_terminating() => {}
            Err(error) => {
                let (reason, doing) = match is_new {
                    true => ("FailedToCreateEndpoint", "create endpoint for service"),
                    false => ("FailedToUpdateEndpoint", "update endpoint"),
                };
                let message = format!("Failed to {doing} {request}: {}", error.text());
                context.recorder().event_for(&next, EventType::Warning, reason, message);
                return Err(error);
            }
        }
        Ok(Action::Done)
    }

    fn on_error(&self, _: &ObjectKey, _: &Error, failures: u32) -> Retry {
        patient(failures)
    }
}

fn named(service: &Service) -> Endpoints {
    let metadata = ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        ..ObjectMeta::default()
    };
    Endpoints { metadata, subsets: None }
}

fn same(present: &Endpoints, next: &Endpoints) -> bool {
    let capacity = |endpoints: &Endpoints| {
        endpoints.metadata.annotations.as_ref()?.get(OVER_CAPACITY).cloned()
    };
    let subsets = |endpoints: &Endpoints| endpoints.subsets.clone().unwrap_or_default();
    present.metadata.labels == next.metadata.labels
        && capacity(present) == capacity(next)
        && subsets(present) == subsets(next)
}

fn note_capacity(endpoints: &mut Endpoints, truncated: bool) {
    let annotations = &mut endpoints.metadata.annotations;
    if truncated {
        annotations
            .get_or_insert_default()
            .insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else if let Some(present) = annotations {
        present.remove(OVER_CAPACITY);
    }
}

/// Ready and unready addresses of one set of ports, in order.
type Addresses = (BTreeMap<String, EndpointAddress>, BTreeMap<String, EndpointAddress>);

/// The Service's endpoints: addresses with the same ports together; whether some had to be left out.
fn subsets(
    service: &Service,
    spec: &ServiceSpec,
    pods: &[Arc<Pod>],
) -> (Vec<EndpointSubset>, bool) {
    let publish = spec.publish_not_ready_addresses.unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut by_address: BTreeMap<(String, bool), (EndpointAddress, BTreeSet<PortKey>)> =
        BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_endpoint(pod, publish)) {
        let Some(address) = address(service, spec, pod) else { continue };
        let ready = publish || is_ready(pod);
        let entry = by_address
            .entry((order(&address), ready))
            .or_insert_with(|| (address, BTreeSet::new()));
        for port in ports {
            let Some(number) = target_port(pod, port) else { continue };
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            entry.1.insert((
                port.name.clone().unwrap_or_default(),
                number,
                protocol,
                port.app_protocol.clone(),
            ));
        }
    }
    let mut groups: BTreeMap<BTreeSet<PortKey>, Addresses> = BTreeMap::new();
    let headless = spec.ports.as_ref().is_none_or(Vec::is_empty) && !services::has_address(spec);
    for ((order, ready), (address, ports)) in by_address {
        if ports.is_empty() && !headless {
            continue;
        }
        let (is_ready, unready) = groups.entry(ports).or_default();
        if ready {
            is_ready.insert(order, address)
        } else {
            unready.insert(order, address)
        };
    }
    let mut subsets: Vec<_> =
        groups.into_iter().map(|(ports, addresses)| subset(ports, addresses)).collect();
    let truncated = truncate(&mut subsets);
    (subsets, truncated)
}

type PortKey = (String, i32, String, Option<String>);

fn subset(ports: BTreeSet<PortKey>, (ready, unready): Addresses) -> EndpointSubset {
    let list = |addresses: BTreeMap<String, EndpointAddress>| {
        Some(addresses.into_values().collect::<Vec<_>>()).filter(|list| !list.is_empty())
    };
    let ports = ports.into_iter().map(|(name, port, protocol, app_protocol)| EndpointPort {
        name: Some(name).filter(|name| !name.is_empty()),
        port,
        protocol: Some(protocol),
        app_protocol,
    });
    EndpointSubset {
        addresses: list(ready),
        not_ready_addresses: list(unready),
        ports: Some(ports.collect::<Vec<_>>()).filter(|ports| !ports.is_empty()),
    }
}

fn order(address: &EndpointAddress) -> String {
    format!(
        "{} {:?}",
        address.ip,
        address.target_ref.as_ref().and_then(|target| target.uid.as_deref())
    )
}

/// Leaves out what is too much, unready addresses first, and of each subset about the same share.
fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| count(&subset.addresses)).sum();
    let unready: usize = subsets.iter().map(|subset| count(&subset.not_ready_addresses)).sum();
    if ready + unready <= LARGEST {
        return false;
    }
    let only_ready = ready > LARGEST;
    let (total, room) = if only_ready { (ready, LARGEST) } else { (unready, LARGEST - ready) };
    let mut left = room;
    for subset in subsets.iter_mut() {
        let cut = if only_ready {
            subset.not_ready_addresses = None;
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        let Some(list) = cut else { continue };
        list.truncate((list.len() * room).div_ceil(total).min(left));
        left -= list.len();
        if list.is_empty() {
            *cut = None;
        }
    }
    subsets.retain(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    true
}

/// The pod's address of the Service's (first) family.
fn address(service: &Service, spec: &ServiceSpec, pod: &Pod) -> Option<EndpointAddress> {
    let by_name = spec
        .ip_families
        .as_ref()
        .and_then(|families| families.first())
        .map(|family| family == "IPv6");
    let by_ip = || Some(spec.cluster_ip.as_deref()?.parse::<IpAddr>().ok()?.is_ipv6());
    let all = addresses(pod);
    let v6 = by_name.or_else(by_ip).unwrap_or_else(|| all.first().is_some_and(IpAddr::is_ipv6));
    let ip = all.into_iter().find(|ip| ip.is_ipv6() == v6)?;
    Some(EndpointAddress {
        ip: ip.to_string(),
        hostname: hostname(pod, service),
        node_name: node_name(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, ip: &str, ready: &str, port: i32) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"name": name, "namespace": "ns", "uid": name},
                "spec": {"nodeName": "n", "containers": [
                    {"name": "c", "ports": [{"name": "http", "containerPort": port}]}]},
                "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": ready}]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn addresses_with_the_same_ports_are_together() {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "ns"},
            "spec": {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"a": "b"},
                "ports": [{"port": 80, "targetPort": "http"}]},
        }))
        .unwrap();
        let pods = [
            pod("b", "10.0.0.2", "True", 8080),
            pod("a", "10.0.0.1", "True", 8080),
            pod("c", "10.0.0.3", "False", 8080),
            pod("d", "10.0.0.4", "True", 9090),
        ];
        let (subsets, truncated) = subsets(&service, service.spec.as_ref().unwrap(), &pods);
        let shape: Vec<Value> = subsets
            .iter()
            .map(|subset| {
                let ips = |list: &Option<Vec<EndpointAddress>>| {
                    list.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>()
                };
                let ports: Vec<_> = subset.ports.iter().flatten().map(|port| port.port).collect();
                json!([ips(&subset.addresses), ips(&subset.not_ready_addresses), ports])
            })
            .collect();
        let expected =
            json!([[["10.0.0.1", "10.0.0.2"], ["10.0.0.3"], [8080]], [["10.0.0.4"], [], [9090]]]);
        assert_eq!(json!(shape), expected);
        assert!(!truncated);
    }

    #[test]
    fn what_is_too_much_is_left_out_of_every_subset() {
        let cut = |sizes: &[(usize, usize)]| {
            let list = |count: usize| {
                let addresses = vec![EndpointAddress::default(); count];
                Some(addresses).filter(|addresses| !addresses.is_empty())
            };
            let subset = |(ready, unready): &(usize, usize)| EndpointSubset {
                addresses: list(*ready),
                not_ready_addresses: list(*unready),
                ports: None,
            };
            let mut subsets: Vec<_> = sizes.iter().map(subset).collect();
            let truncated = truncate(&mut subsets);
            let size = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
            let sizes = subsets
                .iter()
                .map(|subset| (size(&subset.addresses), size(&subset.not_ready_addresses)));
            (truncated, sizes.collect::<Vec<_>>())
        };
        let few = [(100, 100), (100, 100), (300, 300)];
        assert_eq!(cut(&few), (false, few.to_vec()));
        let unready = [(90, 101), (110, 200), (50, 200), (10, 201), (20, 298)];
        let kept = vec![(90, 73), (110, 144), (50, 144), (10, 145), (20, 214)];
        assert_eq!(cut(&unready), (true, kept));
        let ready = [(205, 100), (400, 200), (402, 200), (400, 200), (693, 300), (0, 5)];
        let kept = vec![(98, 0), (191, 0), (192, 0), (191, 0), (328, 0)];
        assert_eq!(cut(&ready), (true, kept));
    }
}
