//! What is written into claims.

use super::{
    asked,
    search::{Picked, Search},
};
use crate::plugins::dynamic_resources::request::Request;
use k8s_openapi::api::{
    core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm},
    resource::v1::{
        AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult,
        DeviceRequestAllocationResult, ResourceClaim,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
};

/// An allocation for each claim.
///
/// # Errors
/// When devices are bound to nodes in a way that is not known.
pub(super) fn results(search: &Search<'_>, node: &Node) -> Result<Vec<AllocationResult>, String> {
    let each = search.claims.iter().zip(&search.picked).enumerate();
    let each = each.map(|(number, (claim, picked))| {
        let results = picked.iter().enumerate();
        let results = results.map(|(place, own)| result(search, own, claim, place)).collect();
        let config = configuration(search, number, claim);
        let node_selector = selector(search, picked, node).map_err(|why| {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            format!("create NodeSelector for claim {name}: {why}")
        })?;
        Ok(AllocationResult {
            devices: Some(DeviceAllocationResult {
                results: Some(results),
                config: (!config.is_empty()).then_some(config),
            }),
            node_selector,
            allocation_timestamp: None,
        })
    });
    each.collect()
}

fn result(
    search: &Search<'_>,
    own: &Picked<'_>,
    claim: &ResourceClaim,
    place: usize,
) -> DeviceRequestAllocationResult {
    let (pool, device) = (&search.view.pools[own.at.pool], search.view.device(own.at));
    let consumed = own.shares.as_ref().filter(|shares| !shares.is_empty());
    let consumed = consumed.map(|shares| {
        shares.iter().map(|(name, amount)| (name.clone(), amount.to_api())).collect()
    });
    DeviceRequestAllocationResult {
        request: own.request.full_name(),
        driver: pool.driver.clone(),
        pool: pool.name.clone(),
        device: device.name.clone(),
        admin_access: own.request.admin.then_some(true),
        tolerations: own.request.tolerations.cloned(),
        share_id: own.shares.is_some().then(|| share_id(claim, place)),
        consumed_capacity: consumed,
        binding_conditions: device.binding_conditions.clone(),
        binding_failure_conditions: device.binding_failure_conditions.clone(),
    }
}

/// An id that no other share of a device has. It is made of what is allocated and when, and not by chance: how many nodes
/// are tried, and in which order, does not show in what is written.
fn share_id(claim: &ResourceClaim, place: usize) -> String {
    let half = |number: u8| {
        let mut hasher = DefaultHasher::new();
        let meta = &claim.metadata;
        (number, &meta.uid, &meta.resource_version, place).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    let bytes = ((half(0) << 64) | half(1)).to_be_bytes();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// The configurations of the classes that were chosen, each once, then those of the claim.
fn configuration(
    search: &Search<'_>,
    number: usize,
    claim: &ResourceClaim,
) -> Vec<DeviceAllocationConfiguration> {
    let chosen = search.wishes[number].iter().zip(&search.chosen[number]);
    let chosen: Vec<_> = chosen.map(|(alternatives, index)| &alternatives[*index]).collect();
    let mut all: Vec<DeviceAllocationConfiguration> = Vec::new();
    let mut places: BTreeMap<&str, std::ops::Range<usize>> = BTreeMap::new();
    for wish in &chosen {
        let request = wish.request.full_name();
        if let Some(range) = places.get(wish.request.class) {
            for own in &mut all[range.clone()] {
                own.requests.get_or_insert_default().push(request.clone());
            }
            continue;
        }
        let start = all.len();
        all.extend(wish.class.spec.config.iter().flatten().map(|own| {
            DeviceAllocationConfiguration {
                source: "FromClass".to_owned(),
                requests: Some(vec![request.clone()]),
                opaque: own.opaque.clone(),
            }
        }));
        places.insert(wish.request.class, start..all.len());
    }
    let own = asked(claim).and_then(|own| own.config.as_deref()).unwrap_or_default();
    for config in own {
        let named = config.requests.as_deref().unwrap_or_default();
        let concerned = |request: &&Request<'_>| {
            named.iter().any(|name| name == request.base_name() || *name == request.full_name())
        };
        let requests = chosen.iter().map(|wish| &wish.request);
        // Once for each request it is for, as the original has it.
        let times = if named.is_empty() { 1 } else { requests.filter(concerned).count() };
        all.extend((0..times).map(|_| DeviceAllocationConfiguration {
            source: "FromClaim".to_owned(),
            requests: config.requests.clone(),
            opaque: config.opaque.clone(),
        }));
    }
    all
}

/// On which nodes the devices are there; `None` for all.
fn selector(
    search: &Search<'_>,
    picked: &[Picked<'_>],
    node: &Node,
) -> Result<Option<NodeSelector>, String> {
    let mut term = NodeSelectorTerm::default();
    for own in picked {
        let (slice, device) = (search.view.slice(own.at), search.view.device(own.at));
        let (name, selector) = if slice.spec.per_device_node_selection == Some(true) {
            (&device.node_name, &device.node_selector)
        } else {
            (&slice.spec.node_name, &slice.spec.node_selector)
        };
        if name.is_some() || device.binds_to_node == Some(true) {
            return Ok(Some(only(node)));
        }
        match selector.as_ref().map(|own| &*own.node_selector_terms) {
            None | Some([]) => {}
            Some([one]) => {
                add(&one.match_fields, &mut term.match_fields);
                add(&one.match_expressions, &mut term.match_expressions);
            }
            Some(all) => {
                let count = all.len();
                return Err(format!("unsupported ResourceSlice.NodeSelector with {count} terms"));
            }
        }
    }
    let anywhere = term.match_fields.is_none() && term.match_expressions.is_none();
    Ok((!anywhere).then(|| NodeSelector { node_selector_terms: vec![term] }))
}

fn only(node: &Node) -> NodeSelector {
    let field = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(node.metadata.name.iter().cloned().collect()),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![field]), match_expressions: None };
    NodeSelector { node_selector_terms: vec![term] }
}

type Requirements = Option<Vec<NodeSelectorRequirement>>;

fn add(from: &Requirements, to: &mut Requirements) {
    let values = |own: &NodeSelectorRequirement| {
        own.values.iter().flatten().cloned().collect::<BTreeSet<_>>()
    };
    for own in from.iter().flatten() {
        let all = to.get_or_insert_default();
        let known = all.iter().any(|other| {
            other.key == own.key && other.operator == own.operator && values(other) == values(own)
        });
        if !known {
            all.push(own.clone());
        }
    }
}
