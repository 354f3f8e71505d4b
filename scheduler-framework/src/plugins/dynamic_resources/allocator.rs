//! Finds devices for claims on a node.

mod counters;
mod outcome;
mod search;

use super::{
    constraint::Constraint,
    devices::Allocated,
    gates::Gates,
    pools::{Pool, Standing, device_is_for, devices, gather},
    request::Request,
    selectors::Selectors,
    shelf::{Shelf, Sight},
};
use crate::Objects;
use k8s_openapi::api::{
    core::v1::Node,
    resource::v1::{
        AllocationResult, Device, DeviceClaim, DeviceClass, DeviceRequestAllocationResult,
        DeviceSelector, ResourceClaim, ResourceSlice,
    },
};
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use search::Search;
use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

/// The most devices that one claim can have.
const RESULTS_MAX: usize = 32;

/// Why devices were not found, other than that there are too few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is a matter of this node.
    Node(String),
    /// It took too long.
    Timeout,
    /// Claim, class or slices are wrong: no node can help.
    Wrong(String),
}

/// How long one node may take, and on which clock.
pub(super) type Limit = Option<(SharedClock, Duration)>;

/// Devices of a cluster, for the claims of one pod: asked for many nodes.
pub(super) struct Allocator {
    allocated: Arc<Allocated>,
    classes: Objects<DeviceClass>,
    shelf: Arc<Shelf>,
    selectors: Arc<Selectors>,
    gates: Gates,
    limit: Limit,
}

impl fmt::Debug for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allocator").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

/// A device by its place among the pools of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
struct At {
    pool: usize,
    slice: usize,
    device: usize,
}

/// One of the alternatives of a request, and what is known of it beforehand.
#[derive(Debug)]
struct Wish<'a> {
    request: Request<'a>,
    class: Arc<DeviceClass>,
    count: usize,
    /// All devices there are, for one that wants all.
    all: Vec<At>,
}

impl Allocator {
    pub(super) fn new(
        allocated: Arc<Allocated>,
        classes: Objects<DeviceClass>,
        shelf: Arc<Shelf>,
        selectors: Arc<Selectors>,
        gates: Gates,
        limit: Limit,
    ) -> Self {
        Self { allocated, classes, shelf, selectors, gates, limit }
    }

    /// A device of a node that was allocated.
    pub(super) fn device(
        &self,
        node: &str,
        result: &DeviceRequestAllocationResult,
    ) -> Option<&Device> {
        let near = self.shelf.near(node).filter(|slice| {
            slice.spec.driver == result.driver && slice.spec.pool.name == result.pool
        });
        let all = near.flat_map(|slice| devices(slice).iter().map(move |own| (slice, own)));
        let named = all.filter(|(_, own)| own.name == result.device);
        named.max_by_key(|(slice, _)| slice.spec.pool.generation).map(|(_, own)| own)
    }

    /// Devices for all claims, or `None` when there are too few.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub(super) fn allocate(
        &self,
        node: &Node,
        claims: &[Arc<ResourceClaim>],
    ) -> Result<Option<Vec<AllocationResult>>, Trouble> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let pools = gather(self.shelf.near(name), &self.shelf.slices, node, self.gates);
        let view = View { allocator: self, node, pools: &pools, matches: Mutex::default() };
        let mut search = Search::new(&view, claims)?;
        if search.run()? {
            return outcome::results(&search, node).map(Some).map_err(Trouble::Wrong);
        }
        if pools.iter().any(|pool| pool.standing == Standing::Invalid) {
            let why = "invalid resource pools were encountered";
            return Err(Trouble::Node(why.to_owned()));
        }
        Ok(None)
    }
}

/// The devices as one node sees them.
struct View<'a> {
    allocator: &'a Allocator,
    node: &'a Node,
    pools: &'a [Pool],
    /// Which devices suit which wishes.
    matches: Mutex<HashMap<(At, Slot), bool>>,
}

/// Which claim, request and alternative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Slot {
    claim: usize,
    request: usize,
    alternative: usize,
}

/// `namespace/name`.
fn key(claim: &ResourceClaim) -> String {
    super::super::volumes::key(&claim.metadata)
}

fn asked(claim: &ResourceClaim) -> Option<&DeviceClaim> {
    claim.spec.devices.as_ref()
}

impl<'a> View<'a> {
    fn slice(&self, at: At) -> &'a Arc<ResourceSlice> {
        &self.pools[at.pool].slices[at.slice]
    }

    fn device(&self, at: At) -> &'a Device {
        &devices(self.slice(at))[at.device]
    }

    fn seen(&self, at: At) -> Sight {
        let selectors = &self.allocator.selectors;
        self.allocator.shelf.seen(selectors, self.slice(at), (at.device, self.device(at)))
    }

    /// Whether a device suits a wish, whatever else is in use.
    fn suits(
        &self,
        slot: Slot,
        request: &Request<'_>,
        class: &DeviceClass,
        claim: &ResourceClaim,
        at: At,
    ) -> Result<bool, Trouble> {
        let conditions = self.device(at).binding_conditions.as_deref().unwrap_or_default();
        if !self.allocator.gates.conditions && !conditions.is_empty() {
            return Ok(false);
        }
        if let Some(known) = self.matches.lock().get(&(at, slot)) {
            return Ok(*known);
        }
        let of_class = class.spec.selectors.as_deref().unwrap_or_default();
        let name = class.metadata.name.as_deref().unwrap_or_default();
        let mut suits = self.selected(of_class, at, || format!("class {name}"))?;
        suits =
            suits && self.selected(request.selectors, at, || format!("claim {}", key(claim)))?;
        if suits && self.slice(at).spec.per_device_node_selection == Some(true) {
            suits = device_is_for(self.device(at), self.node);
        }
        self.matches.lock().insert((at, slot), suits);
        Ok(suits)
    }

    fn selected(
        &self,
        selectors: &[DeviceSelector],
        at: At,
        owner: impl Fn() -> String,
    ) -> Result<bool, Trouble> {
        for (index, selector) in selectors.iter().enumerate() {
            let Some(cel) = &selector.cel else { continue };
            let matches = self.allocator.selectors.matches(&cel.expression, &self.seen(at));
            let wrong = |why| Trouble::Wrong(format!("{}: selector #{index}: {why}", owner()));
            if !matches.map_err(wrong)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All alternatives of a claim's requests.
    fn wishes(
        &self,
        claim: &'a ResourceClaim,
        number: usize,
    ) -> Result<Vec<Vec<Wish<'a>>>, Trouble> {
        let requests = asked(claim).and_then(|own| own.requests.as_deref()).unwrap_or_default();
        let mut all = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let mut alternatives = Vec::new();
            for (alternative, request) in Request::alternatives(request).into_iter().enumerate() {
                let slot = Slot { claim: number, request: index, alternative };
                let wrong = |why: String| {
                    Trouble::Wrong(format!("claim {}, request {}: {why}", key(claim), request.name))
                };
                if request.wants_capacity() && !self.allocator.gates.shares {
                    let what = if request.parent.is_some() { "subrequest" } else { "request" };
                    return Err(Trouble::Wrong(format!(
                        "claim {}, {what} {}: has capacity requests, but the DRAConsumableCapacity feature is disabled",
                        key(claim),
                        request.name
                    )));
                }
                alternatives.push(self.wish(claim, slot, request, &wrong)?);
            }
            if alternatives.is_empty() {
                let name = &request.name;
                let why = format!("claim {}, request {name}: unknown request type", key(claim));
                return Err(Trouble::Wrong(why));
            }
            all.push(alternatives);
        }
        Ok(all)
    }

    fn wish(
        &self,
        claim: &'a ResourceClaim,
        slot: Slot,
        request: Request<'a>,
        wrong: &dyn Fn(String) -> Trouble,
    ) -> Result<Wish<'a>, Trouble> {
        if let Some(index) = request.selectors.iter().position(|own| own.cel.is_none()) {
            return Err(wrong(format!(
                "selector #{index}: CEL expression empty (unsupported selector type?)"
            )));
        }
        if request.class.is_empty() {
            return Err(wrong("missing device class name (unsupported request type?)".to_owned()));
        }
        let name = request.class;
        let class = self.allocator.classes.find("", name).ok_or_else(|| {
            wrong(format!(
                "could not retrieve device class {name}: deviceclass.resource.k8s.io {name:?} not found"
            ))
        })?;
        if !request.wants_all() {
            let count =
                request.count().map_err(|mode| wrong(format!("unsupported count mode {mode}")))?;
            return Ok(Wish { request, class, count, all: Vec::new() });
        }
        let mut all = Vec::new();
        for (index, pool) in self.pools.iter().enumerate() {
            let state = match pool.standing {
                Standing::Usable => None,
                Standing::Incomplete => Some("being updated"),
                Standing::Invalid => Some("invalid"),
            };
            if let Some(state) = state {
                let (driver, name) = (&pool.driver, &pool.name);
                return Err(wrong(format!(
                    "asks for all devices, but resource pool {driver}/{name} is currently {state}"
                )));
            }
            for (slice, own) in pool.slices.iter().enumerate() {
                for device in 0..devices(own).len() {
                    let at = At { pool: index, slice, device };
                    if self.suits(slot, &request, &class, claim, at)?
                        && self.has_room(&request, at, None)
                    {
                        all.push(at);
                    }
                }
            }
        }
        Ok(Wish { request, class, count: all.len(), all })
    }

    fn has_room(
        &self,
        request: &Request<'_>,
        at: At,
        more: Option<&super::devices::Capacity>,
    ) -> bool {
        if !self.allocator.gates.shares {
            return true;
        }
        let device = self.device(at);
        let have = self.allocator.allocated.consumed(self.pools[at.pool].id(&device.name));
        super::capacity::has_room(request.capacity(), device.capacity.as_ref(), have, more)
    }

    fn constraints(&self, claim: &'a ResourceClaim) -> Result<Vec<Constraint<'a>>, Trouble> {
        let all = asked(claim).and_then(|own| own.constraints.as_deref()).unwrap_or_default();
        let each = all.iter().enumerate().map(|(index, own)| {
            Constraint::new(own, self.allocator.gates.lists).ok_or_else(|| {
                Trouble::Wrong(format!(
                    "claim {}, constraint #{index}: empty constraint (unsupported constraint type?)",
                    key(claim)
                ))
            })
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests;
