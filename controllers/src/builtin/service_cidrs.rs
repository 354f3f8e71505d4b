use super::patient;
use crate::{Action, Context, Controller, Error, Retry, Sources, error::unless_gone};
use async_trait::async_trait;
use ipnet::IpNet;
use jiff::SignedDuration;
use k8s_openapi::{
    api::networking::v1::{IPAddress, ServiceCIDR},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use kubeplane_client::{Change, EventType, Informer, ObjectKey, finalizers};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGER: &str = "service-cidr-controller";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// Until every allocator has seen that addresses are no longer given from a network.
const GRACE: Duration = Duration::from_secs(10);

/// Says which networks of Services are ready, and keeps those whose addresses are in use.
pub(super) struct ServiceCidrs;

/// The networks that it names.
pub(super) fn networks(cidr: &ServiceCIDR) -> impl Iterator<Item = IpNet> {
    let spec = cidr.spec.iter();
    spec.flat_map(|spec| spec.cidrs.iter().flatten()).filter_map(|network| network.parse().ok())
}

/// The names of those with a network that `is`.
fn names(all: &Informer<ServiceCIDR>, is: impl Fn(&IpNet) -> bool) -> BTreeSet<String> {
    let all = all.list();
    let found = all.iter().filter(|cidr| networks(cidr).any(|network| is(&network)));
    found.map(|cidr| cidr.name_any()).collect()
}

/// The address, if the API server gave it to a Service.
fn address(ip: &IPAddress) -> Option<IpAddr> {
    let labels = ip.metadata.labels.as_ref()?;
    (labels.get(MANAGED_BY)? == ALLOCATOR).then_some(())?;
    ip.metadata.name.as_ref()?.parse().ok()
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// Whether every address of this one belongs to another one too, or none is in use.
fn may_go(cidr: &ServiceCIDR, all: &Informer<ServiceCIDR>, ips: &[IpAddr]) -> bool {
    let own = BTreeSet::from([cidr.name_any()]);
    let alone = |names: &BTreeSet<String>| names.is_empty() || *names == own;
    if !networks(cidr).any(|network| alone(&names(all, |other| other.contains(&network)))) {
        return true;
    }
    let orphans = |network: IpNet| {
        let mut within = ips.iter().filter(move |ip| network.addr().is_ipv4() == ip.is_ipv4());
        within.any(|ip| names(all, |other| other.contains(ip)) == own)
    };
    !networks(cidr).any(orphans)
}

#[async_trait]
impl Controller for ServiceCidrs {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "service-cidr-controller"
    }

    fn identity(&self) -> &'static str {
        "service-cidrs-controller"
    }

    fn event_source(&self) -> &'static str {
        "service-cidr-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let all = sources.informer::<ServiceCIDR>();
        let keys = |names: BTreeSet<String>| -> Vec<_> {
            names.into_iter().map(|name| ObjectKey::new("", name)).collect()
        };
        let others = all.clone();
        sources.watch::<ServiceCIDR>(move |change| {
            let cidr = change.object();
            let mut concerned = match change {
                Change::Updated { .. } => BTreeSet::new(),
                // One that comes may let another go, one that goes may keep it.
                _ => names(&others, |other| networks(cidr).any(|own| overlap(&own, other))),
            };
            concerned.insert(cidr.name_any());
            keys(concerned)
        });
        sources.watch::<IPAddress>(move |change| match (change, address(change.object())) {
            (Change::Updated { .. }, _) | (_, None) => Vec::new(),
            (_, Some(ip)) => keys(names(&all, |network| network.contains(&ip))),
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let all = informers.of::<ServiceCIDR>();
        let Some(cidr) = all.get("", &key.name) else { return Ok(Action::Done) };
        let api: Api<ServiceCIDR> = Api::all(context.client());
        let protected = finalizers::has(&*cidr, FINALIZER);
        let Some(deleted) = &cidr.metadata.deletion_timestamp else {
            if !protected {
                let patch = json!({"metadata": {"finalizers": [FINALIZER]}});
                finalize(&api, &key.name, patch).await?;
            }
            let told = tell(context, &api, &cidr, "True", "", "Kubernetes Service CIDR is ready");
            if let Err(error) = told.await {
                let message = "The ServiceCIDR Status can not be set to Ready=True";
                let reason = "KubernetesServiceCIDRError";
                context.recorder().event_for(&*cidr, EventType::Warning, reason, message);
                return Err(error);
            }
            return Ok(Action::Done);
        };
        let ips: Vec<_> =
            informers.of::<IPAddress>().list().iter().filter_map(|ip| address(ip)).collect();
        if !may_go(&cidr, &all, &ips) {
            let message = "There are still IPAddresses referencing the ServiceCIDR, \
                           please remove them or create a new ServiceCIDR";
            tell(context, &api, &cidr, "False", "Terminating", message).await?;
            return Ok(Action::Done);
        }
        let since = context.now().duration_since(deleted.0).max(SignedDuration::ZERO);
        let left = GRACE.saturating_sub(since.unsigned_abs());
        if !left.is_zero() {
            return Ok(Action::RequeueAfter(left));
        }
        if protected {
            let patch = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
            finalize(&api, &key.name, patch).await?;
        }
        Ok(Action::Done)
    }

    fn on_error(&self, _: &ObjectKey, _: &Error, failures: u32) -> Retry {
        patient(failures)
    }
}

async fn finalize(api: &Api<ServiceCIDR>, name: &str, patch: Value) -> Result<(), Error> {
    unless_gone(api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await)
}

/// Says in the status whether it is ready.
async fn tell(
    context: &Context,
    api: &Api<ServiceCIDR>,
    cidr: &ServiceCIDR,
    status: &str,
    reason: &str,
    message: &str,
) -> Result<(), Error> {
    let mut conditions = cidr.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let said = conditions.any(|said| {
        said.type_ == "Ready"
            && (said.status.as_str(), said.reason.as_str(), said.message.as_str())
                == (status, reason, message)
    });
    if said {
        return Ok(());
    }
    let name = cidr.name_any();
    let patch = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": name},
        "status": {"conditions": [{
            "type": "Ready", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": Time(context.now()),
        }]},
    });
    let params = PatchParams::apply(MANAGER).force();
    unless_gone(api.patch_status(&name, &params, &Patch::Apply(patch)).await)
}
