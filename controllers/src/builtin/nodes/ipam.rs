use super::{ranges::Ranges, reference};
use crate::{
    Action, Context, Controller, Error, Sources,
    builtin::{Settings, service_cidrs::networks},
    error::unless_gone,
};
use async_trait::async_trait;
use ipnet::IpNet;
use k8s_openapi::api::{core::v1::Node, networking::v1::ServiceCIDR};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How long a node without a range waits for one to become free.
const FULL: Duration = Duration::from_secs(30);
/// How often a range is written before it is told that this does not work.
const TRIES: usize = 3;

/// Gives each node a part of each of the cluster's ranges for its pods.
pub(crate) struct NodeIpam {
    /// One of a family, the first that of the nodes' first addresses, each with how many bits of addresses are those of a
    /// node's part.
    ranges: Vec<(IpNet, u8)>,
    /// Of which no node gets a part.
    services: Vec<IpNet>,
    given: Mutex<Given>,
    figures: Arc<Ranges>,
}

/// What was given away.
#[derive(Default)]
struct Given {
    /// What may not be seen in the cache yet, by node.
    unseen: BTreeMap<String, Vec<IpNet>>,
    /// The latest part of each range.
    latest: Vec<IpNet>,
}

impl NodeIpam {
    pub(crate) fn new(ranges: &[IpNet], settings: &Settings, metrics: Option<&Metrics>) -> Self {
        let size = |range: &IpNet| match range {
            IpNet::V4(_) => settings.node_cidr_mask_size_ipv4,
            IpNet::V6(_) => settings.node_cidr_mask_size_ipv6,
        };
        let ranges: Vec<_> = ranges.iter().map(|range| (*range, size(range))).collect();
        let figures = Arc::new(Ranges::shown(&ranges, metrics));
        let services = settings.service_cluster_ip_ranges.clone();
        services.iter().for_each(|range| figures.occupy(*range));
        Self { ranges, services, given: Mutex::default(), figures }
    }

    /// The next part of each range that nobody has, round and round; none when a range has none left.
    fn reserve(&self, name: &str, taken: &BTreeSet<IpNet>) -> Option<Vec<IpNet>> {
        let mut given = self.given.lock();
        if let Some(parts) = given.unseen.get(name) {
            return Some(parts.clone());
        }
        let used = |part: &IpNet| {
            let overlaps = |other: &IpNet| other.contains(part) || part.contains(other);
            taken.contains(part)
                || taken.iter().any(overlaps)
                || given.unseen.values().flatten().any(overlaps)
        };
        let free = |(index, (range, size)): (usize, &(IpNet, u8))| {
            let all = range.subnets((*size).max(range.prefix_len())).ok()?;
            // Others may not have forgotten yet who had what was just given back.
            let is_later = |part: &IpNet| given.latest.get(index).is_none_or(|last| part > last);
            let parts = all.filter(is_later).chain(all.filter(|part| !is_later(part)));
            let (tries, part) = (0..).zip(parts).find(|(_, part)| !used(part))?;
            self.figures.found(*range, tries);
            Some(part)
        };
        let parts: Option<Vec<_>> = self.ranges.iter().enumerate().map(free).collect();
        let parts = parts?;
        given.latest.clone_from(&parts);
        given.unseen.insert(name.to_owned(), parts.clone());
        Some(parts)
    }
}

fn ranges(node: &Node) -> impl Iterator<Item = IpNet> {
    let spec = node.spec.as_ref();
    let several = spec.into_iter().flat_map(|spec| spec.pod_cidrs.iter().flatten());
    let one = spec.and_then(|spec| spec.pod_cidr.as_ref());
    several.chain(one).filter_map(|range| range.parse().ok())
}

#[async_trait]
impl Controller for NodeIpam {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "node-ipam-controller"
    }

    fn identity(&self) -> &'static str {
        "node-controller"
    }

    fn event_source(&self) -> &'static str {
        "cidrAllocator"
    }

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let nodes = sources.informer::<Node>();
        let figures = self.figures.clone();
        sources.watch::<ServiceCIDR>(move |change| {
            for services in networks(change.object()) {
                let note = if change.is_deleted() { Ranges::release } else { Ranges::occupy };
                note(&figures, services);
            }
            Vec::new()
        });
        let figures = self.figures.clone();
        sources.watch::<Node>(move |change| {
            for part in ranges(change.object()) {
                let note = if change.is_deleted() { Ranges::release } else { Ranges::occupy };
                note(&figures, part);
            }
            let mut keys = vec![ObjectKey::of(&**change.object())];
            if change.is_deleted() {
                // Its range is free for one that got none.
                let all = nodes.list();
                let without = all.iter().filter(|node| ranges(node).next().is_none());
                keys.extend(without.map(|node| ObjectKey::of(&**node)));
            }
            keys
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let nodes = context.informers().of::<Node>();
        let Some(node) = nodes.get("", &request.name) else {
            self.given.lock().unseen.remove(&request.name);
            return Ok(Action::Done);
        };
        if ranges(&node).next().is_some() {
            self.given.lock().unseen.remove(&request.name);
            return Ok(Action::Done);
        }
        if node.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let mut taken: BTreeSet<_> = nodes.list().iter().flat_map(|node| ranges(node)).collect();
        // Nor may a node have addresses of Services.
        let services = context.informers().of::<ServiceCIDR>().list();
        taken.extend(services.iter().flat_map(|cidr| networks(cidr)));
        taken.extend(&self.services);
        let Some(parts) = self.reserve(&request.name, &taken) else {
            tell(context, &node, "CIDRNotAvailable");
            return Ok(Action::RequeueAfter(FULL));
        };
        let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
        let patch = json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": parts.first(), "podCIDRs": parts},
        });
        let api: Api<Node> = Api::all(context.client());
        let patch = Patch::Merge(patch);
        let mut written = Ok(());
        for _ in 0..TRIES {
            written = unless_gone(api.patch(&request.name, &PatchParams::default(), &patch).await);
            if written.is_ok() {
                break;
            }
        }
        if written.is_err() {
            tell(context, &node, "CIDRAssignmentFailed");
        }
        written.map(|()| Action::Done)
    }
}

/// Tells of a node how far it is with its ranges.
fn tell(context: &Context, node: &Node, reason: &str) {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let message = format!("Node {name} status is now: {reason}");
    context.recorder().event(&reference(node), EventType::Normal, reason, message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_a_part_of_its_own_until_none_is_left() {
        let ranges = ["10.244.0.0/22", "fd00::/62"].map(|range| range.parse::<IpNet>().unwrap());
        let ipam = NodeIpam::new(&ranges, &Settings::default(), None);
        let taken = BTreeSet::from(["10.244.1.0/24".parse().unwrap()]);
        let parts = |name: &str| {
            let parts = ipam.reserve(name, &taken)?;
            Some(parts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(parts("a").as_deref(), Some("10.244.0.0/24 fd00::/64"));
        assert_eq!(parts("b").as_deref(), Some("10.244.2.0/24 fd00:0:0:1::/64"));
        assert_eq!(parts("a").as_deref(), Some("10.244.0.0/24 fd00::/64"));
        assert_eq!(parts("c").as_deref(), Some("10.244.3.0/24 fd00:0:0:2::/64"));
        assert_eq!(parts("d"), None);
    }

    #[test]
    fn what_is_given_back_is_given_away_last() {
        let ranges = ["10.244.0.0/22".parse::<IpNet>().unwrap()];
        let ipam = NodeIpam::new(&ranges, &Settings::default(), None);
        let next = |name: &str, taken: &[&str]| {
            let taken = taken.iter().map(|part| part.parse().unwrap()).collect();
            let parts = ipam.reserve(name, &taken);
            ipam.given.lock().unseen.clear();
            parts.map(|parts| parts[0].to_string())
        };
        let services = "10.244.1.0/25";
        assert_eq!(next("a", &[services]).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(next("b", &[services]).as_deref(), Some("10.244.2.0/24"));
        assert_eq!(next("c", &[services]).as_deref(), Some("10.244.3.0/24"));
        assert_eq!(next("d", &[services]).as_deref(), Some("10.244.0.0/24"));
        assert_eq!(next("e", &["10.244.0.0/16"]), None);
    }
}
