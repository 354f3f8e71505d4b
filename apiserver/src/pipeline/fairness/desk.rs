//! Who is served now, who waits, and who is sent away.
//!
//! ```text
//!   ask ─┬─ a seat of the level, or one that others leave idle ──> Seat ── dropped ──> the next that waits
//!        ├─ none: behind the others of its flow ─────────────────> Waiting
//!        └─ none, and the level's queues are full ───────────────> refused
//! ```

use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};
use tokio::sync::oneshot;

/// Requests served at once, those of exempt levels not counted.
pub(super) const SEATS: usize = 600;
/// How many requests wait that no schema is about.
const UNPLACED: usize = 6400;

/// What a level may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Seats that are its own.
    pub(super) nominal: usize,
    /// Of those, the ones that it lends to nobody.
    pub(super) kept: usize,
    /// Seats it may have with those of others that are idle.
    pub(super) most: usize,
    /// Requests that may wait.
    pub(super) queue: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nominal: SEATS, kept: 0, most: SEATS, queue: UNPLACED }
    }
}

type Levels = BTreeMap<Arc<str>, Level>;

#[derive(Debug, Default)]
struct Level {
    limits: Limits,
    used: usize,
    queued: usize,
    /// By flow; none is empty.
    flows: BTreeMap<String, VecDeque<oneshot::Sender<()>>>,
    /// The flow served last: they take turns.
    last: String,
}

/// The seats of a server.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<Levels>);

/// What a request is told.
#[derive(Debug)]
pub(super) enum Turn {
    Now(Seat),
    Later(Waiting),
    /// Why, in the original's words.
    Never(&'static str),
}

/// A seat, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    desk: Arc<Desk>,
    level: Arc<str>,
}

/// A place in a queue, left when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    desk: Arc<Desk>,
    level: Arc<str>,
    flow: String,
    told: oneshot::Receiver<()>,
    seated: bool,
}

impl Desk {
    /// Gives levels what they may have from now on. Those that are left out go when nobody is left in them.
    pub(super) fn configure(&self, wanted: &BTreeMap<Arc<str>, Limits>) {
        let mut levels = self.0.lock();
        levels.retain(|name, level| {
            level.limits.kept = 0;
            wanted.contains_key(name) || level.used > 0 || level.queued > 0
        });
        for (name, limits) in wanted {
            levels.entry(name.clone()).or_default().limits = *limits;
        }
        seat_next(&mut levels, "");
    }

    /// Asks for a seat; `flow` names whose turn it would be.
    pub(super) fn ask(self: &Arc<Self>, level: &Arc<str>, flow: impl FnOnce() -> String) -> Turn {
        let mut levels = self.0.lock();
        let may = may_seat(&levels, level);
        let own = levels.entry(level.clone()).or_default();
        if may && own.queued == 0 {
            own.used += 1;
            return Turn::Now(Seat { desk: self.clone(), level: level.clone() });
        }
        if own.queued >= own.limits.queue {
            let refuses = own.limits.queue == 0;
            return Turn::Never(if refuses { "concurrency-limit" } else { "queue-full" });
        }
        let (tell, told) = oneshot::channel();
        let flow = flow();
        own.flows.entry(flow.clone()).or_default().push_back(tell);
        own.queued += 1;
        let (desk, level) = (self.clone(), level.clone());
        Turn::Later(Waiting { desk, level, flow, told, seated: false })
    }

    fn give_back(&self, level: &str) {
        let mut levels = self.0.lock();
        if let Some(own) = levels.get_mut(level) {
            own.used = own.used.saturating_sub(1);
        }
        seat_next(&mut levels, level);
    }

    fn leave(&self, level: &str, flow: &str) {
        let mut levels = self.0.lock();
        let Some(own) = levels.get_mut(level) else { return };
        let Some(queue) = own.flows.get_mut(flow) else { return };
        let before = queue.len();
        queue.retain(|tell| !tell.is_closed());
        own.queued = own.queued.saturating_sub(before - queue.len());
        if queue.is_empty() {
            own.flows.remove(flow);
        }
    }
}

/// Whether one more of a level may be served: on a seat of its own, or on one that others neither use nor keep.
fn may_seat(levels: &Levels, name: &str) -> bool {
    let Some(own) = levels.get(name) else { return true };
    if own.used < own.limits.nominal {
        return true;
    }
    let others = levels.iter().filter(|(other, _)| other.as_ref() != name);
    let others: usize = others.map(|(_, level)| level.used.max(level.limits.kept)).sum();
    own.used < own.limits.most && others + own.used < SEATS
}

/// Seats those who wait, those of `first` before others.
fn seat_next(levels: &mut Levels, first: &str) {
    if levels.values().all(|level| level.queued == 0) {
        return;
    }
    let mut names: Vec<_> =
        levels.iter().filter(|(_, level)| level.queued > 0).map(|(name, _)| name.clone()).collect();
    names.sort_by_key(|name| name.as_ref() != first);
    for name in names {
        while may_seat(levels, &name) {
            let Some(level) = levels.get_mut(&name) else { break };
            let Some(next) = level.next() else { break };
            if next.send(()).is_ok() {
                level.used += 1;
            }
        }
    }
}

impl Level {
    /// The next that waits, flow by flow.
    fn next(&mut self) -> Option<oneshot::Sender<()>> {
        let after = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let next = self.flows.range::<str, _>(after).next().or_else(|| self.flows.iter().next());
        let flow = next.map(|(flow, _)| flow.clone())?;
        let queue = self.flows.get_mut(&flow)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.flows.remove(&flow);
        }
        self.last = flow;
        self.queued = self.queued.saturating_sub(usize::from(next.is_some()));
        next
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
        Seat { desk: self.desk.clone(), level: self.level.clone() }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.seated {
            return;
        }
        self.told.close();
        if self.told.try_recv().is_ok() {
            self.desk.give_back(&self.level);
        } else {
            self.desk.leave(&self.level, &self.flow);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.give_back(&self.level);
    }
}

#[cfg(test)]
mod tests;
