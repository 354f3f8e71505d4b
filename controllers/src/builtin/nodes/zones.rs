use crate::builtin::Settings;
use k8s_openapi::api::core::v1::Node;
use std::{collections::BTreeMap, time::Duration};

/// How fast nodes may be tainted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates {
    /// Nodes per second of a zone in normal times.
    normal: f64,
    /// The same in a large zone in which most nodes are not ready.
    cautious: f64,
    /// Zones up to this size are left alone when most of their nodes are not ready.
    small: usize,
    /// Which part of its nodes is most of a zone.
    most: f64,
}

impl Rates {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            normal: settings.node_eviction_rate,
            cautious: settings.secondary_node_eviction_rate,
            small: settings.large_cluster_size_threshold,
            most: settings.unhealthy_zone_threshold,
        }
    }
}

const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// What a zone is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Normal,
    Partial,
    Full,
}

/// Whether a node counts for the state of its zone.
pub(super) fn counts(node: &Node) -> bool {
    !node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(EXCLUDED))
}

const REGION: [&str; 2] =
    ["failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"];
const ZONE: [&str; 2] = ["failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"];

/// The name of a node's zone, region included; where both are there, labels of before 1.17 count.
pub(super) fn zone_of(node: &Node) -> String {
    let label = |part: [&str; 2]| {
        let labels = node.metadata.labels.as_ref()?;
        part.into_iter().find_map(|name| labels.get(name)).map(String::as_str)
    };
    let region = label(REGION).unwrap_or_default();
    let zone = label(ZONE).unwrap_or_default();
    if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
}

/// The state of a zone with so many nodes that are ready and that are not.
fn state(ready: usize, unready: usize, most: f64) -> State {
    #[expect(clippy::cast_precision_loss, reason = "numbers of nodes are small")]
    let share = unready as f64 / (ready + unready).max(1) as f64;
    if ready == 0 && unready > 0 {
        State::Full
    } else if unready > 2 && share >= most {
        State::Partial
    } else {
        State::Normal
    }
}

/// How fast nodes of each zone may be tainted, so that a broken network does not evict every pod.
#[derive(Debug)]
pub(super) struct Zones {
    rates: Rates,
    zones: BTreeMap<String, Zone>,
    /// No node of any zone is ready: the fault is more likely on this side.
    stopped: bool,
}

#[derive(Debug)]
struct Zone {
    rate: f64,
    tokens: f64,
    at: Duration,
}

/// What a change of the zones' states asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    /// Nothing is ready any more: take the taints away.
    Stop,
    /// Something is ready again: give every node a new grace period.
    Resume,
}

impl Zones {
    pub(super) fn new(rates: Rates) -> Self {
        Self { rates, zones: BTreeMap::new(), stopped: false }
    }

    /// The zones that were there at the last look.
    pub(super) fn names(&self) -> Vec<String> {
        self.zones.keys().cloned().collect()
    }

    /// Takes in how many nodes are ready and not ready in each zone; one whose nodes do not count has none of either.
    pub(super) fn update(
        &mut self,
        counts: &BTreeMap<String, (usize, usize)>,
        now: Duration,
    ) -> Turn {
        let rates = self.rates;
        let states = counts.iter().map(|(zone, (ready, unready))| {
            (zone, (state(*ready, *unready, rates.most), ready + unready))
        });
        let states: BTreeMap<_, _> = states.collect();
        let mut counting = states.values().filter(|(_, size)| *size > 0).peekable();
        let stop = counting.peek().is_some() && counting.all(|(state, _)| *state == State::Full);
        self.zones.retain(|zone, _| counts.contains_key(zone));
        for (zone, (state, size)) in states {
            let rate = match state {
                _ if stop => 0.0,
                State::Normal | State::Full => rates.normal,
                State::Partial if size > rates.small => rates.cautious,
                State::Partial => 0.0,
            };
            let zone =
                self.zones.entry(zone.clone()).or_insert(Zone { rate, tokens: 1.0, at: now });
            zone.refill(now);
            zone.rate = rate;
        }
        let turn = match (self.stopped, stop) {
            (false, true) => Turn::Stop,
            (true, false) => Turn::Resume,
            _ => Turn::None,
        };
        self.stopped = stop;
        turn
    }

    /// Whether no node of any zone was ready at the last look.
    pub(super) fn are_stopped(&self) -> bool {
        self.stopped
    }

    /// A turn could not be carried out whole: the next update takes it again.
    pub(super) fn repeat(&mut self) {
        self.stopped = !self.stopped;
    }

    /// Whether a node of this zone may be tainted now.
    pub(super) fn take(&mut self, zone: &str, now: Duration) -> bool {
        let Some(zone) = self.zones.get_mut(zone) else { return false };
        zone.refill(now);
        if zone.rate <= 0.0 || zone.tokens < 1.0 {
            return false;
        }
        zone.tokens -= 1.0;
        true
    }
}

impl Zone {
    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.tokens = passed.mul_add(self.rate, self.tokens).min(1.0);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, usize, usize)]) -> BTreeMap<String, (usize, usize)> {
        list.iter().map(|(zone, ready, unready)| ((*zone).to_owned(), (*ready, *unready))).collect()
    }

    #[test]
    fn states_follow_the_share_of_unready_nodes() {
        for (ready, unready, expected) in [
            (3, 0, State::Normal),
            (1, 2, State::Normal),
            (2, 3, State::Partial),
            (0, 1, State::Full),
        ] {
            assert_eq!(state(ready, unready, 0.55), expected, "{ready} ready, {unready} not");
        }
    }

    #[test]
    fn one_node_in_ten_seconds_and_none_when_all_are_down() {
        let seconds = Duration::from_secs;
        let mut zones = Zones::new(Rates::of(&Settings::default()));
        assert_eq!(zones.update(&counts(&[("a", 5, 1), ("b", 5, 0)]), seconds(0)), Turn::None);
        assert!(zones.take("a", seconds(0)));
        assert!(!zones.take("a", seconds(9)));
        assert!(zones.take("b", seconds(9)));
        assert!(zones.take("a", seconds(10)));
        assert_eq!(zones.update(&counts(&[("a", 0, 6), ("b", 0, 5)]), seconds(60)), Turn::Stop);
        assert!(!zones.take("a", seconds(90)));
        let none = counts(&[("a", 0, 6), ("b", 0, 5)]);
        assert_eq!(zones.update(&none, seconds(91)), Turn::None);
        zones.repeat();
        assert_eq!(zones.update(&none, seconds(92)), Turn::Stop, "the first try failed");
        assert!(!zones.take("a", seconds(93)));
        assert_eq!(zones.update(&counts(&[("a", 0, 6), ("b", 1, 4)]), seconds(100)), Turn::Resume);
        assert!(zones.take("a", seconds(100)));
        assert!(
            !zones.take("b", seconds(100)),
            "a small zone in which most nodes are down is left alone"
        );
    }

    #[test]
    fn a_zone_whose_nodes_do_not_count_has_the_normal_rate_and_stops_nothing() {
        let seconds = Duration::from_secs;
        let settings = Settings { node_eviction_rate: 0.2, ..Settings::default() };
        let mut zones = Zones::new(Rates::of(&settings));
        let both = counts(&[("a", 0, 0), ("b", 3, 0)]);
        assert_eq!(zones.update(&both, seconds(0)), Turn::None);
        assert!(zones.take("a", seconds(0)) && !zones.take("a", seconds(4)));
        assert!(zones.take("a", seconds(5)), "a node in five seconds");
        let down = counts(&[("a", 0, 0), ("b", 0, 3)]);
        assert_eq!(zones.update(&down, seconds(10)), Turn::Stop, "it is not well by that");
        let mut alone = Zones::new(Rates::of(&settings));
        assert_eq!(alone.update(&counts(&[("a", 0, 0)]), seconds(0)), Turn::None);
        assert!(alone.take("a", seconds(0)));
    }

    #[test]
    fn the_older_labels_of_a_zone_count_first() {
        let zone = |labels: serde_json::Value| {
            let node = serde_json::json!({"metadata": {"labels": labels}});
            zone_of(&serde_json::from_value(node).unwrap())
        };
        let (old, new) = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
        assert_eq!(zone(serde_json::json!({})), "");
        assert_eq!(zone(serde_json::json!({new: "z"})), ":\0:z");
        assert_eq!(zone(serde_json::json!({new: "z", old: "y"})), ":\0:y");
        let region = "topology.kubernetes.io/region";
        assert_eq!(zone(serde_json::json!({old: "y", region: "r"})), "r:\0:y");
    }
}
