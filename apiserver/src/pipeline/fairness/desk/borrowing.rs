//! How levels lend seats to each other: every ten seconds each gets so many as it wanted of late, within its bounds.
//!
//! ```text
//!   seats in use and waited for ──> average, deviation, most of a period ──> smoothed ─┐
//!   kept <= what the level may have <= nominal and borrowed <──────────── shared out <─┘
//! ```

use super::{Levels, level::Level};
use std::time::Duration;

/// How often seats are shared out anew.
pub(super) const PERIOD: Duration = Duration::from_secs(10);
/// How much of the past a period keeps: half of it after five minutes.
const MEMORY: f64 = 0.977;
/// No level wants less than this.
const LEAST: f64 = 0.001;
/// How far sums of what is no whole number may be off.
const EPSILON: f64 = 1e-7;

/// How many seats a level wants, over time.
#[derive(Debug, Clone, Copy, Default)]
pub(in super::super) struct Demand {
    seats: f64,
    since: Duration,
    elapsed: f64,
    sum: f64,
    squares: f64,
    most: f64,
    /// Of the last period: most, average and deviation.
    pub(in super::super) high: usize,
    pub(in super::super) average: f64,
    pub(in super::super) deviation: f64,
    /// Of all periods, the later ones before the earlier ones.
    pub(in super::super) smoothed: f64,
}

impl Demand {
    pub(super) fn from(now: Duration) -> Self {
        Self { since: now, ..Self::default() }
    }

    pub(super) fn set(&mut self, seats: usize, now: Duration) {
        self.integrate(now);
        self.seats = seats as f64;
        self.most = self.most.max(self.seats);
    }

    fn integrate(&mut self, now: Duration) {
        let time = now.saturating_sub(self.since).as_secs_f64();
        self.since = self.since.max(now);
        self.elapsed += time;
        self.sum += time * self.seats;
        self.squares += time * self.seats * self.seats;
    }

    /// Ends a period.
    fn close(&mut self, now: Duration) {
        self.integrate(now);
        self.high = self.most.round() as usize;
        if self.elapsed > 0.0 {
            self.average = self.sum / self.elapsed;
            let variance = self.squares / self.elapsed - self.average * self.average;
            self.deviation = if variance > 0.0 { variance.sqrt() } else { 0.0 };
            let envelope = self.average + self.deviation;
            self.smoothed = envelope.max(MEMORY * self.smoothed + (1.0 - MEMORY) * envelope);
        }
        (self.elapsed, self.sum, self.squares, self.most) = (0.0, 0.0, 0.0, self.seats);
    }
}

/// What one level is to get.
#[derive(Debug, Clone, Copy)]
struct Item {
    wanted: f64,
    least: f64,
    most: f64,
}

/// Shares the seats of all levels out anew.
pub(super) fn adjust(levels: &mut Levels, now: Duration) {
    let named = levels.iter_mut().filter(|(name, _)| !name.is_empty());
    let mut all: Vec<&mut Level> = named.map(|(_, level)| level).collect();
    let total: usize = all.iter().map(|level| level.limits.nominal).sum();
    for level in &mut all {
        level.sync(now);
        level.demand.close(now);
    }
    // Whoever is exempt is served, with the seats of others.
    let (exempt, mut limited): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|level| level.limits.exempt);
    let mut left = total;
    for level in exempt {
        level.current = level.limits.kept.max(level.demand.high);
        left = left.saturating_sub(level.current);
    }
    let kept: usize = limited.iter().map(|level| level.limits.kept).sum();
    let wanted: usize = limited.iter().map(|level| least(level)).sum();
    if left <= kept {
        limited.iter_mut().for_each(|level| level.current = level.limits.kept);
    } else if left <= wanted {
        let part = (left - kept) as f64 / (wanted - kept) as f64;
        for level in &mut limited {
            let more = (least(level) - level.limits.kept) as f64 * part;
            level.current = level.limits.kept + more.round() as usize;
        }
    } else {
        let item = |level: &&mut Level| {
            let least = least(level) as f64;
            let wanted = least.max(level.demand.smoothed);
            Item { wanted, least, most: level.limits.most as f64 }
        };
        let items: Vec<_> = limited.iter().map(item).collect();
        // What cannot be shared out stays as it is.
        for (level, seats) in limited.iter_mut().zip(allocate(total, &items).unwrap_or_default()) {
            level.current = seats.round() as usize;
        }
    }
}

/// What a level gets at least: what it wanted at the most of its own seats.
fn least(level: &Level) -> usize {
    level.limits.kept.max(level.limits.nominal.min(level.demand.high))
}

/// So many seats shared out, all getting the same part of what they want but for their bounds; `None` where the bounds
/// leave no way.
fn allocate(total: usize, items: &[Item]) -> Option<Vec<f64>> {
    let total = total as f64;
    let wanted = |item: &Item| item.wanted.max(LEAST);
    let at = |part: f64| -> Vec<f64> {
        let seats = |item: &Item| (part * wanted(item)).min(item.most).max(item.least);
        items.iter().map(seats).collect()
    };
    let sum = |seats: &[f64]| seats.iter().sum::<f64>();
    let (least, most) = (sum(&at(0.0)), items.iter().map(|item| item.most).sum::<f64>());
    if least - total > EPSILON || total - most > EPSILON {
        return None;
    }
    if least - total > -EPSILON {
        return Some(at(0.0));
    }
    if total - most > -EPSILON {
        return Some(items.iter().map(|item| item.most).collect());
    }
    // The sum is a line from one bound to the next.
    let bounds = |item: &Item| [item.least / wanted(item), item.most / wanted(item)];
    let mut bounds: Vec<f64> = items.iter().flat_map(bounds).collect();
    bounds.sort_by(f64::total_cmp);
    let (mut from, mut reached) = (0.0, least);
    for bound in bounds {
        let next = sum(&at(bound));
        if next >= total {
            let rise = next - reached;
            let part = if rise > 0.0 { (total - reached) / rise } else { 0.0 };
            return Some(at(from + (bound - from) * part));
        }
        (from, reached) = (bound, next);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(total: usize, items: &[[f64; 3]]) -> Option<Vec<f64>> {
        let item =
            |[wanted, least, most]: &[f64; 3]| Item { wanted: *wanted, least: *least, most: *most };
        let items: Vec<_> = items.iter().map(item).collect();
        let rounded =
            |seats: Vec<f64>| seats.iter().map(|seats| (seats * 1e4).round() / 1e4).collect();
        allocate(total, &items).map(rounded)
    }

    #[test]
    fn seats_are_shared_out_as_they_are_wanted_within_bounds() {
        assert_eq!(shared(12, &[[1.0, 0.0, 50.0], [2.0, 0.0, 50.0]]), Some(vec![4.0, 8.0]));
        // Who may have no more leaves the rest to others, and who has to have some takes it from them.
        assert_eq!(shared(12, &[[1.0, 0.0, 50.0], [2.0, 0.0, 5.0]]), Some(vec![7.0, 5.0]));
        assert_eq!(shared(12, &[[9.0, 9.0, 50.0], [9.0, 0.0, 50.0]]), Some(vec![9.0, 3.0]));
        assert_eq!(
            shared(100, &[[50.0, 30.0, 60.0], [50.0, 0.0, 10.0], [0.0, 0.0, 700.0]]),
            Some(vec![60.0, 10.0, 30.0])
        );
        assert_eq!(shared(0, &[[1.0, 0.0, 5.0]]), Some(vec![0.0]));
        assert_eq!(shared(5, &[[1.0, 5.0, 5.0]]), Some(vec![5.0]));
        assert_eq!(shared(5, &[[1.0, 0.0, 4.0]]), None);
        assert_eq!(shared(5, &[[7.0, 6.0, 9.0]]), None);
    }

    #[test]
    fn demand_is_remembered_and_fades() {
        let second = Duration::from_secs(1);
        let mut demand = Demand::from(Duration::ZERO);
        demand.set(30, Duration::ZERO);
        demand.set(0, 5 * second);
        demand.close(10 * second);
        assert_eq!((demand.high, demand.average, demand.deviation), (30, 15.0, 15.0));
        assert_eq!(demand.smoothed, 30.0);
        demand.close(20 * second);
        assert_eq!((demand.high, demand.average, demand.deviation), (0, 0.0, 0.0));
        assert_eq!(demand.smoothed, 30.0 * MEMORY);
        // Half of it is left after five minutes.
        (3..=31).for_each(|period| demand.close(10 * period * second));
        assert!((14.0..16.0).contains(&demand.smoothed), "{}", demand.smoothed);
    }
}
