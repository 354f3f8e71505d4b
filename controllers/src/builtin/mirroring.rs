mod figures;
mod repack;

use super::{
    Settings,
    endpointslices::{MANAGED_BY, Plan, SERVICE_NAME, port_key, service_of},
    patient,
    services::{TRIGGER_TIME, add_later},
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Retry, Sources};
use async_trait::async_trait;
use figures::Figures;
use k8s_openapi::{
    api::{
        core::v1::{self as core, EndpointAddress, Endpoints, Service},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kubeplane_client::{EventType, ObjectKey, controller_ref};
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

const CONTROLLER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Copies Endpoints that someone wrote by hand, for a Service without a selector, to EndpointSlices.
pub(super) struct Mirroring {
    written: Written,
    /// The most addresses that are copied from one subset.
    largest: usize,
    /// How long changes of copies wait for more of them.
    batch: Duration,
    figures: Figures,
}

impl Mirroring {
    pub(super) fn new(clock: SharedClock, settings: &Settings, metrics: Option<&Metrics>) -> Self {
        Self {
            written: Written::new(clock),
            largest: settings.mirroring_max_endpoints_per_subset.max(1),
            batch: settings.mirroring_endpointslice_updates_batch_period,
            figures: Figures::shown(metrics),
        }
    }
}

fn is_mirrored(endpoints: &Endpoints) -> bool {
    let meta = &endpoints.metadata;
    let skipped =
        meta.labels.as_ref().and_then(|labels| labels.get(SKIP)).is_some_and(|skip| skip == "true");
    let lease =
        meta.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(LEADER));
    !skipped && !lease
}

#[async_trait]
impl Controller for Mirroring {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "endpointslice-mirroring-controller"
    }

    fn identity(&self) -> &'static str {
        "endpointslicemirroring-controller"
    }

    fn event_source(&self) -> &'static str {
        "endpoint-slice-mirroring-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<Endpoints>();
        sources.objects::<Service>();
        let (written, batch) = (self.written.clone(), self.batch);
        sources.handle::<EndpointSlice>(move |change, queue| {
            let key = service_of(change.object(), CONTROLLER);
            if let Some(key) = key.as_ref().filter(|_| change.is_deleted()) {
                written.gone(key, &**change.object());
            }
            key.into_iter().for_each(|key| add_later(queue, key, batch));
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let started = context.clock().elapsed();
        let result = self.mirror(request, context).await;
        self.figures.took(context.clock().elapsed().saturating_sub(started));
        result
    }

    fn on_error(&self, _: &ObjectKey, _: &Error, failures: u32) -> Retry {
        patient(failures)
    }
}

impl Mirroring {
    async fn mirror(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let slices = informers.of::<EndpointSlice>();
        if !self.written.is_seen(request, &slices) {
            return Ok(LAGGING);
        }
        let present: Vec<_> = slices
            .list_in(&request.namespace)
            .into_iter()
            .filter(|slice| service_of(slice, CONTROLLER).as_ref() == Some(request))
            .collect();
        let service = informers.of::<Service>().get(&request.namespace, &request.name);
        let by_hand = service.is_some_and(|service| {
            service.spec.as_ref().is_some_and(|spec| spec.selector.is_none())
        });
        let endpoints = informers.of::<Endpoints>().get(&request.namespace, &request.name);
        let wanted = endpoints.filter(|endpoints| by_hand && is_mirrored(endpoints));
        let alive = wanted
            .as_ref()
            .is_some_and(|endpoints| endpoints.metadata.deletion_timestamp.is_none());
        let mirrored = wanted.as_deref().map(|endpoints| mirror(endpoints, self.largest));
        let mirrored = mirrored.unwrap_or_default();
        if let Some(endpoints) = wanted.as_deref() {
            mirrored.tell(context, endpoints, self.largest);
        }
        self.figures.planned(request, &mirrored, &present, self.largest);
        let plan = plan(mirrored.slices, &present);
        let sizes = figures::sizes(&plan);
        let written = plan.carry_out(context, ("Endpoints", request), &self.written, alive).await;
        written.map_err(|failure| failure.error)?;
        self.figures.wrote(sizes);
        Ok(Action::Done)
    }
}

/// What is copied, and how much is not.
#[derive(Debug, Default)]
struct Mirrored {
    slices: Vec<EndpointSlice>,
    /// Addresses that are none.
    invalid: usize,
    /// Addresses that were left out, invalid ones included.
    skipped: usize,
}

impl Mirrored {
    fn tell(&self, context: &Context, endpoints: &Endpoints, largest: usize) {
        let warn = |reason: &str, message: String| {
            context.recorder().event_for(endpoints, EventType::Warning, reason, message);
        };
        let (invalid, skipped) = (self.invalid, self.skipped);
        if invalid > 0 {
            let what = format!("Skipped {invalid} invalid IP addresses");
            warn("InvalidIPAddress", format!("{what} when mirroring to EndpointSlices"));
        }
        if skipped > invalid {
            let message = format!(
                "A max of {largest} addresses can be mirrored to EndpointSlices per Endpoints subset. \
                 {skipped} addresses were skipped"
            );
            warn("TooManyAddressesToMirror", message);
        }
    }
}

/// One slice for each address family and set of ports.
fn mirror(endpoints: &Endpoints, largest: usize) -> Mirrored {
    let mut slices: BTreeMap<(&str, String), EndpointSlice> = BTreeMap::new();
    let (mut invalid, mut skipped) = (0, 0);
    for pack in repack::packed(endpoints.subsets.as_deref().unwrap_or_default()) {
        let ports = ports(&pack.ports);
        let mut taken = 0;
        for (address, ready) in pack.addresses {
            if taken == largest {
                skipped += 1;
                continue;
            }
            let Ok(ip) = address.ip.parse::<IpAddr>() else {
                invalid += 1;
                skipped += 1;
                continue;
            };
            taken += 1;
            let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
            let slice = slices
                .entry((family, port_key(&ports)))
                .or_insert_with(|| slice(endpoints, family, ports.clone()));
            slice.endpoints.get_or_insert_default().push(endpoint(address, ip, ready));
        }
    }
    Mirrored { slices: slices.into_values().collect(), invalid, skipped }
}

fn ports(ports: &[&core::EndpointPort]) -> Vec<EndpointPort> {
    let ports = ports.iter().map(|port| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    });
    ports.collect()
}

fn endpoint(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn slice(endpoints: &Endpoints, family: &str, ports: Vec<EndpointPort>) -> EndpointSlice {
    let meta = &endpoints.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let mut labels = meta.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), CONTROLLER.to_owned());
    labels.insert(SERVICE_NAME.to_owned(), name.clone());
    let mut annotations = meta.annotations.clone().unwrap_or_default();
    annotations.retain(|name, _| name != TRIGGER_TIME && name != LAST_APPLIED);
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: meta.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
            owner_references: Some(vec![controller_ref(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ports: Some(ports),
        endpoints: Some(Vec::new()),
    }
}

fn plan(desired: Vec<EndpointSlice>, present: &[Arc<EndpointSlice>]) -> Plan {
    let key = |slice: &EndpointSlice| {
        (slice.address_type.clone(), port_key(slice.ports.as_deref().unwrap_or_default()))
    };
    let mut plan = Plan::default();
    let mut left: Vec<_> = present.iter().collect();
    for wanted in desired {
        let Some(at) = left.iter().position(|slice| key(slice) == key(&wanted)) else {
            plan.create.push(wanted);
            continue;
        };
        let old = left.remove(at);
        let next = EndpointSlice { ports: old.ports.clone(), ..instead_of(old, wanted) };
        if next != **old {
            plan.update.push(next);
        }
    }
    // A slice that is not needed any more becomes one that is: its name stays.
    for wanted in std::mem::take(&mut plan.create) {
        match left.iter().position(|slice| slice.address_type == wanted.address_type) {
            Some(at) => plan.update.push(instead_of(left.remove(at), wanted)),
            None => plan.create.push(wanted),
        }
    }
    plan.delete.extend(left.into_iter().map(|slice| (**slice).clone()));
    plan
}

/// The slice that is wanted, under the name of one that is there.
fn instead_of(old: &EndpointSlice, wanted: EndpointSlice) -> EndpointSlice {
    let metadata = ObjectMeta {
        labels: wanted.metadata.labels,
        annotations: wanted.metadata.annotations,
        owner_references: wanted.metadata.owner_references,
        ..old.metadata.clone()
    };
    EndpointSlice { metadata, ..wanted }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_subset_becomes_a_slice_a_family_and_stays_the_same_one() {
        let mut endpoints: Endpoints = serde_json::from_value(json!({
            "metadata": {"name": "db", "namespace": "ns", "uid": "u", "labels": {"a": "b"}},
            "subsets": [{
                "addresses": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}],
                "notReadyAddresses": [{"ip": "192.0.2.2"}],
                "ports": [{"port": 5432}],
            }],
        }))
        .unwrap();
        let first = plan(mirror(&endpoints, 1000).slices, &[]);
        let shape: Vec<_> = first
            .create
            .iter()
            .map(|slice| {
                (slice.address_type.as_str(), slice.endpoints.as_ref().map_or(0, Vec::len))
            })
            .collect();
        assert_eq!(shape, [("IPv4", 2), ("IPv6", 1)]);
        let present: Vec<_> = first.create.into_iter().map(Arc::new).collect();
        assert_eq!(plan(mirror(&endpoints, 1000).slices, &present), Plan::default());
        endpoints.subsets.as_mut().unwrap()[0].addresses.as_mut().unwrap().pop();
        let second = plan(mirror(&endpoints, 1000).slices, &present);
        assert_eq!((second.create.len(), second.update.len(), second.delete.len()), (0, 0, 1));
    }

    #[test]
    fn a_slice_keeps_its_name_when_its_ports_change() {
        let of = |port: i32, ip: &str| -> Vec<EndpointSlice> {
            let subset = json!({"addresses": [{"ip": ip}], "ports": [{"port": port}]});
            let meta = json!({"name": "db", "namespace": "ns", "uid": "u"});
            let endpoints = json!({"metadata": meta, "subsets": [subset]});
            mirror(&serde_json::from_value(endpoints).unwrap(), 1000).slices
        };
        let mut present = of(80, "192.0.2.1").remove(0);
        present.metadata.name = Some("db-x".to_owned());
        let present = [Arc::new(present)];
        let next = plan(of(90, "192.0.2.1"), &present);
        assert_eq!((next.create.len(), next.update.len(), next.delete.len()), (0, 1, 0));
        assert_eq!(next.update[0].metadata.name.as_deref(), Some("db-x"));
        assert_eq!(next.update[0].ports.as_ref().unwrap()[0].port, Some(90));
        // The kind of its addresses is what it can never change.
        let other = plan(of(90, "2001:db8::1"), &present);
        assert_eq!((other.create.len(), other.update.len(), other.delete.len()), (1, 0, 1));
    }
}
