//! Who is served now, who waits, and who is sent away.
//!
//! ```text
//!   ask ─┬─ a seat of the level, or one that others leave idle ──> Seat ── dropped ──> the next that waits
//!        ├─ none: in the shortest queue of the flow's hand ──────> Waiting
//!        └─ none, and that queue is full ────────────────────────> refused
//! ```

mod dealer;
mod level;

pub(super) use level::{Entry, Level, Work};

use super::plan::By;
use crate::info::RequestInfo;
use kubeplane_clock::SharedClock;
use kubeplane_core::auth::UserInfo;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Requests served at once, those of exempt levels not counted.
pub(super) const SEATS: usize = 600;
/// Where requests wait that no schema is about.
const UNPLACED: Queuing = Queuing { queues: 1, hand: 1, length: 6400 };

/// What a level may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Whoever asks is served.
    pub(super) exempt: bool,
    /// Seats that are its own.
    pub(super) nominal: usize,
    /// Of those, the ones that it lends to nobody.
    pub(super) kept: usize,
    /// Seats it may have with those of others that are idle.
    pub(super) most: usize,
    /// Where requests wait; without it they are refused.
    pub(super) queuing: Option<Queuing>,
}

/// The queues of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queuing {
    /// How many there are.
    pub(super) queues: usize,
    /// How many of them a flow may stand in.
    pub(super) hand: usize,
    /// How many requests wait in one.
    pub(super) length: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let queuing = Some(UNPLACED);
        Self { exempt: false, nominal: SEATS, kept: 0, most: SEATS, queuing }
    }
}

/// A request that asks.
#[derive(Debug)]
pub(super) struct Asked {
    /// The name of its schema.
    pub(super) schema: Arc<str>,
    /// What tells its flow from others of the schema.
    pub(super) by: Option<By>,
    pub(super) info: Arc<RequestInfo>,
    pub(super) user: Arc<UserInfo>,
    /// Of its flow.
    pub(super) hash: u64,
}

pub(super) type Levels = BTreeMap<Arc<str>, Level>;

#[derive(Debug, Default)]
struct State {
    levels: Levels,
    /// How many have asked.
    asked: u64,
}

/// The seats of a server.
#[derive(Debug)]
pub(crate) struct Desk {
    state: Mutex<State>,
    clock: SharedClock,
}

/// What a request is told.
#[derive(Debug)]
pub(super) enum Turn {
    Now(Seat),
    Later(Waiting),
    /// Why, in the original's words.
    Never(&'static str),
}

/// Where a request is known.
#[derive(Debug, Clone)]
struct At {
    desk: Arc<Desk>,
    level: Arc<str>,
    queue: Option<usize>,
    id: u64,
}

/// A seat, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat(At);

/// A place in a queue, left when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    at: At,
    told: oneshot::Receiver<()>,
    seated: bool,
}

impl Desk {
    pub(crate) fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), clock })
    }

    /// Gives levels what they may have from now on. Those that are left out go when nobody is left in them.
    pub(super) fn configure(&self, wanted: &BTreeMap<Arc<str>, Limits>) {
        let now = self.clock.elapsed();
        let levels = &mut self.state.lock().levels;
        levels.retain(|name, level| {
            level.sync(now);
            level.limits.kept = 0;
            level.ending = !wanted.contains_key(name);
            !level.ending || level.used > 0 || level.waiting > 0
        });
        for (name, limits) in wanted {
            levels.entry(name.clone()).or_default().limits = *limits;
        }
        seat_next(levels, "", now);
    }

    /// Asks for a seat.
    pub(super) fn ask(self: &Arc<Self>, level: &Arc<str>, asked: Asked) -> Turn {
        let now = self.clock.elapsed();
        let state = &mut *self.state.lock();
        state.asked += 1;
        let (levels, id) = (&mut state.levels, state.asked);
        let may = may_seat(levels, level);
        let own = match levels.get_mut(level) {
            Some(own) => own,
            None => levels.entry(level.clone()).or_default(),
        };
        own.sync(now);
        let at = |queue| At { desk: self.clone(), level: level.clone(), queue, id };
        let (hash, entry) = (asked.hash, own.entry(asked, now));
        let Some(queuing) = own.limits.queuing else {
            if may {
                own.serve(None, id, entry, now);
                return Turn::Now(Seat(at(None)));
            }
            own.counts.rejected += 1;
            return Turn::Never("concurrency-limit");
        };
        let queue = own.choose(hash, queuing);
        if may && own.waiting == 0 {
            own.serve(Some(queue), id, entry, now);
            return Turn::Now(Seat(at(Some(queue))));
        }
        if !may && own.length(queue) >= queuing.length {
            own.counts.rejected += 1;
            return Turn::Never("queue-full");
        }
        let told = own.push(queue, id, entry);
        if may {
            seat_next(levels, level, now);
        }
        Turn::Later(Waiting { at: at(Some(queue)), told, seated: false })
    }

    /// Shows the levels, and how to read their times.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Levels) -> T) -> T {
        look(&self.state.lock().levels)
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }
}

impl At {
    fn give_back(&self) {
        let now = self.desk.clock.elapsed();
        let levels = &mut self.desk.state.lock().levels;
        if let Some(own) = levels.get_mut(&self.level) {
            own.sync(now);
            own.finish(self.queue, self.id, now);
            if own.ending && own.used == 0 && own.waiting == 0 {
                levels.remove(&self.level);
            }
        }
        seat_next(levels, &self.level, now);
    }

    fn leave(&self) {
        let now = self.desk.clock.elapsed();
        let levels = &mut self.desk.state.lock().levels;
        if let (Some(own), Some(queue)) = (levels.get_mut(&self.level), self.queue) {
            own.sync(now);
            own.leave(queue, self.id);
        }
    }
}

/// Whether one more of a level may be served: on a seat of its own, or on one that others neither use nor keep.
fn may_seat(levels: &Levels, name: &str) -> bool {
    let Some(own) = levels.get(name) else { return true };
    if own.limits.exempt || own.used < own.limits.nominal {
        return true;
    }
    let counts =
        |(other, level): &(&Arc<str>, &Level)| other.as_ref() != name && !level.limits.exempt;
    let others = levels.iter().filter(counts);
    let others: usize = others.map(|(_, level)| level.used.max(level.limits.kept)).sum();
    own.used < own.limits.most && others + own.used < SEATS
}

/// Seats those who wait, those of `first` before others.
fn seat_next(levels: &mut Levels, first: &str, now: Duration) {
    if levels.values().all(|level| level.waiting == 0) {
        return;
    }
    let mut names: Vec<_> = levels
        .iter()
        .filter(|(_, level)| level.waiting > 0)
        .map(|(name, _)| name.clone())
        .collect();
    names.sort_by_key(|name| name.as_ref() != first);
    for name in names {
        while may_seat(levels, &name) {
            let Some(level) = levels.get_mut(&name) else { break };
            level.sync(now);
            if !level.serve_next(now) {
                break;
            }
        }
    }
}

impl Waiting {
    /// Waits for its turn.
    ///
    /// # Cancellation
    /// It gives up its place, or the seat that it just got.
    pub(super) async fn seat(mut self) -> Seat {
        // The other end is dropped only after it has told.
        let _ = (&mut self.told).await;
        self.seated = true;
        Seat(self.at.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.seated {
            return;
        }
        self.told.close();
        if self.told.try_recv().is_ok() {
            self.at.give_back();
        } else {
            self.at.leave();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests;
