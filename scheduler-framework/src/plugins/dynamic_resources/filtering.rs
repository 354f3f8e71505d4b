use super::{
    DynamicResources,
    allocator::{Allocator, Trouble},
    claims::{allocation, consumer, is_late, is_ready, users},
    devices::results as given,
    extended::{self, Mappings, is_unwritten, unwritten},
    gates::Gates,
    of_nodes,
};
use crate::{
    CycleState, Filter, FilterVerdict, NodeInfo, PodInfo, PreEnqueue, PreEnqueueVerdict, PreFilter,
    PreFilterVerdict, Score, Snapshot,
    groups::GroupCycle,
    objects::ClusterObjects,
    plugins::{normalize::normalize, volumes::key},
};
use k8s_openapi::api::{
    core::v1::NodeAllocatableResourceClaimStatus,
    resource::v1::{
        AllocationResult, DeviceRequest, ResourceClaim, ResourceClaimConsumerReference,
    },
};
use kubeplane_workload::node_selector_matches;
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, atomic::AtomicBool},
};

/// The most alternatives a request can have.
const ALTERNATIVES_MAX: i64 = 8;

/// What is known of a pod's claims in one cycle.
#[derive(Debug)]
pub(super) struct Cycle {
    /// Those of the user, then the one for extended resources; replaced by what is written.
    pub(super) claims: Mutex<Vec<Arc<ResourceClaim>>>,
    /// How many are the user's.
    pub(super) users: usize,
    /// Who is to use each of the user's claims.
    consumers: Vec<ResourceClaimConsumerReference>,
    /// Whether there is something to allocate; then the [`Allocator`] is kept until a node is chosen.
    allocates: bool,
    /// What pods of the same group got a moment ago, and this one uses with them.
    shared: HashMap<usize, AllocationResult>,
    /// The group whose pods are placed in one go, if it is one of them.
    pub(super) group: Option<Arc<GroupCycle>>,
    /// Allocated claims that some node cannot use.
    pub(super) unavailable: Mutex<BTreeSet<usize>>,
    /// What Filter found, by node.
    pub(super) found: Mutex<HashMap<String, Found>>,
    /// What Reserve took of it, by claim.
    pub(super) reserved: Mutex<HashMap<usize, AllocationResult>>,
    /// Whether the pod says what its devices take of the node.
    pub(super) told: AtomicBool,
}

/// What claims could get on a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    pub(super) allocations: Vec<(usize, AllocationResult)>,
    /// The claim for extended resources as the node needs it.
    pub(super) extended: Option<ResourceClaim>,
    pub(super) mappings: Mappings,
    /// What that takes of the node itself, by claim.
    pub(super) shares: Vec<NodeAllocatableResourceClaimStatus>,
}

impl Cycle {
    /// The claim for extended resources, and which it is.
    pub(super) fn extended(&self) -> Option<(usize, Arc<ResourceClaim>)> {
        self.claims.lock().get(self.users).map(|own| (self.users, own.clone()))
    }

    /// Who is to use a claim: what is for extended resources is the pod's.
    pub(super) fn consumer(&self, index: usize, pod: &PodInfo) -> ResourceClaimConsumerReference {
        self.consumers.get(index).cloned().unwrap_or_else(|| consumer(pod))
    }

    /// Whether some claims still lack devices for which there are alternatives, of which nodes may have better ones.
    pub(super) fn has_preferences(&self) -> bool {
        let open = |claim: &&Arc<ResourceClaim>| allocation(claim).is_none();
        self.claims.lock().iter().filter(open).any(|claim| {
            let devices = claim.spec.devices.as_ref();
            let mut requests = devices.and_then(|own| own.requests.as_ref()).into_iter().flatten();
            requests.any(|own| own.exactly.is_none())
        })
    }
}

impl PreEnqueue for DynamicResources {
    fn pre_enqueue(&self, pod: &PodInfo) -> PreEnqueueVerdict {
        let Some(handle) = self.handle.get().filter(|_| Self::has_claims(pod)) else {
            return PreEnqueueVerdict::Admit;
        };
        match self.claims(&handle.objects, pod) {
            Ok(_) => PreEnqueueVerdict::Admit,
            Err(why) => PreEnqueueVerdict::Hold(why),
        }
    }
}

/// Whether a request is one that can be served, and its classes are there.
fn check_request(
    objects: &ClusterObjects,
    claim: &ResourceClaim,
    request: &DeviceRequest,
    gates: Gates,
) -> Result<(), PreFilterVerdict> {
    let check = |class: &str, name: &str| {
        if class.is_empty() {
            return Err(PreFilterVerdict::Error(format!(
                "request {name}: unsupported request type"
            )));
        }
        objects.device_classes.find("", class).map(|_| ()).ok_or_else(|| {
            let why = format!("request {name}: device class {class} does not exist");
            PreFilterVerdict::Unresolvable(why)
        })
    };
    let name = &request.name;
    if let Some(exactly) = &request.exactly {
        return check(&exactly.device_class_name, name);
    }
    let alternatives = request.first_available.as_deref().unwrap_or_default();
    let trouble = match alternatives {
        [] => Some("unknown request type"),
        _ if gates.alternatives => None,
        _ => Some("has subrequests, but the DRAPrioritizedList feature is disabled"),
    };
    if let Some(trouble) = trouble {
        let key = key(&claim.metadata);
        let why = format!("resource claim {key}, request {name}: {trouble}");
        return Err(PreFilterVerdict::Unresolvable(why));
    }
    alternatives
        .iter()
        .try_for_each(|own| check(&own.device_class_name, &format!("{name}/{}", own.name)))
}

impl DynamicResources {
    /// Whether any claim is to be allocated, and which of them pods of the same group have just been given devices for.
    fn check(
        &self,
        objects: &ClusterObjects,
        claims: &[Arc<ResourceClaim>],
        users: usize,
        group: Option<&GroupCycle>,
    ) -> Result<(bool, HashMap<usize, AllocationResult>), PreFilterVerdict> {
        let (mut any, mut shared) = (false, HashMap::new());
        for (index, claim) in claims.iter().enumerate() {
            if allocation(claim).is_some() {
                continue;
            }
            any = true;
            let uid = claim.metadata.uid.as_deref().unwrap_or_default();
            if let Some(pending) = self.stock().tracker.pending(uid) {
                if group.is_some_and(|own| own.claims.lock().contains(uid)) {
                    shared.insert(index, pending);
                    continue;
                }
                let why = format!(
                    "resource claim {} is in the process of being allocated",
                    key(&claim.metadata)
                );
                return Err(PreFilterVerdict::Unresolvable(why));
            }
            if index >= users {
                continue;
            }
            let devices = claim.spec.devices.as_ref();
            for request in devices.and_then(|own| own.requests.as_ref()).into_iter().flatten() {
                check_request(objects, claim, request, self.gates)?;
            }
        }
        Ok((any, shared))
    }

    fn cycle(
        &self,
        nodes: &Snapshot,
        pod: &PodInfo,
    ) -> Result<Option<(Cycle, Option<Allocator>)>, PreFilterVerdict> {
        let (objects, group) = (nodes.objects(), nodes.group());
        let mut claims = self.claims(objects, pod).map_err(PreFilterVerdict::Unresolvable)?;
        let users = claims.len();
        if self.stands_in(objects, pod) {
            // An earlier cycle may have made it.
            let made = self.stock().tracker.made_for(objects, pod);
            claims.push(made.unwrap_or_else(|| Arc::new(unwritten(pod))));
        }
        let consumers = self.consumers(objects, pod).map_err(PreFilterVerdict::Unresolvable)?;
        if claims.is_empty() {
            return Ok(None);
        }
        let (any, shared) = self.check(objects, &claims, users, group.map(Arc::as_ref))?;
        let allocator = any.then(|| {
            let handle = self.handle.get().filter(|_| self.gates.timeout);
            let limit = handle.map(|own| (own.clock.clone(), self.filter_timeout));
            Allocator::new(
                self.stock().tracker.allocated(objects),
                objects.device_classes.clone(),
                self.stock().shelves.of(&objects.resource_slices),
                self.stock().selectors.clone(),
                self.gates,
                limit,
            )
        });
        let cycle = Cycle {
            claims: Mutex::new(claims),
            users,
            consumers,
            allocates: any,
            shared,
            group: group.cloned(),
            unavailable: Mutex::default(),
            found: Mutex::default(),
            reserved: Mutex::default(),
            told: AtomicBool::default(),
        };
        Ok(Some((cycle, allocator)))
    }
}

impl PreFilter for DynamicResources {
    fn pre_filter(
        &self,
        state: &mut CycleState,
        pod: &PodInfo,
        nodes: &Snapshot,
    ) -> PreFilterVerdict {
        match self.cycle(nodes, pod) {
            Ok(Some((cycle, allocator))) => {
                state.insert(cycle);
                if let Some(allocator) = allocator {
                    // Whoever held it for longer would have what is allocated copied for each pod.
                    state.insert_until_placed(allocator);
                }
                PreFilterVerdict::Continue
            }
            Ok(None) => PreFilterVerdict::Skip,
            Err(verdict) => verdict,
        }
    }
}

impl Filter for DynamicResources {
    fn filter(&self, state: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let Some(cycle) = state.value::<Cycle>() else { return FilterVerdict::Fits };
        match self.look(cycle, state, pod, node) {
            Ok(()) => FilterVerdict::Fits,
            Err(verdict) => verdict,
        }
    }
}

pub(super) fn refused<T>(why: impl Into<String>) -> Result<T, FilterVerdict> {
    Err(FilterVerdict::Unresolvable(vec![why.into()]))
}

impl DynamicResources {
    fn look(
        &self,
        cycle: &Cycle,
        state: &CycleState,
        pod: &PodInfo,
        node: &NodeInfo,
    ) -> Result<(), FilterVerdict> {
        let (objects, mut found) = (state.snapshot().objects(), Found::default());
        if let Some((_, claim)) = cycle.extended() {
            let made = claim.spec.devices.as_ref().is_some_and(|own| own.requests.is_some());
            if made || !is_unwritten(&claim) {
                // It was made for another placement.
                return refused("cannot schedule extended resource claim");
            }
            match extended::on_node(objects, pod, node, &claim) {
                Ok(Some((claim, mappings))) => {
                    (found.extended, found.mappings) = (Some(claim), mappings);
                }
                Ok(None) if cycle.users == 0 => return Ok(()),
                Ok(None) => {}
                Err(why) => return refused(why),
            }
        }
        let claims = cycle.claims.lock().clone();
        if self.gates.of_nodes {
            of_nodes::check_users(&claims, pod, node)?;
        }
        let unusable = |claim: &ResourceClaim| !self.is_usable(claim, node);
        let unusable: Vec<_> =
            (0..claims.len()).filter(|index| unusable(&claims[*index])).collect();
        if let Some(allocator) = state.value::<Allocator>() {
            found.allocations = allocated(allocator, cycle, &claims, &found, node)?;
            if self.gates.of_nodes {
                found.shares = of_nodes::shares(allocator, &claims, &found, pod, node)?;
            }
        }
        let here = |own: &AllocationResult| {
            own.node_selector.as_ref().is_none_or(|own| node_selector_matches(own, node.node()))
        };
        if !cycle.shared.values().all(here) {
            // Nothing of them is written that could be taken back.
            return refused("resourceclaim not available on the node");
        }
        if !unusable.is_empty() {
            cycle.unavailable.lock().extend(unusable);
            return refused("resourceclaim not available on the node");
        }
        if cycle.allocates {
            cycle.found.lock().insert(node.name().to_owned(), found);
        }
        Ok(())
    }

    /// Whether a claim that is allocated can be used on a node, now or soon.
    fn is_usable(&self, claim: &ResourceClaim, node: &NodeInfo) -> bool {
        let Some(allocation) = allocation(claim) else { return true };
        let here = |own| node_selector_matches(own, node.node());
        if !allocation.node_selector.as_ref().is_none_or(here) {
            return false;
        }
        if !self.gates.conditions {
            return true;
        }
        let late = || {
            let handle = self.handle.get();
            handle.is_some_and(|own| is_late(claim, self.binding_timeout, own.clock.now()))
        };
        is_ready(claim).is_ok_and(|ready| ready || !late())
    }
}

/// Devices on a node for all claims that have none; those that pods of the same group have got are among them.
fn allocated(
    allocator: &Allocator,
    cycle: &Cycle,
    claims: &[Arc<ResourceClaim>],
    found: &Found,
    node: &NodeInfo,
) -> Result<Vec<(usize, AllocationResult)>, FilterVerdict> {
    let (mut wanting, mut indices) = (Vec::new(), Vec::new());
    for (index, claim) in claims.iter().enumerate().filter(|(_, own)| allocation(own).is_none()) {
        if cycle.shared.contains_key(&index) {
            continue;
        }
        let claim = match (&found.extended, index >= cycle.users) {
            (Some(own), true) => Arc::new(own.clone()),
            (None, true) => continue,
            (_, false) => claim.clone(),
        };
        indices.push(index);
        wanting.push(claim);
    }
    let shared = || cycle.shared.iter().map(|(index, own)| (*index, own.clone()));
    if wanting.is_empty() {
        return Ok(shared().collect());
    }
    match allocator.allocate(node.node(), &wanting) {
        Ok(Some(results)) => Ok(indices.into_iter().zip(results).chain(shared()).collect()),
        Ok(None) => refused("cannot allocate all claims"),
        Err(Trouble::Node(why)) => refused(why),
        Err(Trouble::Timeout) => Err(FilterVerdict::Error(format!(
            "node {}: timed out trying to allocate devices",
            node.name()
        ))),
        Err(Trouble::Wrong(why)) => Err(FilterVerdict::Error(why)),
    }
}

impl Score for DynamicResources {
    /// More for alternatives that are wanted more.
    fn score(&self, state: &CycleState, _: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(cycle) = state.value::<Cycle>().filter(|_| self.gates.alternatives) else {
            return 0;
        };
        let found = cycle.found.lock();
        let Some(found) = found.get(node.name()) else { return 0 };
        let claims = cycle.claims.lock();
        let each = claims.iter().enumerate().map(|(index, claim)| {
            let own = found.allocations.iter().find(|(own, _)| *own == index);
            let devices = own.and_then(|(_, own)| own.devices.as_ref());
            let results = devices.and_then(|own| own.results.as_deref());
            let results = results.unwrap_or_else(|| given(claim));
            let taken: BTreeSet<_> = results.iter().map(|own| own.request.as_str()).collect();
            preference(claim, &taken)
        });
        each.sum()
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [i64]) {
        normalize(scores, false);
    }
}

fn preference(claim: &ResourceClaim, taken: &BTreeSet<&str>) -> i64 {
    let devices = claim.spec.devices.as_ref();
    let requests = devices.and_then(|own| own.requests.as_ref()).into_iter().flatten();
    let mut score = 0;
    for request in requests {
        for (place, own) in (0..).zip(request.first_available.iter().flatten()) {
            if taken.contains(format!("{}/{}", request.name, own.name).as_str()) {
                score += ALTERNATIVES_MAX - place;
            }
        }
    }
    score
}

/// Whether nobody but perhaps the pod uses the claim.
pub(super) fn is_idle(claim: &ResourceClaim, pod: &PodInfo) -> bool {
    let mut users = users(claim);
    users.next().is_none_or(|own| own == pod.uid()) && users.next().is_none()
}
