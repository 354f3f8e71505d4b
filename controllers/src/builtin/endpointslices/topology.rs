//! Which zones traffic to endpoints should come from, for Services that ask for it by an annotation: as much from each
//! zone as its nodes have of the cluster's processors.

use super::{
    desired::{Desired, Group},
    diff::identity,
};
use crate::{Context, builtin::nodes::is_ready as is_well};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::{Endpoint, EndpointHints, EndpointSlice, ForZone},
};
use kubeplane_client::{Change, EventType, ObjectKey};
use kubeplane_core::quantity::Quantity;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

const MODE: &str = "service.kubernetes.io/topology-mode";
/// The name of [`MODE`] before 1.27; it counts where both are set.
const OLD_MODE: &str = "service.kubernetes.io/topology-aware-hints";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Nodes with these labels take no part.
const EXCLUDED: [&str; 2] =
    ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];
/// By how much the endpoints of a zone may be used more than those of all zones are on average.
const OVERLOAD: f64 = 0.2;

const NO_NODES: &str =
    "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes";
const NO_ZONE: &str = "One or more endpoints do not have a zone specified";
const NO_HINTS: &str = "No hints allocated for zones";

/// Whether a Service asks for hints by zone.
pub(super) fn is_asked_for(service: &Service) -> bool {
    let annotations = service.metadata.annotations.as_ref();
    let mode = annotations.and_then(|all| all.get(OLD_MODE).or_else(|| all.get(MODE)));
    mode.is_some_and(|mode| mode == "Auto" || mode == "auto")
}

fn zone_of(node: &Node) -> Option<&String> {
    node.metadata.labels.as_ref()?.get(ZONE).filter(|zone| !zone.is_empty())
}

/// Whether hints may be others after a change of a node.
pub(super) fn matters(change: &Change<Node>) -> bool {
    let node = change.object();
    change.is_deleted()
        || change
            .old()
            .is_none_or(|old| is_well(old) != is_well(node) || zone_of(old) != zone_of(node))
}

/// The share of each zone in the processors of all nodes that are ready; unknown when a node does not say where it is
/// or what it has, or when there is only one zone.
fn shares(nodes: &[Arc<Node>]) -> Option<BTreeMap<String, f64>> {
    let mut by_zone: BTreeMap<String, i64> = BTreeMap::new();
    let taking_part = nodes.iter().filter(|node| {
        let labels = node.metadata.labels.as_ref();
        is_well(node)
            && !labels.is_some_and(|own| EXCLUDED.iter().any(|label| own.contains_key(*label)))
    });
    for node in taking_part {
        let amounts = node.status.as_ref().and_then(|status| status.allocatable.as_ref())?;
        let cpu = Quantity::from_api(amounts.get("cpu")?).milli_value();
        *by_zone.entry(zone_of(node)?.clone()).or_default() += Some(cpu).filter(|cpu| *cpu > 0)?;
    }
    let total: i64 = by_zone.values().sum();
    let share = |(zone, cpu)| (zone, float(cpu) / float(total));
    (by_zone.len() > 1).then(|| by_zone.into_iter().map(share).collect())
}

#[expect(clippy::cast_precision_loss, reason = "the original computes with the same precision")]
fn float(value: i64) -> f64 {
    value as f64
}

/// How many endpoints a zone wants, and how many it may have at most.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Room {
    wanted: f64,
    most: i32,
}

/// The room of each zone, when `total` endpoints are ready.
fn allocate(
    shares: Option<&BTreeMap<String, f64>>,
    total: i32,
) -> Result<BTreeMap<String, Room>, String> {
    let shares = shares.ok_or(NO_NODES)?;
    let zones = i32::try_from(shares.len()).unwrap_or(i32::MAX);
    let counted = format!("({total} endpoints, {zones} zones)");
    if zones > total {
        return Err(format!("Insufficient number of endpoints {counted}"));
    }
    let least = |share: &f64| ceil(share * f64::from(total) * (1.0 / (1.0 + OVERLOAD)));
    let reserved: i32 = shares.values().map(least).sum();
    if reserved > total {
        return Err(format!(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold \
             {counted}"
        ));
    }
    let room = |(zone, share): (&String, &f64)| {
        let least = least(share);
        let wanted = (share * f64::from(total)).max(f64::from(least));
        (zone.clone(), Room { wanted, most: least + total - reserved })
    };
    Ok(shares.iter().map(room).collect())
}

#[expect(clippy::cast_possible_truncation, reason = "there are never so many endpoints")]
fn ceil(count: f64) -> i32 {
    count.ceil() as i32
}

/// How many endpoints each zone gives to others, and how many it gets.
fn balance(
    rooms: &BTreeMap<String, Room>,
    counts: &BTreeMap<String, i32>,
) -> (BTreeMap<String, i32>, BTreeMap<String, i32>) {
    let spare = |(zone, room): (&String, &Room)| {
        let count = counts.get(zone).copied().unwrap_or_default();
        (zone.clone(), f64::from(count) - room.wanted)
    };
    let spare: BTreeMap<String, f64> = rooms.iter().map(spare).collect();
    let most = |of: &BTreeMap<String, f64>| {
        let above = of.iter().filter(|(_, left)| **left > 0.0);
        let first = above.max_by(|a, b| a.1.total_cmp(b.1).then_with(|| b.0.cmp(a.0)));
        first.map(|(zone, left)| (zone.clone(), *left))
    };
    let (mut over, mut under) = (spare.clone(), spare);
    under.values_mut().for_each(|left| *left = -*left);
    let (mut giving, mut receiving) = (BTreeMap::new(), BTreeMap::new());
    while let (Some((from, give)), Some((to, get))) = (most(&over), most(&under)) {
        // Half an endpoint more or less is as near as it gets.
        if give < 0.5 || get < 0.5 || (give < 1.0 && get < 1.0) {
            break;
        }
        over.insert(from.clone(), give - 1.0);
        under.insert(to.clone(), get - 1.0);
        *giving.entry(from).or_default() += 1;
        *receiving.entry(to).or_default() += 1;
    }
    (giving, receiving)
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
}

fn hint(endpoint: &mut Endpoint, zone: &str) {
    let zones = vec![ForZone { name: zone.to_owned() }];
    endpoint.hints = Some(EndpointHints { for_zones: Some(zones), for_nodes: None });
}

fn clear(groups: &mut BTreeMap<String, Group>) {
    for endpoint in groups.values_mut().flat_map(|group| &mut group.endpoints) {
        endpoint.hints = None;
    }
}

/// Gives every ready endpoint a zone: the one it had `before` while that has room for it, else its own, or another
/// that has too few.
fn assign(
    groups: &mut BTreeMap<String, Group>,
    shares: Option<&BTreeMap<String, f64>>,
    before: &HashMap<String, String>,
) -> Result<(), String> {
    let all = groups.values().flat_map(|group| &group.endpoints);
    let total = i32::try_from(all.filter(|one| is_ready(one)).count()).unwrap_or(i32::MAX);
    let rooms = allocate(shares, total)?;
    let mut counts: BTreeMap<String, i32> = BTreeMap::new();
    let mut open = Vec::new();
    clear(groups);
    for endpoint in groups.values_mut().flat_map(|group| &mut group.endpoints) {
        if !is_ready(endpoint) {
            continue;
        }
        let known = before.get(&identity(endpoint)).filter(|zone| {
            let count = counts.get(*zone).copied().unwrap_or_default();
            rooms.get(*zone).is_some_and(|room| count < room.most)
        });
        match known {
            Some(zone) => {
                *counts.entry(zone.clone()).or_default() += 1;
                hint(endpoint, zone);
            }
            None => open.push(endpoint),
        }
    }
    for endpoint in &mut open {
        let zone = endpoint.zone.clone().ok_or(NO_ZONE)?;
        hint(endpoint, &zone);
        *counts.entry(zone).or_default() += 1;
    }
    if counts.is_empty() {
        return Err(NO_HINTS.to_owned());
    }
    let (mut giving, mut receiving) = balance(&rooms, &counts);
    for endpoint in open {
        let own = endpoint.zone.clone().unwrap_or_default();
        let Some(left) = giving.get_mut(&own).filter(|left| **left > 0) else { continue };
        let Some((to, wants)) = receiving.iter_mut().find(|(_, wants)| **wants > 0) else { break };
        (*left, *wants) = (*left - 1, *wants - 1);
        hint(endpoint, to);
    }
    Ok(())
}

/// The zones that endpoints of a family have hints for.
fn hinted(present: &[Arc<EndpointSlice>], family: &str) -> HashMap<String, String> {
    let slices = present.iter().filter(|slice| slice.address_type == family);
    let endpoints = slices.flat_map(|slice| slice.endpoints.iter().flatten());
    let zones = endpoints.filter_map(|endpoint| {
        let zones = endpoint.hints.as_ref()?.for_zones.as_ref()?;
        Some((identity(endpoint), zones.first()?.name.clone()))
    });
    zones.collect()
}

/// By family, why the endpoints of a Service have no hints by zone; nothing where they have.
type Told = BTreeMap<&'static str, Option<String>>;

/// What was told of Services that ask for hints by zone, so that only news are told.
#[derive(Debug, Default)]
pub(super) struct Topology(Mutex<HashMap<ObjectKey, Told>>);

impl Topology {
    pub(super) fn forget(&self, key: &ObjectKey) {
        self.0.lock().remove(key);
    }

    /// Whether it is news that the endpoints of a family have hints, or why they have none.
    fn is_news(&self, key: &ObjectKey, family: &'static str, why: Option<&String>) -> bool {
        let mut all = self.0.lock();
        let told = all.entry(key.clone()).or_default();
        let hinted = told.values().any(Option::is_none);
        let before = told.insert(family, why.cloned());
        if why.is_none() { !hinted } else { before.is_none_or(|before| before.as_ref() != why) }
    }

    /// Puts hints where the Service asks for them, in place of those that other wishes of it led to.
    pub(super) fn apply(
        &self,
        context: &Context,
        key: &ObjectKey,
        service: &Service,
        desired: &mut Desired,
        present: &[Arc<EndpointSlice>],
    ) {
        let tell = |kind: EventType, reason: &str, what: &str, family: &str| {
            let message = format!("{what}, addressType: {family}");
            context.recorder().event_for(service, kind, reason, message);
        };
        let off = "TopologyAwareHintsDisabled";
        if !is_asked_for(service) {
            let told = self.0.lock().remove(key).unwrap_or_default();
            if let Some((family, _)) = told.iter().find(|(_, why)| why.is_none()) {
                let what = "Topology Aware Hints has been disabled";
                tell(EventType::Warning, off, what, family);
            }
            return;
        }
        let shares = shares(&context.informers().of::<Node>().list());
        for (family, groups) in &mut desired.families {
            let why = assign(groups, shares.as_ref(), &hinted(present, family)).err();
            if why.is_some() {
                clear(groups);
            }
            if !self.is_news(key, family, why.as_ref()) {
                continue;
            }
            match why {
                None => {
                    let what = "Topology Aware Hints has been enabled";
                    tell(EventType::Normal, "TopologyAwareHintsEnabled", what, family);
                }
                Some(why) => tell(EventType::Warning, off, &why, family),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Endpoints of these zones, all ready.
    fn groups(zones: &[&str]) -> BTreeMap<String, Group> {
        let endpoint = |(index, zone): (usize, &&str)| {
            serde_json::from_value(json!({"addresses": [format!("10.0.0.{index}")], "zone": zone,
                "conditions": {"ready": true}}))
            .unwrap()
        };
        let endpoints = zones.iter().enumerate().map(endpoint).collect();
        BTreeMap::from([(String::new(), Group { ports: Vec::new(), endpoints })])
    }

    fn counted(groups: &BTreeMap<String, Group>) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for endpoint in groups.values().flat_map(|group| &group.endpoints) {
            let hints = endpoint.hints.clone().and_then(|hints| hints.for_zones);
            *counts.entry(hints.unwrap()[0].name.clone()).or_default() += 1;
        }
        counts
    }

    fn of(shares: &[(&str, f64)]) -> BTreeMap<String, f64> {
        shares.iter().map(|(zone, share)| ((*zone).to_owned(), *share)).collect()
    }

    #[test]
    fn zones_get_endpoints_by_what_their_nodes_have() {
        let even = of(&[("a", 0.5), ("b", 0.5)]);
        let table = [
            (even.clone(), vec!["a", "a", "a", "b"], Ok(vec![("a", 2), ("b", 2)])),
            (even.clone(), vec!["a", "a", "a", "a", "b", "b"], Ok(vec![("a", 3), ("b", 3)])),
            (
                of(&[("a", 0.25), ("b", 0.75)]),
                vec!["a", "a", "a", "b"],
                Ok(vec![("a", 1), ("b", 3)]),
            ),
            (
                even.clone(),
                vec!["a"],
                Err("Insufficient number of endpoints (1 endpoints, 2 zones)"),
            ),
            (
                even.clone(),
                vec!["a", "a", "a"],
                Err(
                    "Unable to allocate minimum required endpoints to each zone without exceeding \
                     overload threshold (3 endpoints, 2 zones)",
                ),
            ),
        ];
        for (shares, zones, expected) in table {
            let mut groups = groups(&zones);
            let found = assign(&mut groups, Some(&shares), &HashMap::new());
            let expected = expected.map(|counts| {
                counts.into_iter().map(|(zone, count)| (zone.to_owned(), count)).collect()
            });
            let found = found.map(|()| counted(&groups));
            assert_eq!(found, expected.map_err(str::to_owned), "{zones:?}");
        }
        assert_eq!(assign(&mut groups(&["a", "b"]), None, &HashMap::new()), Err(NO_NODES.into()));
    }

    #[test]
    fn an_endpoint_keeps_its_zone_while_there_is_room() {
        let even = of(&[("a", 0.5), ("b", 0.5)]);
        let mut all = groups(&["a", "a", "a", "b"]);
        let endpoints = &all[""].endpoints;
        let before = HashMap::from([(identity(&endpoints[2]), "b".to_owned())]);
        assign(&mut all, Some(&even), &before).unwrap();
        let zone = |index: usize| {
            let hints = all[""].endpoints[index].hints.clone();
            hints.unwrap().for_zones.unwrap()[0].name.clone()
        };
        assert_eq!([0, 1, 2, 3].map(zone), ["a", "a", "b", "b"]);
    }

    #[test]
    fn the_share_of_a_zone_is_that_of_its_processors() {
        let node = |zone: &str, cpu: &str, ready: &str, label: &str| {
            let node = json!({"metadata": {"labels": {ZONE: zone, label: ""}}, "status": {
                "allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": ready}]}});
            Arc::new(serde_json::from_value::<Node>(node).unwrap())
        };
        let mut nodes = vec![
            node("a", "1", "True", "x"),
            node("b", "2500m", "True", "x"),
            node("b", "500m", "True", "x"),
            node("b", "9", "False", "x"),
            node("c", "9", "True", EXCLUDED[0]),
        ];
        assert_eq!(shares(&nodes), Some(of(&[("a", 0.25), ("b", 0.75)])));
        assert_eq!(shares(&nodes[..1]), None, "one zone");
        nodes.push(node("", "1", "True", "x"));
        assert_eq!(shares(&nodes), None, "nobody knows where it is");
    }
}
