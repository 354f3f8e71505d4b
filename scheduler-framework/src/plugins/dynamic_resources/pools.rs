use super::{
    devices::{Capacity, DeviceId},
    gates::Gates,
};
use k8s_openapi::api::{
    core::v1::{Node, NodeSelector},
    resource::v1::{Device, ResourceSlice},
};
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::node_selector_matches;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

type Slice = Arc<ResourceSlice>;

/// Counters by the name of their set.
pub(super) type CounterSets = BTreeMap<String, Capacity>;

/// Whether devices of a pool may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Usable,
    /// Not all of its slices are there.
    Incomplete,
    /// Two devices have one name, or counters are consumed that are not there.
    Invalid,
}

/// The devices of one pool that a node can use.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) driver: String,
    pub(super) name: String,
    pub(super) standing: Standing,
    /// With devices for the node.
    pub(super) slices: Vec<Slice>,
    /// With devices for other nodes only: they may consume counters, too.
    pub(super) elsewhere: Vec<Slice>,
    pub(super) counters: CounterSets,
}

impl Pool {
    fn unusable((driver, name): (String, String), standing: Standing) -> Self {
        let (slices, elsewhere, counters) = (Vec::new(), Vec::new(), CounterSets::new());
        Self { driver, name, standing, slices, elsewhere, counters }
    }

    pub(super) fn id<'a>(&'a self, device: &'a str) -> DeviceId<'a> {
        DeviceId { driver: &self.driver, pool: &self.name, device }
    }

    /// Whether a device must be made ready after it was allocated.
    fn has_binding_conditions(&self) -> bool {
        let devices = self.slices.iter().flat_map(|slice| devices(slice));
        devices.into_iter().any(|device| device.binding_conditions.is_some())
    }
}

pub(super) fn devices(slice: &ResourceSlice) -> &[Device] {
    slice.spec.devices.as_deref().unwrap_or_default()
}

fn has_counters(slice: &ResourceSlice) -> bool {
    slice.spec.shared_counters.as_ref().is_some_and(|own| !own.is_empty())
}

/// Whether something that is there for one node, all or some is there for this one.
pub(super) fn is_for(
    node: &Node,
    name: Option<&str>,
    all: Option<bool>,
    selector: Option<&NodeSelector>,
) -> bool {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => node.metadata.name.as_deref() == Some(name),
        None => all == Some(true) || selector.is_some_and(|own| node_selector_matches(own, node)),
    }
}

fn is_relevant(slice: &ResourceSlice, node: &Node) -> bool {
    let spec = &slice.spec;
    if has_counters(slice) {
        return true;
    }
    if spec.per_device_node_selection == Some(true) && spec.node_name.is_none() {
        return devices(slice).iter().any(|device| device_is_for(device, node));
    }
    is_for(node, spec.node_name.as_deref(), spec.all_nodes, spec.node_selector.as_ref())
}

/// Whether a device that says itself where it can be used can be on this node.
pub(super) fn device_is_for(device: &Device, node: &Node) -> bool {
    is_for(node, device.node_name.as_deref(), device.all_nodes, device.node_selector.as_ref())
}

/// The pools with devices for a node: by name, first those whose devices need not be made ready. `near` are the
/// slices that may be for the node, `all` are all there are.
pub(super) fn gather<'a>(
    near: impl Iterator<Item = &'a Slice>,
    all: &[Slice],
    node: &Node,
    gates: Gates,
) -> Vec<Pool> {
    let mut found: BTreeMap<(String, String), Vec<Slice>> = BTreeMap::new();
    let is_known = |slice: &Slice| {
        gates.parts || slice.spec.per_device_node_selection.is_none() && !has_counters(slice)
    };
    for slice in near.filter(|slice| is_known(slice) && is_relevant(slice, node)) {
        let pool = &slice.spec.pool;
        let known = found.entry((slice.spec.driver.clone(), pool.name.clone())).or_default();
        match known.first().map(|own| own.spec.pool.generation) {
            Some(generation) if pool.generation < generation => continue,
            Some(generation) if pool.generation > generation => known.clear(),
            _ => {}
        }
        known.push(slice.clone());
    }
    let pools: Vec<_> =
        found.into_iter().filter_map(|(id, slices)| assembled(id, slices, all, gates)).collect();
    let (later, mut first): (Vec<_>, Vec<_>) =
        pools.into_iter().partition(Pool::has_binding_conditions);
    first.extend(later);
    first
}

/// `None` when the pool's slices are being replaced.
fn assembled(
    id: (String, String),
    slices: Vec<Slice>,
    all: &[Slice],
    gates: Gates,
) -> Option<Pool> {
    let pool = &slices[0].spec.pool;
    let (generation, wanted) = (pool.generation, pool.resource_slice_count);
    let is_whole = |count: usize| i64::try_from(count).is_ok_and(|count| count == wanted);
    let mut others = Vec::new();
    if !is_whole(slices.len()) {
        let same = all.iter().filter(|own| own.spec.driver == id.0 && own.spec.pool.name == id.1);
        let mut total = 0;
        for slice in same {
            let its = slice.spec.pool.generation;
            if its > generation {
                return None;
            }
            if its == generation {
                total += 1;
                if !slices.iter().any(|own| own.metadata.name == slice.metadata.name) {
                    others.push(slice.clone());
                }
            }
        }
        if !is_whole(total) {
            return Some(Pool::unusable(id, Standing::Incomplete));
        }
    }
    Some(built(id, slices, others, gates))
}

fn built(
    id: (String, String),
    mut slices: Vec<Slice>,
    elsewhere: Vec<Slice>,
    gates: Gates,
) -> Pool {
    slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let (with_counters, slices): (Vec<_>, Vec<_>) =
        slices.into_iter().partition(|slice| has_counters(slice));
    let mut names = HashSet::new();
    let named_once = slices
        .iter()
        .flat_map(|slice| devices(slice))
        .all(|device| names.insert(device.name.as_str()));
    let mut counters = CounterSets::new();
    let mut sound = named_once;
    for set in with_counters.iter().flat_map(|slice| slice.spec.shared_counters.iter().flatten()) {
        let values = set.counters.iter();
        let values = values.map(|(name, own)| (name.clone(), Quantity::from_api(&own.value)));
        sound &= counters.insert(set.name.clone(), values.collect()).is_none();
    }
    let consumers = slices.iter().chain(&elsewhere).flat_map(|slice| devices(slice));
    if gates.parts {
        sound &=
            consumers.flat_map(|device| device.consumes_counters.iter().flatten()).all(|own| {
                let set = counters.get(&own.counter_set);
                set.is_some_and(|set| own.counters.keys().all(|name| set.contains_key(name)))
            });
    }
    if !sound {
        return Pool::unusable(id, Standing::Invalid);
    }
    let (driver, name) = id;
    Pool { driver, name, standing: Standing::Usable, slices, elsewhere, counters }
}
