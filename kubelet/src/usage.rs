//! What containers and the node use of processors: from totals to rates.

use parking_lot::Mutex;
use std::{collections::HashMap, fs, time::Duration};

/// Looks that are closer together give no rate.
const SHORTEST: Duration = Duration::from_secs(1);
/// A look that is older is no longer compared to.
const LONGEST: Duration = Duration::from_secs(30);
/// For whom nobody asked in this time is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// The nanoseconds of a tick of the system's counters: a hundredth of a second, whatever its timer does.
const TICK: u64 = 10_000_000;

/// A total of nanoseconds, and when it was seen.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Duration,
    total: u64,
}

#[derive(Debug)]
struct Looks {
    /// What is compared to, and the look that will be next.
    base: Look,
    next: Look,
    rate: Option<u64>,
}

/// Remembers totals to tell rates.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<String, Looks>>);

impl Rates {
    /// The rate in billionths of processors of what has used `total` nanoseconds by `now`; `None` until it was seen
    /// twice.
    pub(crate) fn of(&self, id: &str, total: u64, now: Duration) -> Option<u64> {
        let look = Look { at: now, total };
        let mut all = self.0.lock();
        all.retain(|_, looks| now.saturating_sub(looks.next.at) < FORGOTTEN);
        let looks = all.entry(id.to_owned()).or_insert(Looks {
            base: look,
            next: look,
            rate: (total == 0).then_some(0),
        });
        let passed = now.saturating_sub(looks.base.at);
        if passed >= SHORTEST {
            let nanos = u128::from(total.saturating_sub(looks.base.total)) * 1_000_000_000;
            looks.rate = u64::try_from(nanos / passed.as_nanos().max(1)).ok();
        }
        if now.saturating_sub(looks.next.at) >= SHORTEST {
            // One look lies between, so that who asks often is not told of moments.
            if passed >= LONGEST / 2 {
                looks.base = looks.next;
            }
            looks.next = look;
        }
        looks.rate
    }
}

/// The nanoseconds all processors of the machine have worked, from the counters of the system.
pub(crate) fn machine_total() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let ticks = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = ticks.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    // All but idling (the fourth) and waiting for disks (the fifth); guests are part of users.
    let busy = ticks.iter().enumerate().take(8).filter(|(at, _)| *at != 3 && *at != 4);
    let busy: u64 = busy.map(|(_, ticks)| ticks).sum();
    Some(busy.saturating_mul(TICK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_two_looks() {
        let rates = Rates::default();
        let at = Duration::from_millis;
        assert_eq!(rates.of("a", 5_000_000_000, at(0)), None);
        assert_eq!(rates.of("a", 5_050_000_000, at(500)), None);
        assert_eq!(rates.of("a", 5_200_000_000, at(2000)), Some(100_000_000));
        assert_eq!(rates.of("a", 5_200_000_001, at(2100)), Some(95_238_095));
        assert_eq!(rates.of("b", 0, at(2100)), Some(0));
    }
}
