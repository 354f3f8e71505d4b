use super::reference;
use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_client::{EventType, ObjectKey};
use parking_lot::Mutex;
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a node without a range waits for one to become free.
const FULL: Duration = Duration::from_secs(30);

/// Gives each node a part of the cluster's range for its pods.
pub(crate) struct NodeIpam {
    range: IpNet,
    /// What was given away and may not be seen in the cache yet.
    given: Mutex<BTreeMap<String, IpNet>>,
}

impl NodeIpam {
    pub(crate) fn new(range: IpNet) -> Self {
        Self { range, given: Mutex::default() }
    }

    /// The first part that no node has.
    fn reserve(&self, name: &str, taken: &BTreeSet<IpNet>) -> Option<IpNet> {
        let mut given = self.given.lock();
        if let Some(part) = given.get(name) {
            return Some(*part);
        }
        let used = |part: &IpNet| {
            let overlaps = |other: &IpNet| other.contains(part) || part.contains(other);
            taken.iter().any(overlaps) || given.values().any(overlaps)
        };
        let size = if matches!(self.range, IpNet::V4(_)) { 24 } else { 64 };
        let part =
            self.range.subnets(size.max(self.range.prefix_len())).ok()?.find(|part| !used(part))?;
        given.insert(name.to_owned(), part);
        Some(part)
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

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<Node>();
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let nodes = context.informers().of::<Node>();
        let Some(node) = nodes.get("", &request.name) else {
            self.given.lock().remove(&request.name);
            return Ok(Action::Done);
        };
        if ranges(&node).next().is_some() {
            self.given.lock().remove(&request.name);
            return Ok(Action::Done);
        }
        let taken = nodes.list().iter().flat_map(|node| ranges(node)).collect();
        let Some(part) = self.reserve(&request.name, &taken) else {
            let message = format!("Node {} status is now: CIDRNotAvailable", request.name);
            context.recorder().event(
                &reference(&node),
                EventType::Normal,
                "CIDRNotAvailable",
                message,
            );
            return Ok(Action::RequeueAfter(FULL));
        };
        let patch = json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": part.to_string(), "podCIDRs": [part.to_string()]},
        });
        let api: Api<Node> = Api::all(context.client());
        unless_gone(api.patch(&request.name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_gets_a_part_of_its_own_until_none_is_left() {
        let ipam = NodeIpam::new("10.244.0.0/22".parse().unwrap());
        let taken = BTreeSet::from(["10.244.1.0/24".parse().unwrap()]);
        let part = |name: &str| ipam.reserve(name, &taken).map(|part| part.to_string());
        assert_eq!(part("a").as_deref(), Some("10.244.0.0/24"));
        assert_eq!(part("b").as_deref(), Some("10.244.2.0/24"));
        assert_eq!(part("a").as_deref(), Some("10.244.0.0/24"));
        assert_eq!(part("c").as_deref(), Some("10.244.3.0/24"));
        assert_eq!(part("d"), None);
    }
}
