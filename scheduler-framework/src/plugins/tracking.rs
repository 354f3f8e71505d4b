//! How the plugins that look at one node at a time are followed.

use super::affinity;
use crate::{
    CycleState, Filter, FilterVerdict, NodeAffinity, NodeInfo, NodeName, NodePorts,
    NodeResourcesBalancedAllocation, NodeResourcesFit, NodeUnschedulable, NodeVolumeLimits,
    PodInfo, Rate, Score, Snapshot, TaintToleration, Track, Tracking, VolumeBinding,
    VolumeRestrictions, VolumeZone,
};

/// A filter that asks nothing but the node.
fn asking(plugin: impl Filter + 'static, pod: &PodInfo) -> Rate {
    let (state, pod) = (CycleState::new(), pod.clone());
    Box::new(move |node: &NodeInfo| {
        (plugin.filter(&state, &pod, node) == FilterVerdict::Fits).then_some(0)
    })
}

/// The same with a raw score.
fn rating(plugin: impl Filter + Score + 'static, pod: &PodInfo) -> Rate {
    let (state, pod) = (CycleState::new(), pod.clone());
    Box::new(move |node: &NodeInfo| {
        let fits = plugin.filter(&state, &pod, node) == FilterVerdict::Fits;
        fits.then(|| plugin.score(&state, &pod, node))
    })
}

impl Track for NodeUnschedulable {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        Tracking::Alone(asking(*self, pod))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }

    fn is_by_node(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

impl Track for NodeName {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        match pod.spec().node_name.as_deref() {
            None | Some("") => Tracking::Indifferent,
            Some(_) => Tracking::Alone(asking(*self, pod)),
        }
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }
}

impl Track for NodePorts {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        if pod.ports().is_empty() {
            return Tracking::Indifferent;
        }
        Tracking::Alone(asking(*self, pod))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }
}

impl Track for TaintToleration {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        Tracking::Ranked(rating(*self, pod))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }

    fn is_by_node(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }
}

impl Track for NodeAffinity {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        if affinity::only_nodes(pod).is_some() || affinity::is_malformed(pod) {
            // A few nodes are looked at faster than followed; and PreScore may fail.
            return Tracking::Opaque;
        }
        Tracking::Ranked(rating(self.clone(), pod))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }

    fn is_by_node(&self, pod: &PodInfo, _: &Snapshot) -> bool {
        affinity::only_nodes(pod).is_none() && !affinity::is_malformed(pod)
    }
}

impl Track for NodeResourcesFit {
    fn track(&self, pod: &PodInfo, nodes: &Snapshot) -> Tracking {
        if !self.by_devices(nodes.objects(), pod).is_empty() {
            // Which devices are allocated is told by no node.
            return Tracking::Opaque;
        }
        let covered = self.covered(nodes.objects(), pod);
        let (plugin, pod) = (self.clone(), pod.clone());
        Tracking::Alone(Box::new(move |node| {
            plugin.has_room_but_for(&covered, &pod, node).then(|| plugin.rate(&pod, node))
        }))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }

    fn is_by_node(&self, _: &PodInfo, _: &Snapshot) -> bool {
        true
    }

    fn circumstance(&self, pod: &PodInfo, nodes: &Snapshot) -> u128 {
        self.coverage(nodes.objects(), pod)
    }
}

impl Track for NodeResourcesBalancedAllocation {
    fn track(&self, pod: &PodInfo, nodes: &Snapshot) -> Tracking {
        if self.is_indifferent(pod) {
            return Tracking::Indifferent;
        }
        if !self.by_devices(nodes.objects(), pod).is_empty() {
            return Tracking::Opaque;
        }
        let (plugin, pod) = (self.clone(), pod.clone());
        Tracking::Alone(Box::new(move |node| Some(plugin.rate(&pod, node))))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }

    fn circumstance(&self, pod: &PodInfo, nodes: &Snapshot) -> u128 {
        self.coverage(nodes.objects(), pod)
    }
}

/// Volumes change by themselves, and pods alike have others: of pods that have some that matter single nodes are asked.
fn by_volumes(pod: &PodInfo) -> Tracking {
    let volumes = || pod.spec().volumes.iter().flatten();
    let plain = volumes().all(|own| {
        own.persistent_volume_claim.is_none()
            && own.ephemeral.is_none()
            && own.csi.is_none()
            && own.gce_persistent_disk.is_none()
            && own.aws_elastic_block_store.is_none()
            && own.azure_disk.is_none()
            && own.cinder.is_none()
            && own.portworx_volume.is_none()
            && own.rbd.is_none()
            && own.iscsi.is_none()
    });
    if plain { Tracking::Indifferent } else { Tracking::Late }
}

impl Track for VolumeRestrictions {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        by_volumes(pod)
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }
}

impl Track for NodeVolumeLimits {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        by_volumes(pod)
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }

    fn fits_anywhere(&self, state: &CycleState, _: &PodInfo) -> bool {
        Self::suits_all_nodes(state)
    }
}

impl Track for VolumeBinding {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        by_volumes(pod)
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }

    fn is_level(&self, state: &CycleState, _: &PodInfo) -> bool {
        !self.weighs(state)
    }

    fn fits_anywhere(&self, state: &CycleState, _: &PodInfo) -> bool {
        self.suits_all_nodes(state)
    }
}

impl Track for VolumeZone {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        by_volumes(pod)
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }
}
