//! Which endpoints traffic may go to: readiness, traffic policies and topology hints.

use crate::{endpoints::Endpoint, service::ServicePort};

/// The endpoints of a service port, chosen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen<'a> {
    /// For the policy `Cluster`; empty when that is not used.
    pub(crate) cluster: Vec<&'a Endpoint>,
    /// For the policy `Local`; empty when that is not used.
    pub(crate) local: Vec<&'a Endpoint>,
    /// Those of either.
    pub(crate) reachable: Vec<&'a Endpoint>,
    /// There are usable endpoints somewhere in the cluster, though perhaps none of the above.
    pub(crate) any: bool,
}

/// Where this node is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) node: &'a str,
    /// Empty when unknown.
    pub(crate) zone: &'a str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Preference {
    None,
    Node,
    Zone,
}

/// Chooses among the endpoints of a port.
pub(crate) fn choose<'a>(all: &'a [Endpoint], port: &ServicePort, place: Place<'_>) -> Chosen<'a> {
    let mut chosen = Chosen::default();
    let usable = |endpoint: &Endpoint| endpoint.ready || (endpoint.serving && endpoint.terminating);
    if port.uses_cluster() {
        let preference = preferred(all, place);
        chosen.cluster = ready_or_ending(all, |endpoint| meant_for(endpoint, preference, place));
        chosen.any = !chosen.cluster.is_empty();
    }
    if port.uses_local() {
        chosen.any |= all.iter().any(usable);
        chosen.local = ready_or_ending(all, |endpoint| endpoint.local);
    }
    chosen.reachable.clone_from(&chosen.cluster);
    for endpoint in &chosen.local {
        if !chosen.reachable.contains(endpoint) {
            chosen.reachable.push(endpoint);
        }
    }
    chosen
}

/// The ready ones, or, without any, those that still serve while they end.
fn ready_or_ending(all: &[Endpoint], wanted: impl Fn(&Endpoint) -> bool) -> Vec<&Endpoint> {
    let ready: Vec<_> = all.iter().filter(|endpoint| endpoint.ready && wanted(endpoint)).collect();
    if !ready.is_empty() {
        return ready;
    }
    let ending =
        |endpoint: &&Endpoint| endpoint.serving && endpoint.terminating && wanted(endpoint);
    all.iter().filter(ending).collect()
}

/// Hints count only when every ready endpoint has them and one is meant for this place.
fn preferred(all: &[Endpoint], place: Place<'_>) -> Preference {
    let mut ready = all.iter().filter(|endpoint| endpoint.ready).peekable();
    if ready.peek().is_none() {
        return Preference::None;
    }
    let ready: Vec<_> = ready.collect();
    for preference in [Preference::Node, Preference::Zone] {
        let hinted = |endpoint: &&Endpoint| match preference {
            Preference::Node => !endpoint.nodes.is_empty(),
            _ => !endpoint.zones.is_empty(),
        };
        if ready.iter().all(hinted) && ready.iter().any(|one| meant_for(one, preference, place)) {
            return preference;
        }
    }
    Preference::None
}

fn meant_for(endpoint: &Endpoint, preference: Preference, place: Place<'_>) -> bool {
    match preference {
        Preference::None => true,
        Preference::Node => endpoint.nodes.iter().any(|node| node == place.node),
        Preference::Zone => endpoint.zones.iter().any(|zone| zone == place.zone),
    }
}
