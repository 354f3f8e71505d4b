//! How pods without constraints of their own are followed: controller by controller they count other pods, but all see the
//! nodes in the same domains.

use super::{
    super::numbered::Numbered,
    constraint::{Constraint, owners_selector},
    scoring::{HOSTNAME, IGNORED, rounded, share, weight},
};
use crate::{Counted, Counting, NodeInfo, PodInfo, Site, Snapshot};
use kubeplane_core::selector::{LabelSelector, Operator, Requirement};
use std::collections::{HashMap, HashSet};

/// The default constraints, of which none forbids anything.
pub(super) struct Grid {
    pod: PodInfo,
    constraints: Vec<Constraint>,
    /// The domains of each, those of single nodes aside.
    domains: Vec<Numbered<String>>,
    /// Whether nodes that lack a label are left out.
    all_keys: bool,
    places: Numbered<Place>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    at: Vec<At>,
    ranked: bool,
}

/// Where a node is by one constraint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct At {
    domain: Option<usize>,
    labelled: bool,
    /// Whether its pods count in the domain.
    counted: bool,
}

fn is_single(own: &Constraint) -> bool {
    own.key == HOSTNAME
}

impl Grid {
    pub(super) fn new(pod: &PodInfo, constraints: Vec<Constraint>, all_keys: bool) -> Self {
        Self {
            pod: pod.clone(),
            domains: constraints.iter().map(|_| Numbered::default()).collect(),
            constraints,
            all_keys,
            places: Numbered::default(),
        }
    }

    /// The weight of each constraint, by the domains of the nodes that are ranked.
    fn weights(&self, ranked: &[(&Place, usize)]) -> Vec<f64> {
        let size = |(column, own): (usize, &Constraint)| {
            if is_single(own) {
                return ranked.iter().map(|(_, nodes)| nodes).sum();
            }
            // A missing label and an empty one are the same domain.
            let missing = self.domains[column].known("");
            let of = |(place, _): &(&Place, usize)| {
                let at = place.at[column];
                if at.labelled { at.domain } else { missing }
            };
            ranked.iter().map(of).collect::<HashSet<_>>().len()
        };
        self.constraints.iter().enumerate().map(|own| weight(size(own))).collect()
    }

    /// The pods that count in each domain of each constraint.
    fn sums(&self, counted: &[Site]) -> Vec<HashMap<usize, i64>> {
        let mut sums = vec![HashMap::new(); self.constraints.len()];
        for site in counted {
            let Some(place) = self.places.value(site.place) else { continue };
            for (sums, at) in sums.iter_mut().zip(&place.at) {
                if let Some(domain) = at.domain.filter(|_| at.counted) {
                    *sums.entry(domain).or_default() += site.pods;
                }
            }
        }
        sums
    }
}

impl Counted for Grid {
    fn counting(&self, pod: &PodInfo, nodes: &Snapshot) -> Box<dyn Counting> {
        let selector = owners_selector(pod, nodes.objects());
        Box::new(Alike { namespace: pod.namespace().to_owned(), selector })
    }

    fn place(&mut self, _: usize, node: &NodeInfo) -> u64 {
        let has = |own: &Constraint| node.label(&own.key).is_some();
        let ranked = !self.all_keys || self.constraints.iter().all(has);
        let all_keys = self.all_keys;
        let at = self.constraints.iter().zip(&mut self.domains).map(|(own, domains)| {
            let value = node.label(&own.key);
            let labelled = value.is_some();
            if is_single(own) {
                return At { domain: None, labelled, counted: true };
            }
            let value = value.or((!all_keys).then_some(""));
            let counted = ranked && own.includes(&self.pod, node);
            At { domain: value.map(|value| domains.number(value)), labelled, counted }
        });
        let place = Place { at: at.collect(), ranked };
        self.places.number(&place) as u64
    }

    fn scores(&self, left: &[Site], counted: &[Site]) -> Vec<i64> {
        let places = left.iter().map(|site| self.places.value(site.place));
        let ranked =
            places.clone().zip(left).filter_map(|(place, site)| Some((place?, site.nodes)));
        let ranked: Vec<_> = ranked.filter(|(place, _)| place.ranked).collect();
        let (weights, sums) = (self.weights(&ranked), self.sums(counted));
        let score = |(place, site): (Option<&Place>, &Site)| {
            let Some(place) = place else { return 0 };
            if !place.ranked {
                return IGNORED;
            }
            let mut score = 0.0;
            let columns = self.constraints.iter().zip(&place.at).zip(weights.iter().zip(&sums));
            for ((own, at), (weight, sums)) in columns {
                if !at.labelled {
                    continue;
                }
                let pods = match at.domain {
                    None => site.pods,
                    Some(domain) => sums.get(&domain).copied().unwrap_or_default(),
                };
                score += share(pods, own.max_skew, *weight);
            }
            rounded(score)
        };
        places.zip(left).map(score).collect()
    }
}

/// The label that a requirement asks for, if it asks for one.
fn label(own: &Requirement) -> Option<(&str, &str)> {
    match (own.operator(), own.values()) {
        (Operator::Equals | Operator::DoubleEquals | Operator::In, [value]) => {
            Some((own.key(), value))
        }
        _ => None,
    }
}

/// The pods of one controller, or Service.
struct Alike {
    namespace: String,
    selector: LabelSelector,
}

impl Counting for Alike {
    fn is_scoring(&self) -> bool {
        !self.selector.is_everything()
    }

    fn counts(&self, other: &PodInfo) -> bool {
        !other.is_terminating()
            && other.namespace() == self.namespace
            && self.selector.matches_labels(other.labels())
    }

    fn labels(&self) -> Option<(&str, Vec<(&str, &str)>)> {
        let labels: Vec<_> = self.selector.requirements().iter().filter_map(label).collect();
        (!labels.is_empty()).then_some((&self.namespace, labels))
    }

    fn is_exact(&self, pod: &PodInfo, nodes: &Snapshot) -> bool {
        owners_selector(pod, nodes.objects()) == self.selector
    }
}
