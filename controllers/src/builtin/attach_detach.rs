mod sync;
mod volumes;

use super::{
    Settings, claimed,
    figures::{Labels, Place},
    nodes,
    written::Written,
};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{CSIDriver, VolumeAttachment},
};
use kubeplane_client::{Change, Informer, ObjectKey};
use kubeplane_clock::SharedClock;
use kubeplane_telemetry::Metrics;
use kubeplane_workload::{phase::node_name, storage::claim_ref};
use parking_lot::Mutex;
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// The index of attachments by node.
const BY_NODE: &str = "attachment-node";
/// The index of attachments by what they attach: the volume's name.
const BY_VOLUME: &str = "attachment-volume";

/// Has volumes of CSI drivers attached to the nodes whose pods need them, and detached when none does any
/// more. Drivers do so when they see a VolumeAttachment.
pub(super) struct AttachDetach {
    state: Arc<Mutex<State>>,
    written: Written,
    /// Volumes taken away without asking the node, by reason; the original's name does not end in `_total`.
    forced: Family<Labels<1>, Gauge>,
    /// Whether a node that is not well loses its volumes after a while.
    forces: bool,
}

/// What is remembered from one look at a node to the next.
#[derive(Debug, Default)]
struct State {
    /// Since when a volume is not needed on a node.
    unneeded: HashMap<(String, String), Duration>,
    /// Attachments that were not attached when they were last looked at.
    pending: HashSet<String>,
    /// Nodes that wait for a volume to leave another node.
    waiting: BTreeSet<String>,
    /// What was told of such waits and of failures, by node and volume.
    told: HashMap<(String, String), String>,
}

impl AttachDetach {
    pub(super) fn new(clock: SharedClock, settings: &Settings, metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "attach_detach_controller");
        let help = "Volumes taken from nodes that did not let them go, by reason";
        let forced = place.show("attachdetach_controller_forced_detaches", help);
        Self {
            state: Arc::default(),
            written: Written::new(clock),
            forced,
            forces: !settings.disable_force_detach_on_timeout,
        }
    }
}

fn volume_of(attachment: &VolumeAttachment) -> Option<&str> {
    attachment.spec.source.persistent_volume_name.as_deref()
}

/// The nodes where pods need a claim.
fn nodes_of(pods: &Informer<Pod>, claim: &ObjectKey) -> Vec<String> {
    let users = claimed::users(pods, claim);
    users.iter().filter_map(|pod| node_name(pod)).map(str::to_owned).collect()
}

#[async_trait]
impl Controller for AttachDetach {
    /// A node.
    type Request = String;
    type Error = Error;

    fn name(&self) -> &'static str {
        "persistentvolume-attach-detach-controller"
    }

    fn identity(&self) -> &'static str {
        "attachdetach-controller"
    }

    /// One: a volume that only one node may have must not be given to two.
    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<String>) {
        let pods = sources.informer::<Pod>();
        claimed::index(&pods);
        nodes::index(&pods);
        let attachments = sources.informer::<VolumeAttachment>();
        attachments.add_index(BY_NODE, |own| vec![own.spec.node_name.clone()]);
        attachments
            .add_index(BY_VOLUME, |own| volume_of(own).map(str::to_owned).into_iter().collect());
        sources.watch::<Node>(|change| change.object().metadata.name.clone().into_iter().collect());
        sources.watch::<Pod>(|change| {
            let pod = change.object();
            let claims = !claimed::keys(pod).is_empty();
            node_name(pod).filter(|_| claims).map(str::to_owned).into_iter().collect()
        });
        let users = pods.clone();
        sources.watch::<PersistentVolumeClaim>(move |change| {
            nodes_of(&users, &ObjectKey::of(&**change.object()))
        });
        sources.watch::<PersistentVolume>(move |change| {
            let claim = claim_ref(change.object()).map(|own| {
                let text = |own: &Option<String>| own.clone().unwrap_or_default();
                ObjectKey::new(text(&own.namespace), text(&own.name))
            });
            claim.map(|claim| nodes_of(&pods, &claim)).unwrap_or_default()
        });
        let (state, written) = (self.state.clone(), self.written.clone());
        sources.watch::<VolumeAttachment>(move |change: &Change<VolumeAttachment>| {
            let own = change.object();
            let mut nodes = vec![own.spec.node_name.clone()];
            if change.is_deleted() {
                written.gone(&ObjectKey::new("", &own.spec.node_name), &**own);
                let mut state = state.lock();
                state.pending.remove(own.metadata.name.as_deref().unwrap_or_default());
                nodes.extend(std::mem::take(&mut state.waiting));
            }
            nodes
        });
        let known = sources.informer::<Node>();
        sources.watch::<CSIDriver>(move |_| {
            known.list().iter().filter_map(|node| node.metadata.name.clone()).collect()
        });
    }

    async fn reconcile(&self, node: &String, context: &Context) -> Result<Action, Error> {
        let attachments = context.informers().of::<VolumeAttachment>();
        if !self.written.is_seen(&ObjectKey::new("", node), &attachments) {
            return Ok(super::written::LAGGING);
        }
        sync::Sync { controller: self, context, node }.run().await
    }
}
