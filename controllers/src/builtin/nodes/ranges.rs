//! How much of the nodes' ranges is given away, under the original's names.

use crate::builtin::figures::{Labels, Place, growing, labels};
use ipnet::IpNet;
use kubeplane_telemetry::Metrics;
use parking_lot::Mutex;
use prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram,
};
use std::{collections::HashSet, sync::atomic::AtomicU64};

/// A range, and what is taken of it.
#[derive(Debug)]
struct Range {
    whole: IpNet,
    /// How many bits of an address are those of a part.
    size: u8,
    taken: HashSet<IpNet>,
}

impl Range {
    /// How many parts it has.
    fn most(&self) -> i64 {
        let bits = u32::from(self.size - self.whole.prefix_len());
        1_i64.checked_shl(bits).filter(|most| *most > 0).unwrap_or(i64::MAX)
    }

    /// The parts that `other` touches.
    fn touched(&self, other: IpNet) -> Vec<IpNet> {
        let within = if self.whole.contains(&other) {
            other
        } else if other.contains(&self.whole) {
            self.whole
        } else {
            return Vec::new();
        };
        if within.prefix_len() > self.size {
            return IpNet::new(within.addr(), self.size)
                .map(|part| part.trunc())
                .into_iter()
                .collect();
        }
        within.subnets(self.size).into_iter().flatten().collect()
    }
}

/// What is told of all ranges.
#[derive(Debug)]
pub(super) struct Ranges {
    all: Mutex<Vec<Range>>,
    allocations: Family<Labels<1>, Counter>,
    releases: Family<Labels<1>, Counter>,
    used: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    tries: Family<Labels<1>, Histogram>,
}

fn label(range: IpNet) -> Labels<1> {
    labels([("clusterCIDR", &*range.to_string())])
}

impl Ranges {
    /// Of ranges, each with the size of its parts.
    pub(super) fn shown(ranges: &[(IpNet, u8)], metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "node_ipam_controller");
        let most: Family<Labels<1>, Gauge> =
            place.show("cirdset_max_cidrs", "How many parts a range has");
        let tries = Family::new_with_constructor((|| growing(1.0, 5.0, 5)) as fn() -> Histogram);
        let tries = place.show_this(
            "cidrset_allocation_tries_per_request",
            "Parts that were taken before one was found that is not",
            tries,
        );
        let range = |(whole, size): &(IpNet, u8)| {
            let size = (*size).max(whole.prefix_len());
            let range = Range { whole: *whole, size, taken: HashSet::new() };
            most.get_or_create(&label(*whole)).set(range.most());
            range
        };
        Self {
            all: Mutex::new(ranges.iter().map(range).collect()),
            allocations: place.show("cidrset_cidrs_allocations", "Parts of a range given away"),
            releases: place.show("cidrset_cidrs_releases", "Parts of a range given back"),
            used: place.show("cidrset_usage_cidrs", "Which share of a range is given away"),
            tries,
        }
    }

    /// Somebody has these addresses.
    pub(super) fn occupy(&self, other: IpNet) {
        self.note(other, &self.allocations, |range, part| range.taken.insert(part));
    }

    /// Nobody has them any more.
    pub(super) fn release(&self, other: IpNet) {
        self.note(other, &self.releases, |range, part| range.taken.remove(&part));
    }

    fn note(
        &self,
        other: IpNet,
        counts: &Family<Labels<1>, Counter>,
        change: fn(&mut Range, IpNet) -> bool,
    ) {
        for range in self.all.lock().iter_mut() {
            let touched = range.touched(other);
            if touched.is_empty() {
                continue;
            }
            let label = label(range.whole);
            for part in touched {
                if change(range, part) {
                    counts.get_or_create(&label).inc();
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
            let share = range.taken.len() as f64 / range.most() as f64;
            self.used.get_or_create(&label).set(share);
        }
    }

    /// A free part of this range was found after so many that are not.
    pub(super) fn found(&self, whole: IpNet, tries: u32) {
        self.tries.get_or_create(&label(whole)).observe(f64::from(tries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_counted_once_however_often_they_are_told_of() {
        let metrics = Metrics::new();
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let ranges =
            Ranges::shown(&[(net("10.8.0.0/22"), 24), (net("fd00::/62"), 64)], Some(&metrics));
        ranges.occupy(net("10.8.1.0/24"));
        ranges.occupy(net("10.8.1.0/24"));
        ranges.occupy(net("10.8.1.128/25"));
        ranges.occupy(net("10.8.2.0/23"));
        ranges.occupy(net("10.9.0.0/24"));
        ranges.release(net("10.8.3.0/24"));
        ranges.release(net("10.8.3.0/24"));
        ranges.occupy(net("fd00::/16"));
        ranges.found(net("10.8.0.0/22"), 3);
        let text = metrics.encode_plain();
        let (v4, v6) = ("{clusterCIDR=\"10.8.0.0/22\"} ", "{clusterCIDR=\"fd00::/62\"} ");
        for line in [
            format!("node_ipam_controller_cirdset_max_cidrs{v4}4"),
            format!("node_ipam_controller_cidrset_cidrs_allocations_total{v4}3"),
            format!("node_ipam_controller_cidrset_cidrs_releases_total{v4}1"),
            format!("node_ipam_controller_cidrset_usage_cidrs{v4}0.5"),
            format!("node_ipam_controller_cidrset_allocation_tries_per_request_count{v4}1"),
            format!("node_ipam_controller_cidrset_cidrs_allocations_total{v6}4"),
            format!("node_ipam_controller_cidrset_usage_cidrs{v6}1.0"),
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
    }
}
