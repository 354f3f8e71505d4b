//! What is told of volumes and claims, under the original's names.

use crate::builtin::figures::{Counts, Place, Slot, labels, listed};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;
use kubeplane_client::Informer;
use kubeplane_telemetry::Metrics;
use kubeplane_workload::storage::{claim_class, claim_phase, volume_phase};
use prometheus_client::metrics::counter::Counter;

/// What is counted.
#[derive(Debug)]
pub(super) struct Figures {
    volumes: Slot<PersistentVolume>,
    claims: Slot<PersistentVolumeClaim>,
    classes: Counter,
    refused: Counter,
}

impl Figures {
    pub(super) fn shown(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "pv_collector");
        let (volumes, claims): (Slot<PersistentVolume>, Slot<PersistentVolumeClaim>) =
            (Slot::default(), Slot::default());
        let all = volumes.clone();
        place.count("total_pv_count", "Volumes, by plugin and mode", move || kinds(&all));
        for (name, help, bound) in [
            ("bound_pv_count", "Bound volumes, by class", true),
            ("unbound_pv_count", "Volumes that are not bound, by class", false),
        ] {
            let all = volumes.clone();
            place.count(name, help, move || volumes_of(&all, bound));
        }
        for (name, help, bound) in [
            ("bound_pvc_count", "Bound claims, by namespace and classes", true),
            ("unbound_pvc_count", "Claims that are not bound, by namespace and classes", false),
        ] {
            let all = claims.clone();
            place.count(name, help, move || claims_of(&all, bound));
        }
        let place = Place::new(metrics, "retroactive");
        let help = "Claims that were to get the default class afterwards";
        let classes = place.show("storageclass", help);
        let help = "Claims that could not get the default class afterwards";
        Self { volumes, claims, classes, refused: place.show("storageclass_errors", help) }
    }

    /// Where volumes and claims are.
    pub(super) fn know(
        &self,
        volumes: Informer<PersistentVolume>,
        claims: Informer<PersistentVolumeClaim>,
    ) {
        *self.volumes.lock() = Some(volumes);
        *self.claims.lock() = Some(claims);
    }

    /// A claim was to get the default class.
    pub(super) fn gave_class(&self, worked: bool) {
        self.classes.inc();
        if !worked {
            self.refused.inc();
        }
    }
}

/// The plugin that the original has for a volume.
fn plugin(volume: &PersistentVolume) -> String {
    const NONE: &str = "N/A";
    let Some(spec) = &volume.spec else { return NONE.to_owned() };
    if let Some(csi) = &spec.csi {
        return format!("kubernetes.io/csi:{}", csi.driver);
    }
    let name = if spec.host_path.is_some() {
        "kubernetes.io/host-path"
    } else if spec.nfs.is_some() {
        "kubernetes.io/nfs"
    } else {
        NONE
    };
    name.to_owned()
}

fn kinds(all: &Slot<PersistentVolume>) -> Counts<2> {
    let mut counts = Counts::new();
    for volume in listed(all) {
        let mode = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
        let mode = mode.unwrap_or("Filesystem");
        let label = labels([("plugin_name", &*plugin(&volume)), ("volume_mode", mode)]);
        *counts.entry(label).or_default() += 1;
    }
    counts
}

fn volumes_of(all: &Slot<PersistentVolume>, bound: bool) -> Counts<1> {
    let mut counts = Counts::new();
    for volume in listed(all).iter().filter(|own| (volume_phase(own) == "Bound") == bound) {
        let class = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
        let label = labels([("storage_class", class.unwrap_or_default())]);
        *counts.entry(label).or_default() += 1;
    }
    counts
}

fn claims_of(all: &Slot<PersistentVolumeClaim>, bound: bool) -> Counts<3> {
    let mut counts = Counts::new();
    for claim in listed(all).iter().filter(|own| (claim_phase(own) == "Bound") == bound) {
        let attributes = claim.spec.as_ref();
        let attributes = attributes.and_then(|spec| spec.volume_attributes_class_name.as_deref());
        let label = labels([
            ("namespace", &*claim.namespace().unwrap_or_default()),
            ("storage_class", claim_class(claim)),
            ("volume_attributes_class", attributes.unwrap_or_default()),
        ]);
        *counts.entry(label).or_default() += 1;
    }
    counts
}
