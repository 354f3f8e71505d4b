mod claim;
mod figures;
mod operations;
mod provision;
mod reclaim;
mod recycle;
mod volume;
mod write;

use super::{Settings, claimed, newest::Newest};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use figures::Figures;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use kubeplane_client::{EventType, Informer, ObjectKey};
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use kubeplane_workload::storage::{
    BIND_COMPLETED, annotation, claim_class, claim_phase, claim_ref, volume_class, volume_name,
    volume_phase,
};
use operations::{Operation, Operations};
use std::{sync::Arc, time::Duration};

/// The index of volumes by the claim they belong to; those that are free are under the empty key.
const BY_CLAIM: &str = "claim-ref";
/// The index of claims that are not bound yet, by class.
const UNBOUND: &str = "unbound-class";

/// Brings claims and volumes together, and decides what becomes of volumes whose claims are gone.
///
/// Volumes are made and destroyed by others, but for directories of this machine; the claim's annotations and the
/// volume's phase ask for it.
#[derive(Debug)]
pub(super) struct PersistentVolumes {
    claims: Newest<PersistentVolumeClaim>,
    volumes: Newest<PersistentVolume>,
    figures: Figures,
    operations: Arc<Operations>,
    /// How soon what is not settled is looked at again, if nothing changes.
    period: Duration,
    /// Whether provisioners are asked for volumes.
    provisions: bool,
    scrubs_for: recycle::Time,
}

impl PersistentVolumes {
    pub(super) fn new(clock: SharedClock, settings: &Settings, metrics: Option<&Metrics>) -> Self {
        Self {
            claims: Newest::default(),
            volumes: Newest::default(),
            figures: Figures::shown(metrics),
            operations: Arc::new(Operations::shown(clock, metrics)),
            period: settings.pvclaimbinder_sync_period,
            provisions: settings.enable_dynamic_provisioning,
            scrubs_for: recycle::Time::of(settings),
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Request {
    Claim(ObjectKey),
    Volume(String),
}

fn claim_key(volume: &PersistentVolume) -> Option<ObjectKey> {
    let own = claim_ref(volume)?;
    let text = |own: &Option<String>| own.clone().unwrap_or_default();
    Some(ObjectKey::new(text(&own.namespace), text(&own.name)))
}

fn is_completed(claim: &PersistentVolumeClaim) -> bool {
    annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// Makes it cheap to find what may belong together.
fn index(claims: &Informer<PersistentVolumeClaim>, volumes: &Informer<PersistentVolume>) {
    claims.add_index(UNBOUND, |claim| {
        let open = !is_completed(claim);
        open.then(|| claim_class(claim).to_owned()).into_iter().collect()
    });
    volumes.add_index(BY_CLAIM, |volume| {
        vec![claim_key(volume).map_or_else(String::new, |key| key.to_string())]
    });
}

#[async_trait]
impl Controller for PersistentVolumes {
    type Request = Request;
    type Error = Error;

    fn name(&self) -> &'static str {
        "persistentvolume-binder-controller"
    }

    fn identity(&self) -> &'static str {
        "persistent-volume-binder"
    }

    fn event_source(&self) -> &'static str {
        "persistentvolume-controller"
    }

    /// One: no two claims must choose one volume.
    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<Request>) {
        claimed::index(&sources.informer::<Pod>());
        let claims = sources.informer::<PersistentVolumeClaim>();
        let volumes = sources.informer::<PersistentVolume>();
        index(&claims, &volumes);
        self.figures.know(volumes.clone(), claims.clone());
        let operations = self.operations.clone();
        sources.watch::<PersistentVolumeClaim>(move |change| {
            let claim = change.object();
            let key = ObjectKey::of(&**claim);
            let mut requests = Vec::new();
            if change.is_deleted() {
                operations.forget(&Operation::Provision(key.to_string()));
                requests.extend(volume_name(claim).map(|name| Request::Volume(name.to_owned())));
                // One that was being bound to it may not have been named yet.
                let own = volumes.by_index(BY_CLAIM, &key.to_string()).into_iter();
                requests
                    .extend(own.filter_map(|own| own.metadata.name.clone()).map(Request::Volume));
            }
            requests.push(Request::Claim(key));
            requests
        });
        let (known, operations) = (claims.clone(), self.operations.clone());
        sources.watch::<PersistentVolume>(move |change| {
            let volume = change.object();
            let name = volume.metadata.name.clone().unwrap_or_default();
            if change.is_deleted() {
                operations.done(&Operation::Delete(name.clone()));
            }
            let mut requests = vec![Request::Volume(name)];
            match claim_key(volume) {
                Some(key) => {
                    let claim = known.get(&key.namespace, &key.name);
                    // One that lost its volume has it again.
                    let open = claim
                        .is_none_or(|claim| !is_completed(&claim) || claim_phase(&claim) == "Lost");
                    requests.extend((open || change.is_deleted()).then_some(Request::Claim(key)));
                }
                None if volume_phase(volume) == "Available" && !change.is_deleted() => {
                    requests.extend(waiting(&known, volume_class(volume)));
                }
                None => {}
            }
            requests
        });
        sources.watch::<Pod>(|change| {
            let volume = recycle::recycled_by(change.object());
            volume.map(|name| Request::Volume(name.to_owned())).into_iter().collect()
        });
        sources.watch::<StorageClass>(move |change| {
            let name = change.object().metadata.name.as_deref().unwrap_or_default();
            // A class may be the default one from now on.
            waiting(&claims, name).chain(waiting(&claims, "")).collect()
        });
    }

    async fn reconcile(&self, request: &Request, context: &Context) -> Result<Action, Error> {
        let sync = Sync { controller: self, context };
        let settled = match request {
            Request::Claim(key) => match sync.claim(key) {
                Some(claim) => sync.sync_claim(claim).await?,
                None => true,
            },
            Request::Volume(name) => match sync.volume(name) {
                Some(volume) => sync.sync_volume(volume).await?,
                None => true,
            },
        };
        Ok(if settled { Action::Done } else { Action::RequeueAfter(self.period) })
    }
}

/// Requests for the claims of a class that have no volume yet.
fn waiting(
    claims: &Informer<PersistentVolumeClaim>,
    class: &str,
) -> impl Iterator<Item = Request> + use<> {
    let found = claims.by_index(UNBOUND, class);
    found.into_iter().map(|claim| Request::Claim(ObjectKey::of(&*claim)))
}

/// One look at one object.
struct Sync<'a> {
    controller: &'a PersistentVolumes,
    context: &'a Context,
}

impl Sync<'_> {
    fn claim(&self, key: &ObjectKey) -> Option<Arc<PersistentVolumeClaim>> {
        let informer = self.context.informers().of::<PersistentVolumeClaim>();
        self.controller.claims.get(&informer, &key.namespace, &key.name)
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        let informer = self.context.informers().of::<PersistentVolume>();
        self.controller.volumes.get(&informer, "", name)
    }

    /// The volumes that are free, or belong to the claim.
    fn candidates(&self, claim: &PersistentVolumeClaim) -> Vec<Arc<PersistentVolume>> {
        let informer = self.context.informers().of::<PersistentVolume>();
        let mut found = informer.by_index(BY_CLAIM, &ObjectKey::of(claim).to_string());
        found.extend(informer.by_index(BY_CLAIM, ""));
        found.into_iter().map(|volume| self.controller.volumes.newer(volume)).collect()
    }

    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.context.informers().of::<StorageClass>().get("", name)
    }

    fn tell_claim(&self, claim: &PersistentVolumeClaim, kind: EventType, reason: &str, text: &str) {
        self.context.recorder().event_for(claim, kind, reason, text);
    }

    fn tell_volume(&self, volume: &PersistentVolume, kind: EventType, reason: &str, text: &str) {
        self.context.recorder().event_for(volume, kind, reason, text);
    }
}
