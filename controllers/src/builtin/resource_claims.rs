mod claim;
mod group;
mod pod;

pub(super) use group::{PodGroup, is_group, name_of as group_name, owns as group_owns};

use super::{
    figures::{Counts, Labels, Place, Slot, labels, listed},
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::{Pod, PodResourceClaim},
    resource::v1::{ResourceClaim, ResourceClaimTemplate},
};
use kube::ResourceExt;
use kubeplane_client::{ObjectKey, controller_of};
use kubeplane_clock::SharedClock;
use kubeplane_core::features::Features;
use kubeplane_telemetry::Metrics;
use kubeplane_workload::{is_terminal, phase::node_name};
use prometheus_client::metrics::{counter::Counter, family::Family};

/// On claims that were made for a pod: the pod's own name of the claim.
const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// On claims that were made for a pod's extended resources: `true`.
const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";
/// Held by claims that are allocated by the scheduler.
const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

/// The index of pods by the claims and templates they name, as [`claim_key`] and [`template_key`] say.
const BY_CLAIM: &str = "resource-claim";
/// The index of claims by the uid of the pod or PodGroup they were made for.
const BY_OWNER: &str = "resource-claim-owner";
/// The index of PodGroups by the claims and templates they name.
const GROUPS: &str = "resource-claim-groups";
/// The index of pods with claims by their PodGroup.
const MEMBERS: &str = "resource-claim-members";

/// Makes the resource claims that pods and PodGroups have by a template, reserves them for pods that were bound past
/// the scheduler, and gives them back when the pods are done.
pub(super) struct ResourceClaims {
    written: Written,
    /// Whether PodGroups have claims.
    groups: bool,
    /// Whether requests have alternatives.
    alternatives: bool,
    /// By whether it worked, and whether the claim asks for access as an administrator.
    made: Family<Labels<2>, Counter>,
    known: Slot<ResourceClaim>,
}

/// Whether a claim asks for access as an administrator, as metrics have it.
fn admin_access(claim: &ResourceClaim) -> &'static str {
    let requests = claim.spec.devices.iter().flat_map(|devices| devices.requests.iter().flatten());
    let mut exact = requests.filter_map(|request| request.exactly.as_ref());
    if exact.any(|own| own.admin_access == Some(true)) { "true" } else { "false" }
}

/// How many claims there are, by what they are.
fn counts(known: &Slot<ResourceClaim>) -> Counts<3> {
    let mut counts = Counts::new();
    for claim in listed(known) {
        let status = claim.status.as_ref();
        let allocated = status.is_some_and(|status| status.allocation.is_some());
        let has = |name: &str| claim.annotations().get(name).map(String::as_str);
        let source = match (has(EXTENDED), has(POD_CLAIM)) {
            (Some("true"), _) => "extended_resource",
            (_, Some(name)) if !name.is_empty() => "resource_claim_template",
            _ => "",
        };
        let label = labels([
            ("allocated", if allocated { "true" } else { "false" }),
            ("admin_access", admin_access(&claim)),
            ("source", source),
        ]);
        *counts.entry(label).or_default() += 1;
    }
    counts
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Pod(ObjectKey),
    Claim(ObjectKey),
    Group(ObjectKey),
}

impl ResourceClaims {
    /// PodGroups have claims and requests have alternatives where their gates say so.
    pub(super) fn new(clock: SharedClock, features: &Features, metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "resourceclaim_controller");
        let known = Slot::default();
        let shown = known.clone();
        place
            .count("resource_claims", "Claims there are, by what they are", move || counts(&shown));
        let help = "Claims that were to be made, by whether that worked and what they ask for";
        Self {
            written: Written::new(clock),
            groups: features.is_on("DRAWorkloadResourceClaims"),
            alternatives: features.is_on("DRAPrioritizedList"),
            made: place.show("creates", help),
            known,
        }
    }

    /// Counts a claim that was to be made.
    fn count(&self, claim: &ResourceClaim, worked: bool) {
        let status = if worked { "success" } else { "failure" };
        let label = labels([("status", status), ("admin_access", admin_access(claim))]);
        self.made.get_or_create(&label).inc();
    }

    /// What follows from PodGroups, and for them from claims and templates.
    fn watch_groups(&self, sources: &mut Sources<Request>) {
        let groups = sources.informer::<PodGroup>();
        groups.add_index(GROUPS, |group| {
            let namespace = group.namespace().unwrap_or_default();
            let claims = group.claims().map(|name| claim_key(&namespace, name));
            claims.chain(group.templates().map(|name| template_key(&namespace, name))).collect()
        });
        let pods = sources.informer::<Pod>();
        pods.add_index(MEMBERS, |pod| {
            let member = group::name_of(pod).filter(|_| !entries(pod).is_empty());
            let namespace = pod.namespace().unwrap_or_default();
            member.map(|name| format!("{namespace}/{name}")).into_iter().collect()
        });
        let written = self.written.clone();
        sources.watch::<PodGroup>(move |change| {
            let group = change.object();
            let key = ObjectKey::of(&**group);
            let mut requests = Vec::new();
            if change.is_deleted() {
                written.forget(&group::memory(&key));
                let claim = |name| Request::Claim(ObjectKey::new(key.namespace.clone(), name));
                requests.extend(group.claims().map(claim));
            } else if !group.spec.resource_claims.is_empty() {
                requests.push(Request::Group(key.clone()));
            }
            // What the group has may be what its pods wait for.
            let members = pods.by_index(MEMBERS, &key.to_string());
            requests.extend(members.iter().map(|pod| Request::Pod(ObjectKey::of(&**pod))));
            requests
        });
        let all = move |key: &str| -> Vec<Request> {
            let found = groups.by_index(GROUPS, key);
            found.iter().map(|group| Request::Group(ObjectKey::of(&**group))).collect()
        };
        let of_claim = all.clone();
        let written = self.written.clone();
        sources.watch::<ResourceClaim>(move |change| {
            let claim = change.object();
            let key = ObjectKey::of(&**claim);
            let mut requests = of_claim(&claim_key(&key.namespace, &key.name));
            if let Some(owner) = group_owner(claim) {
                let group = ObjectKey::new(key.namespace, owner);
                if change.is_deleted() {
                    written.gone(&group::memory(&group), &**claim);
                }
                requests.push(Request::Group(group));
            }
            requests
        });
        sources.watch::<ResourceClaimTemplate>(move |change| {
            let key = ObjectKey::of(&**change.object());
            let gone = change.is_deleted();
            if gone { Vec::new() } else { all(&template_key(&key.namespace, &key.name)) }
        });
    }
}

/// The claim behind an entry of a pod.
pub(super) enum Named {
    /// It was not made yet.
    Not,
    /// None is needed.
    Nothing,
    /// By the user.
    Given(String),
    /// From a template, for this pod.
    Made(String),
}

impl Named {
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Given(name) | Self::Made(name) => Some(name),
            Self::Not | Self::Nothing => None,
        }
    }
}

pub(super) fn named(pod: &Pod, entry: &PodResourceClaim) -> Named {
    if let Some(name) = &entry.resource_claim_name {
        return Named::Given(name.clone());
    }
    let statuses = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    match statuses.and_then(|all| all.iter().find(|status| status.name == entry.name)) {
        None => Named::Not,
        Some(status) => status.resource_claim_name.clone().map_or(Named::Nothing, Named::Made),
    }
}

/// What a pod has claims for.
pub(super) fn entries(pod: &Pod) -> &[PodResourceClaim] {
    pod.spec.as_ref().and_then(|spec| spec.resource_claims.as_deref()).unwrap_or_default()
}

/// The names of all claims of a pod, also of the one for its extended resources.
fn claims(pod: &Pod) -> Vec<String> {
    let own = entries(pod).iter().filter_map(|entry| named(pod, entry).name().map(str::to_owned));
    let status = pod.status.as_ref().and_then(|own| own.extended_resource_claim_status.as_ref());
    own.chain(status.map(|own| own.resource_claim_name.clone())).collect()
}

/// Whether a pod does not and will not run any more.
fn is_done(pod: &Pod) -> bool {
    is_terminal(pod) || pod.metadata.deletion_timestamp.is_some() && node_name(pod).is_none()
}

fn claim_key(namespace: &str, name: &str) -> String {
    format!("claim/{namespace}/{name}")
}

fn template_key(namespace: &str, name: &str) -> String {
    format!("template/{namespace}/{name}")
}

fn keys(pod: &Pod) -> Vec<String> {
    let namespace = pod.namespace().unwrap_or_default();
    let templates = entries(pod).iter().filter_map(|entry| {
        Some(template_key(&namespace, entry.resource_claim_template_name.as_deref()?))
    });
    let claims = claims(pod).into_iter().map(|name| claim_key(&namespace, &name));
    claims.chain(templates).collect()
}

/// The name and uid of the pod a claim was made for.
pub(super) fn owner(claim: &ResourceClaim) -> Option<(&str, &str)> {
    let owner = controller_of(claim).filter(|own| own.kind == "Pod" && own.api_version == "v1")?;
    Some((&owner.name, &owner.uid))
}

/// The name of the PodGroup a claim was made for.
fn group_owner(claim: &ResourceClaim) -> Option<&str> {
    let owner = controller_of(claim).filter(|own| own.kind == "PodGroup")?;
    owner.api_version.starts_with(group::GROUP).then_some(&*owner.name)
}

#[async_trait]
impl Controller for ResourceClaims {
    type Request = Request;
    type Error = Error;

    fn name(&self) -> &'static str {
        "resourceclaim-controller"
    }

    fn identity(&self) -> &'static str {
        "resource-claim-controller"
    }

    fn event_source(&self) -> &'static str {
        "resource_claim"
    }

    fn watches(&self, sources: &mut Sources<Request>) {
        let pods = sources.informer::<Pod>();
        pods.add_index(BY_CLAIM, keys);
        let known = sources.informer::<ResourceClaim>();
        *self.known.lock() = Some(known.clone());
        known.add_index(BY_OWNER, |claim| {
            let owner = controller_of(claim).filter(|own| matches!(&*own.kind, "Pod" | "PodGroup"));
            owner.map(|own| own.uid.clone()).into_iter().collect()
        });
        if self.groups {
            self.watch_groups(sources);
        }
        let written = self.written.clone();
        sources.watch::<Pod>(move |change| {
            let pod = change.object();
            let key = ObjectKey::of(&**pod);
            let mut requests = Vec::new();
            if change.is_deleted() || is_done(pod) {
                let claim = |name| Request::Claim(ObjectKey::new(key.namespace.clone(), name));
                requests.extend(claims(pod).into_iter().map(claim));
            }
            if change.is_deleted() {
                written.forget(&key);
            } else if !entries(pod).is_empty() {
                requests.push(Request::Pod(key));
            }
            requests
        });
        let users = pods.clone();
        let all = move |key: &str| {
            let found = users.by_index(BY_CLAIM, key);
            let found: Vec<_> =
                found.iter().map(|pod| Request::Pod(ObjectKey::of(&**pod))).collect();
            found
        };
        let of_claim = all.clone();
        let written = self.written.clone();
        sources.watch::<ResourceClaim>(move |change| {
            let claim = change.object();
            let key = ObjectKey::of(&**claim);
            let mut requests = of_claim(&claim_key(&key.namespace, &key.name));
            if let Some((pod, _)) = owner(claim) {
                let pod = ObjectKey::new(key.namespace.clone(), pod);
                if change.is_deleted() {
                    written.gone(&pod, &**claim);
                }
                requests.push(Request::Pod(pod));
            }
            if !change.is_deleted() {
                requests.push(Request::Claim(key));
            }
            requests
        });
        sources.watch::<ResourceClaimTemplate>(move |change| {
            let key = ObjectKey::of(&**change.object());
            if change.is_deleted() {
                Vec::new()
            } else {
                all(&template_key(&key.namespace, &key.name))
            }
        });
    }

    async fn reconcile(&self, request: &Request, context: &Context) -> Result<Action, Error> {
        match request {
            Request::Claim(key) => claim::sync(context, key, self.groups).await?,
            Request::Group(key) => {
                let known = context.informers().of::<ResourceClaim>();
                if !self.written.is_seen(&group::memory(key), &known) {
                    return Ok(LAGGING);
                }
                group::sync(self, context, key).await?;
            }
            Request::Pod(key) => {
                let known = context.informers().of::<ResourceClaim>();
                if !self.written.is_seen(key, &known) {
                    return Ok(LAGGING);
                }
                pod::sync(self, context, key).await?;
            }
        }
        Ok(Action::Done)
    }
}
