use super::{super::numbered::Numbered, InterPodAffinity, Own, all_match};
use crate::{AffinityTerm, NodeInfo, Places, PodInfo, Snapshot, Track, Tracking};
use k8s_openapi::api::core::v1::Namespace;
use std::{collections::BTreeMap, sync::Arc};

const HOSTNAME: &str = "kubernetes.io/hostname";

impl Track for InterPodAffinity {
    fn track(&self, pod: &PodInfo, nodes: &Snapshot) -> Tracking {
        let terms = pod.affinity();
        let kinds =
            [&terms.required, &terms.required_anti, &terms.preferred, &terms.preferred_anti];
        let selecting = kinds.into_iter().flatten().any(selects_namespaces);
        let own = Own::new(pod, nodes);
        let prefers = !own.preferred.is_empty() || !own.preferred_anti.is_empty();
        Tracking::Placed(Box::new(Near {
            asks: prefers || !own.required.is_empty() || !own.required_anti.is_empty(),
            listens: prefers || !self.ignore_preferred_of_others,
            hard_weight: self.hard_weight,
            pod: pod.clone(),
            own,
            keys: Vec::new(),
            nodes: Vec::new(),
            selecting: usize::from(selecting),
            heard: 0,
            namespaces: nodes.objects().namespaces.all(),
            crowded: 0,
            met: 0,
            placing: false,
            outgrown: false,
            places: Numbered::default(),
        }))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        pod.affinity().is_empty().then(|| self.track(pod, nodes))
    }
}

/// Whether the namespaces that a term means can change.
pub(super) fn selects_namespaces(term: &AffinityTerm) -> bool {
    !term.namespace_selector.is_everything() && !term.namespace_selector.is_nothing()
}

/// The numbers of pods (or weights) that count at one value of a topology key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Numbers {
    /// Pods whose required anti-affinity means this pod.
    existing_anti: i64,
    /// Pods that all required terms mean.
    affinity: i64,
    /// Pods that a required anti-affinity term means.
    anti: i64,
    /// What is preferred, summed up.
    soft: i64,
}

impl Numbers {
    fn add(&mut self, other: Self, sign: i64) {
        self.existing_anti += sign * other.existing_anti;
        self.affinity += sign * other.affinity;
        self.anti += sign * other.anti;
        self.soft += sign * other.soft;
    }
}

/// One topology key.
struct Key {
    name: String,
    values: Numbered<String>,
    numbers: Vec<Numbers>,
    /// How many nodes have each value.
    nodes: Vec<usize>,
    /// Whether values are those of single nodes.
    single: bool,
}

impl Key {
    fn value(&mut self, value: &str) -> usize {
        let number = self.values.number(value);
        self.numbers.resize(self.values.len(), Numbers::default());
        self.nodes.resize(self.values.len(), 0);
        number
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Where {
    Nowhere,
    Value(usize),
    Alone(Numbers),
}

/// What a node has, and adds.
#[derive(Debug, Clone, Default)]
struct Part {
    values: Vec<Option<usize>>,
    numbers: Vec<Numbers>,
    selecting: usize,
    heard: usize,
}

struct Near {
    pod: PodInfo,
    own: Own,
    /// Whether other pods' labels matter.
    asks: bool,
    /// Whether other pods' preferences matter.
    listens: bool,
    hard_weight: i64,
    keys: Vec<Key>,
    nodes: Vec<Part>,
    /// How many terms there are, its own and those of others, that select namespaces: they hold for those of now.
    selecting: usize,
    /// How many pods there are that say something of others.
    heard: usize,
    namespaces: Vec<Arc<Namespace>>,
    /// How many values of single nodes are those of several.
    crowded: usize,
    /// At how many places there are pods that all required terms mean.
    met: usize,
    /// Whether nodes have places already.
    placing: bool,
    /// Whether a key came after that: it is not in the places of nodes that did not change since.
    outgrown: bool,
    places: Numbered<Vec<Where>>,
}

impl Near {
    /// What one pod adds by topology key; the second number is of terms that select namespaces.
    fn says(&self, other: &PodInfo) -> (BTreeMap<String, Numbers>, usize) {
        let mut said = BTreeMap::<String, Numbers>::new();
        let terms = other.affinity();
        if !self.asks && terms.is_empty() {
            return (said, 0);
        }
        let mut at = |term: &AffinityTerm, change: fn(&mut Numbers, i64), amount: i64| {
            change(said.entry(term.topology_key.clone()).or_default(), amount);
        };
        let labels = self.own.namespace_labels.as_ref();
        let means = |term: &&AffinityTerm| term.matches(&self.pod, labels);
        for term in terms.required_anti.iter().filter(means) {
            at(term, |own, amount| own.existing_anti += amount, 1);
        }
        if all_match(&self.own.required, other) {
            for term in &self.own.required {
                at(term, |own, amount| own.affinity += amount, 1);
            }
        }
        for term in self.own.required_anti.iter().filter(|term| term.matches(other, None)) {
            at(term, |own, amount| own.anti += amount, 1);
        }
        let soft: fn(&mut Numbers, i64) = |own, amount| own.soft += amount;
        for term in self.own.preferred.iter().filter(|term| term.matches(other, None)) {
            at(term, soft, term.weight);
        }
        for term in self.own.preferred_anti.iter().filter(|term| term.matches(other, None)) {
            at(term, soft, -term.weight);
        }
        if self.listens {
            for term in terms.required.iter().filter(means) {
                at(term, soft, self.hard_weight);
            }
            for term in terms.preferred.iter().filter(means) {
                at(term, soft, term.weight);
            }
            for term in terms.preferred_anti.iter().filter(means) {
                at(term, soft, -term.weight);
            }
        }
        let kinds =
            [&terms.required, &terms.required_anti, &terms.preferred, &terms.preferred_anti];
        let selecting = kinds.into_iter().flatten().filter(|own| selects_namespaces(own)).count();
        (said, selecting)
    }

    /// The number of a key; a new one is unknown of all nodes seen before.
    fn key(&mut self, name: &str) -> usize {
        if let Some(index) = self.keys.iter().position(|own| own.name == name) {
            return index;
        }
        self.outgrown |= self.placing;
        self.keys.push(Key {
            name: name.to_owned(),
            values: Numbered::default(),
            numbers: Vec::new(),
            nodes: Vec::new(),
            single: name == HOSTNAME,
        });
        self.keys.len() - 1
    }

    fn add_numbers(&mut self, key: usize, value: usize, numbers: Numbers, sign: i64) {
        let own = &mut self.keys[key].numbers[value];
        let before = own.affinity != 0;
        own.add(numbers, sign);
        let after = own.affinity != 0;
        self.met = self.met + usize::from(after) - usize::from(before);
    }

    fn add_node(&mut self, key: usize, value: usize) {
        let own = &mut self.keys[key];
        own.nodes[value] += 1;
        self.crowded += usize::from(own.single && own.nodes[value] == 2);
    }

    fn forget(&mut self, index: usize) {
        let part = std::mem::take(&mut self.nodes[index]);
        self.selecting -= part.selecting;
        self.heard -= part.heard;
        for (key, value) in part.values.iter().enumerate() {
            let Some(value) = *value else { continue };
            let numbers = part.numbers.get(key).copied().unwrap_or_default();
            self.add_numbers(key, value, numbers, -1);
            let own = &mut self.keys[key];
            own.nodes[value] -= 1;
            self.crowded -= usize::from(own.single && own.nodes[value] == 1);
        }
    }

    /// Brings in what a pod on the node adds.
    fn hear(&mut self, index: usize, node: &NodeInfo, pod: &PodInfo, sign: i64) {
        let (said, selecting) = self.says(pod);
        let heard = usize::from(!pod.affinity().is_empty());
        let part = &mut self.nodes[index];
        if sign > 0 {
            part.selecting += selecting;
            self.selecting += selecting;
            part.heard += heard;
            self.heard += heard;
        } else {
            let gone = selecting.min(part.selecting);
            part.selecting -= gone;
            self.selecting -= gone;
            let gone = heard.min(part.heard);
            part.heard -= gone;
            self.heard -= gone;
        }
        for (name, numbers) in said {
            let key = self.key(&name);
            let Some(value) = self.value_of(index, key, node) else { continue };
            self.add_numbers(key, value, numbers, sign);
            let part = &mut self.nodes[index];
            if part.numbers.len() <= key {
                part.numbers.resize(key + 1, Numbers::default());
            }
            part.numbers[key].add(numbers, sign);
        }
    }

    /// The node's value of a key, which it is noted to have.
    fn value_of(&mut self, index: usize, key: usize, node: &NodeInfo) -> Option<usize> {
        let known = self.nodes[index].values.len();
        for missing in known..=key {
            let name = self.keys[missing].name.clone();
            let value = node.label(&name).map(|value| self.keys[missing].value(value));
            if let Some(value) = value {
                self.add_node(missing, value);
            }
            self.nodes[index].values.push(value);
        }
        self.nodes[index].values[key]
    }

    fn place_of(&mut self, index: usize, node: &NodeInfo) -> u64 {
        self.placing = true;
        if let Some(last) = self.keys.len().checked_sub(1) {
            self.value_of(index, last, node);
        }
        let values = self.nodes[index].values.iter().zip(&self.keys);
        let place: Vec<_> = values
            .map(|(value, key)| match value {
                None => Where::Nowhere,
                Some(value) if key.single => Where::Alone(key.numbers[*value]),
                Some(value) => Where::Value(*value),
            })
            .collect();
        self.places.number(&place) as u64
    }

    /// The numbers of a place at each key; `None` where it lacks the label.
    fn numbers(&self, place: u64) -> impl Iterator<Item = (&str, Option<Numbers>)> {
        let all =
            self.places.value(place).map(Vec::as_slice).unwrap_or_default().iter().zip(&self.keys);
        all.map(|(at, key)| {
            let numbers = match at {
                Where::Nowhere => None,
                Where::Value(value) => key.numbers.get(*value).copied(),
                Where::Alone(numbers) => Some(*numbers),
            };
            (key.name.as_str(), numbers)
        })
    }

    /// Whether these are the namespaces that selectors were held against, in the same state.
    fn has_namespaces(&self, now: &[Arc<Namespace>]) -> bool {
        now.len() == self.namespaces.len()
            && now.iter().zip(&self.namespaces).all(|(own, other)| Arc::ptr_eq(own, other))
    }

    fn at(&self, place: u64, name: &str) -> Option<Numbers> {
        self.numbers(place).find(|(own, _)| *own == name).and_then(|(_, numbers)| numbers)
    }

    /// The keys that the pod itself asks for are known from the start, so that nodes without them are told apart.
    fn know_own_keys(&mut self) {
        let own = self.own.required.iter().chain(&self.own.required_anti);
        let names: Vec<_> = own.map(|term| term.topology_key.clone()).collect();
        for name in names {
            self.key(&name);
        }
    }
}

impl Places for Near {
    fn observe(&mut self, index: usize, node: &NodeInfo) {
        if self.nodes.is_empty() {
            self.know_own_keys();
        }
        if self.nodes.len() <= index {
            self.nodes.resize(index + 1, Part::default());
        }
        self.forget(index);
        let others = if self.asks { node.pods() } else { node.pods_with_affinity() };
        for other in others {
            self.hear(index, node, other, 1);
        }
    }

    fn pod_changed(&mut self, index: usize, node: &NodeInfo, pod: &PodInfo, sign: i64) {
        self.hear(index, node, pod, sign);
    }

    fn place(&mut self, index: usize, node: &NodeInfo) -> u64 {
        self.place_of(index, node)
    }

    fn is_exact(&self, _: &PodInfo, nodes: &Snapshot) -> bool {
        !self.outgrown
            && self.crowded == 0
            && (self.selecting == 0 || self.has_namespaces(&nodes.objects().namespaces.all()))
    }

    fn is_of_kind(&self) -> bool {
        self.heard == 0
    }

    fn fits(&self, place: u64) -> bool {
        let required = &self.own.required;
        let there = |term: &AffinityTerm| self.at(place, &term.topology_key);
        if required.iter().any(|term| there(term).is_none()) {
            return false;
        }
        let met = required.iter().all(|term| there(term).is_some_and(|own| own.affinity > 0));
        // The first of pods that want to be with their like may go anywhere.
        let first = self.met == 0 && all_match(required, &self.pod);
        if !met && !first {
            return false;
        }
        self.own.required_anti.iter().all(|term| there(term).is_none_or(|own| own.anti <= 0))
            && self.numbers(place).all(|(_, own)| own.is_none_or(|own| own.existing_anti <= 0))
    }

    fn is_relative(&self) -> bool {
        false
    }

    fn score(&self, place: u64) -> i64 {
        self.numbers(place).filter_map(|(_, own)| own).map(|own| own.soft).sum()
    }
}
