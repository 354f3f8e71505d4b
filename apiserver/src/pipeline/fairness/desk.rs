//! Who is served now, who waits, and who is sent away.
//!
//! ```text
//!   ask ─┬─ seats of the level ───────────────────────────> Seat ── dropped, lingering ──> the next that waits
//!        ├─ none: in the shortest queue of the flow's hand ──> Waiting
//!        └─ none, and that queue is full ────────────────────> refused
//! ```
//!
//! What is due at some time (seats that linger, seats that levels lend) is done by whoever comes next, and while somebody
//! waits by a task of the desk's own.

mod borrowing;
mod dealer;
mod level;

pub(super) use level::{Entry, Level, Queue, Work};

use super::{estimate::Width, plan::By};
use crate::{info::RequestInfo, metrics::FlowMetrics};
use kubeplane_clock::SharedClock;
use kubeplane_core::auth::UserInfo;
use level::Lingering;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};
use tokio::sync::{Notify, oneshot};
use tokio_util::task::AbortOnDropHandle;

/// Seats of all levels together.
pub(super) const SEATS: usize = 600;
/// How many adjustments are made up for after nobody came for long.
const MISSED: u32 = 60;
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
    /// Seats it may have with those of others.
    pub(super) most: usize,
    /// Seats that one request may have; zero for as many as any.
    pub(super) widest: usize,
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
        Self { exempt: false, nominal: SEATS, kept: SEATS, most: SEATS, widest: 0, queuing }
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
    pub(super) width: Width,
}

pub(super) type Levels = BTreeMap<Arc<str>, Level>;

#[derive(Debug)]
struct State {
    levels: Levels,
    /// How many have asked.
    asked: u64,
    /// Seats that are given back at a time, by it and the request they were of.
    lingering: BTreeMap<(Duration, u64), (Arc<str>, Lingering)>,
    /// When seats are shared out anew.
    adjusts: Duration,
}

/// The seats of a server.
#[derive(Debug)]
pub(crate) struct Desk {
    state: Mutex<State>,
    clock: SharedClock,
    metrics: FlowMetrics,
    /// Told when somebody begins to wait, or something is due earlier than before.
    due: Arc<Notify>,
    attendant: OnceLock<AbortOnDropHandle<()>>,
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
    pub(crate) fn new(clock: SharedClock, metrics: FlowMetrics) -> Arc<Self> {
        let adjusts = clock.elapsed().saturating_add(borrowing::PERIOD);
        let (levels, lingering) = (Levels::new(), BTreeMap::new());
        let state = Mutex::new(State { levels, asked: 0, lingering, adjusts });
        Arc::new(Self { state, clock, metrics, due: Arc::default(), attendant: OnceLock::new() })
    }

    /// Does what is due while somebody waits, from now on.
    pub(super) fn attend(self: &Arc<Self>) {
        self.attendant.get_or_init(|| {
            let task = attend(Arc::downgrade(self), self.clock.clone(), self.due.clone());
            AbortOnDropHandle::new(tokio::spawn(task))
        });
    }

    /// Gives levels what they may have from now on. Those that are left out go when nobody is left in them.
    pub(super) fn configure(&self, wanted: &BTreeMap<Arc<str>, Limits>) {
        let now = self.clock.elapsed();
        let mut state = self.locked(now);
        let levels = &mut state.levels;
        levels.retain(|name, level| {
            level.sync(now);
            level.ending = !wanted.contains_key(name);
            !level.ending || !level.is_idle()
        });
        for (name, limits) in wanted {
            let level = levels.entry(name.clone()).or_insert_with(|| Level::of(*limits, now));
            level.limits = *limits;
        }
        borrowing::adjust(levels, now);
        levels.values_mut().for_each(|level| level.dispatch(now));
        self.metrics.adjusted(levels.iter().map(|(name, level)| (&**name, level.shown())));
    }

    /// Asks for a seat.
    pub(super) fn ask(self: &Arc<Self>, level: &Arc<str>, asked: Asked) -> Turn {
        let now = self.clock.elapsed();
        let mut state = self.locked(now);
        state.asked += 1;
        let (id, limits) = (state.asked, Limits::default());
        let levels = &mut state.levels;
        let own = match levels.get_mut(level) {
            Some(own) => own,
            None => levels.entry(level.clone()).or_insert_with(|| Level::of(limits, now)),
        };
        own.sync(now);
        let at = |queue| At { desk: self.clone(), level: level.clone(), queue, id };
        let room = own.has_room(asked.width.most());
        let (hash, entry) = (asked.hash, own.entry(asked, now));
        let Some(queuing) = own.limits.queuing else {
            if room {
                own.serve(None, id, entry, now);
                return Turn::Now(Seat(at(None)));
            }
            own.counts.rejected += 1;
            return Turn::Never("concurrency-limit");
        };
        let queue = own.choose(hash, queuing);
        let free = own.used < own.current;
        if room && free && own.waiting == 0 {
            own.serve(Some(queue), id, entry.within(own.current), now);
            return Turn::Now(Seat(at(Some(queue))));
        }
        if !free && own.length(queue) >= queuing.length {
            own.counts.rejected += 1;
            return Turn::Never("queue-full");
        }
        let told = own.push(queue, id, entry, now);
        own.dispatch(now);
        self.due.notify_one();
        Turn::Later(Waiting { at: at(Some(queue)), told, seated: false })
    }

    /// Shows the levels, and how to read their times.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Levels) -> T) -> T {
        look(&self.state.lock().levels)
    }

    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// The state, in which all is done that is due.
    fn locked(&self, now: Duration) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.advance(now) {
            let levels = state.levels.iter();
            self.metrics.adjusted(levels.map(|(name, level)| (&**name, level.shown())));
        }
        state
    }

    /// Does what is due; when the next is, if somebody waits for it.
    fn next_due(&self) -> Option<Duration> {
        let state = self.locked(self.clock.elapsed());
        let waits = state.levels.values().any(|level| level.waiting > 0);
        waits.then(|| state.next())
    }
}

async fn attend(desk: Weak<Desk>, clock: SharedClock, due: Arc<Notify>) {
    while let Some(next) = desk.upgrade().map(|desk| desk.next_due()) {
        let Some(at) = next else {
            due.notified().await;
            continue;
        };
        let left = at.saturating_sub(clock.elapsed());
        tokio::select! {
            biased;
            () = due.notified() => {}
            () = clock.sleep(left) => {}
        }
    }
}

impl State {
    /// When something is due.
    fn next(&self) -> Duration {
        let release = self.lingering.first_key_value().map(|((at, _), _)| *at);
        release.map_or(self.adjusts, |release| release.min(self.adjusts))
    }

    /// Does what is due; whether seats were shared out anew.
    fn advance(&mut self, now: Duration) -> bool {
        if self.next() > now {
            return false;
        }
        let missed = borrowing::PERIOD * MISSED;
        self.adjusts = self.adjusts.max(now.saturating_sub(missed));
        let mut adjusted = false;
        while self.next() <= now {
            let at = self.next();
            let first = self.lingering.first_entry().filter(|first| first.key().0 == at);
            if let Some((name, seats)) = first.map(|first| first.remove()) {
                if let Some(level) = self.levels.get_mut(&name) {
                    level.sync(at);
                    level.release(seats, at);
                }
                continue;
            }
            borrowing::adjust(&mut self.levels, at);
            self.adjusts = at + borrowing::PERIOD;
            adjusted = true;
        }
        for level in self.levels.values_mut() {
            level.sync(now);
            level.dispatch(now);
        }
        adjusted
    }

    /// Lets those of a level go on who wait, or the level go when there is nobody.
    fn go_on(&mut self, name: &Arc<str>, now: Duration) {
        let Some(own) = self.levels.get_mut(name) else { return };
        own.dispatch(now);
        if own.ending && own.is_idle() {
            self.levels.remove(name);
        }
    }
}

impl At {
    fn give_back(&self) {
        let now = self.desk.clock.elapsed();
        let mut state = self.desk.locked(now);
        let Some(own) = state.levels.get_mut(&self.level) else { return };
        own.sync(now);
        if let Some(seats) = own.finish(self.queue, self.id, now) {
            if own.waiting > 0 {
                self.desk.due.notify_one();
            }
            let at = now.saturating_add(seats.time);
            state.lingering.insert((at, self.id), (self.level.clone(), seats));
        }
        state.go_on(&self.level, now);
    }

    fn leave(&self) {
        let now = self.desk.clock.elapsed();
        let mut state = self.desk.locked(now);
        if let (Some(own), Some(queue)) = (state.levels.get_mut(&self.level), self.queue) {
            own.sync(now);
            own.leave(queue, self.id, now);
        }
        state.go_on(&self.level, now);
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
