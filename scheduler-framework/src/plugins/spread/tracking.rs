use super::{
    super::numbered::Numbered,
    PodTopologySpread,
    by_default::Grid,
    constraint::{Action, Constraint, owners_selector},
    scoring::{HOSTNAME, IGNORED, rounded, share, weight},
};
use crate::{NodeInfo, Places, PodInfo, Snapshot, Track, Tracking};
use kubeplane_core::selector::LabelSelector;
use std::collections::{BTreeMap, HashSet};

impl Track for PodTopologySpread {
    fn track(&self, pod: &PodInfo, nodes: &Snapshot) -> Tracking {
        let own =
            pod.spec().topology_spread_constraints.as_ref().is_some_and(|own| !own.is_empty());
        let of = |action| self.constraints(pod, nodes, action);
        let (Ok(hard), Ok(soft)) = (of(Action::DoNotSchedule), of(Action::ScheduleAnyway)) else {
            return Tracking::Opaque;
        };
        // Whose defaults may come to hold is looked at for every pod.
        let owners =
            (!own && !self.defaults.is_empty()).then(|| owners_selector(pod, nodes.objects()));
        if hard.is_empty() && soft.is_empty() && owners.is_none() {
            return Tracking::Indifferent;
        }
        let all_keys = own || !self.system;
        let labels = pod.labels();
        Tracking::Placed(Box::new(Spread {
            itself: hard.iter().map(|own| own.selector.matches_labels(labels)).collect(),
            hard: hard.into_iter().map(Counter::new).collect(),
            soft: soft.into_iter().map(Counter::new).collect(),
            pod: pod.clone(),
            owners,
            all_keys,
            nodes: Vec::new(),
            places: Numbered::default(),
            weights: Vec::new(),
        }))
    }

    fn track_kind(&self, pod: &PodInfo, _: &Snapshot) -> Option<Tracking> {
        let spec = pod.spec();
        if spec.topology_spread_constraints.as_ref().is_some_and(|own| !own.is_empty()) {
            return None;
        }
        let all = |action| Constraint::all(&self.defaults, pod, action).ok();
        let of = |action| all(action).map(|own| self.reading(own));
        let (hard, soft) = (of(Action::DoNotSchedule)?, of(Action::ScheduleAnyway)?);
        if !hard.is_empty() {
            return None;
        }
        if soft.is_empty() {
            return Some(Tracking::Indifferent);
        }
        Some(Tracking::Counted(Box::new(Grid::new(pod, soft, !self.system))))
    }
}

/// The pods alike by domain; domains are numbers.
struct Counter {
    constraint: Constraint,
    values: Numbered<String>,
    nodes: Vec<i64>,
    pods: Vec<i64>,
    /// How many domains with nodes have a number of pods.
    sizes: BTreeMap<i64, usize>,
    domains: usize,
    /// Whether domains are single nodes: then what is in them is a matter of the node alone.
    single: bool,
    /// How many of those have several nodes after all.
    crowded: usize,
}

impl Counter {
    fn new(constraint: Constraint) -> Self {
        Self {
            single: constraint.key == HOSTNAME,
            constraint,
            values: Numbered::default(),
            nodes: Vec::new(),
            pods: Vec::new(),
            sizes: BTreeMap::new(),
            domains: 0,
            crowded: 0,
        }
    }

    fn domain(&mut self, value: &str) -> usize {
        let domain = self.values.number(value);
        self.nodes.resize(self.values.len(), 0);
        self.pods.resize(self.values.len(), 0);
        domain
    }

    fn change(&mut self, domain: usize, nodes: i64, pods: i64) {
        let (had, counted) = (self.nodes[domain] > 0, self.pods[domain]);
        let crowd = |nodes: i64| usize::from(self.single && nodes > 1);
        let (before, after) = (crowd(self.nodes[domain]), crowd(self.nodes[domain] + nodes));
        self.crowded = self.crowded + after - before;
        self.nodes[domain] += nodes;
        self.pods[domain] += pods;
        let (has, counts) = (self.nodes[domain] > 0, self.pods[domain]);
        if had == has && counted == counts {
            return;
        }
        if had && let Some(size) = self.sizes.get_mut(&counted) {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&counted);
            }
            self.domains -= 1;
        }
        if has {
            *self.sizes.entry(counts).or_default() += 1;
            self.domains += 1;
        }
    }

    fn least(&self) -> i64 {
        if self.domains < self.constraint.min_domains {
            return 0;
        }
        self.sizes.keys().next().copied().unwrap_or_default()
    }

    fn counts(&self, pod: &PodInfo, of: &PodInfo) -> bool {
        let selector = &self.constraint.selector;
        !selector.is_everything()
            && !pod.is_terminating()
            && pod.namespace() == of.namespace()
            && selector.matches_labels(pod.labels())
    }
}

/// What a node adds to one constraint.
#[derive(Debug, Clone, Copy, Default)]
struct Part {
    /// Its domain, if it has the label.
    domain: Option<usize>,
    /// Whether it takes part.
    counted: bool,
    pods: i64,
}

#[derive(Debug, Clone, Default)]
struct Parts {
    hard: Vec<Part>,
    soft: Vec<Part>,
    /// Whether it has all labels of the soft constraints.
    ranked: bool,
}

/// What nodes of one place have in common: for each constraint a domain, or where domains are single nodes the
/// pods there.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Place {
    hard: Vec<Where>,
    soft: Vec<Where>,
    ranked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Where {
    Nowhere,
    Domain(usize),
    Alone(i64),
}

struct Spread {
    pod: PodInfo,
    itself: Vec<bool>,
    hard: Vec<Counter>,
    soft: Vec<Counter>,
    owners: Option<LabelSelector>,
    all_keys: bool,
    nodes: Vec<Parts>,
    places: Numbered<Place>,
    weights: Vec<f64>,
}

impl Spread {
    fn parts(&mut self, node: &NodeInfo) -> Parts {
        let pod = &self.pod;
        let has_all =
            |all: &[Counter]| all.iter().all(|own| node.label(&own.constraint.key).is_some());
        let (all_hard, ranked) = (has_all(&self.hard), has_all(&self.soft) || !self.all_keys);
        let pods = |own: &Counter| {
            let counted = node.pods().iter().filter(|other| own.counts(other, pod));
            i64::try_from(counted.count()).unwrap_or(i64::MAX)
        };
        let hard = self.hard.iter_mut().map(|own| Part {
            domain: node.label(&own.constraint.key).map(|value| own.domain(value)),
            counted: all_hard && own.constraint.includes(pod, node),
            pods: pods(own),
        });
        let hard = hard.collect();
        let soft = self.soft.iter_mut().map(|own| {
            let value = if own.single {
                Some(node.name())
            } else {
                node.label(&own.constraint.key).or((!self.all_keys).then_some(""))
            };
            Part {
                domain: value.map(|value| own.domain(value)),
                counted: own.single || ranked && own.constraint.includes(pod, node),
                pods: pods(own),
            }
        });
        Parts { hard, soft: soft.collect(), ranked }
    }

    fn count(&mut self, parts: &Parts, sign: i64) {
        for (counters, parts) in [(&mut self.hard, &parts.hard), (&mut self.soft, &parts.soft)] {
            for (own, part) in counters.iter_mut().zip(parts) {
                if let Some(domain) = part.domain.filter(|_| part.counted) {
                    own.change(domain, sign, sign * part.pods);
                }
            }
        }
    }

    fn place_of(&mut self, index: usize, node: &NodeInfo) -> u64 {
        let parts = &self.nodes[index];
        let at = |own: &Counter, part: &Part, labelled: bool| match part.domain {
            Some(domain) if labelled && own.single => {
                Where::Alone(if part.counted { own.pods[domain] } else { 0 })
            }
            Some(domain) if labelled => Where::Domain(domain),
            _ => Where::Nowhere,
        };
        let hard = self.hard.iter().zip(&parts.hard).map(|(own, part)| at(own, part, true));
        let soft = self.soft.iter().zip(&parts.soft);
        let soft = soft.map(|(own, part)| at(own, part, node.label(&own.constraint.key).is_some()));
        let place = Place { hard: hard.collect(), soft: soft.collect(), ranked: parts.ranked };
        self.places.number(&place) as u64
    }

    fn known(&self, place: u64) -> Option<&Place> {
        self.places.value(place)
    }
}

impl Places for Spread {
    fn observe(&mut self, index: usize, node: &NodeInfo) {
        if self.nodes.len() <= index {
            self.nodes.resize(index + 1, Parts::default());
        }
        let old = std::mem::take(&mut self.nodes[index]);
        self.count(&old, -1);
        let new = self.parts(node);
        self.count(&new, 1);
        self.nodes[index] = new;
    }

    fn pod_changed(&mut self, index: usize, _: &NodeInfo, pod: &PodInfo, sign: i64) {
        let mut parts = std::mem::take(&mut self.nodes[index]);
        for (counters, parts) in
            [(&mut self.hard, &mut parts.hard), (&mut self.soft, &mut parts.soft)]
        {
            for (own, part) in counters.iter_mut().zip(parts) {
                if own.counts(pod, &self.pod) {
                    part.pods += sign;
                    if let Some(domain) = part.domain.filter(|_| part.counted) {
                        own.change(domain, 0, sign);
                    }
                }
            }
        }
        self.nodes[index] = parts;
    }

    fn place(&mut self, index: usize, node: &NodeInfo) -> u64 {
        self.place_of(index, node)
    }

    fn is_exact(&self, pod: &PodInfo, nodes: &Snapshot) -> bool {
        let owners = || owners_selector(pod, nodes.objects());
        // Two nodes of one name are no single domain.
        self.hard.iter().all(|own| own.crowded == 0)
            && self.owners.as_ref().is_none_or(|own| *own == owners())
    }

    fn fits(&self, place: u64) -> bool {
        let Some(place) = self.known(place) else { return false };
        let all = self.hard.iter().zip(&place.hard).zip(&self.itself);
        all.into_iter().all(|((own, at), itself)| {
            let pods = match at {
                Where::Nowhere => return false,
                Where::Domain(domain) => own.pods[*domain],
                Where::Alone(pods) => *pods,
            };
            pods + i64::from(*itself) - own.least() <= own.constraint.max_skew
        })
    }

    fn prepare(&mut self, left: &[(u64, usize)]) {
        let ranked: Vec<_> = left
            .iter()
            .filter_map(|(place, nodes)| Some((self.known(*place)?, *nodes)))
            .filter(|(place, _)| place.ranked)
            .collect();
        let size = |(column, own): (usize, &Counter)| {
            if own.single {
                return ranked.iter().map(|(_, nodes)| nodes).sum();
            }
            let values: HashSet<_> = ranked
                .iter()
                .map(|(place, _)| match place.soft[column] {
                    Where::Domain(domain) => Some(domain),
                    // A missing label and an empty one are the same domain.
                    _ => own.values.known(""),
                })
                .collect();
            values.len()
        };
        self.weights = self.soft.iter().enumerate().map(|own| weight(size(own))).collect();
    }

    fn score(&self, place: u64) -> i64 {
        let Some(place) = self.known(place) else { return 0 };
        if self.soft.is_empty() {
            return 0;
        }
        if !place.ranked {
            return IGNORED;
        }
        let mut score = 0.0;
        for ((own, at), weight) in self.soft.iter().zip(&place.soft).zip(&self.weights) {
            let pods = match at {
                Where::Nowhere => continue,
                Where::Domain(domain) => own.pods[*domain],
                Where::Alone(pods) => *pods,
            };
            score += share(pods, own.constraint.max_skew, *weight);
        }
        rounded(score)
    }
}
