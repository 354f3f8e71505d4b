//! The past and the watchers of a store that keeps its entries in memory.

use crate::{
    BoxWatcher, Deleted, Entry, Error, Event, Key, KeyRange, ListOptions, Page, ReadAt, Result,
    Revision, WatchBatch, Watcher,
};
use bytes::Bytes;
use futures::Stream;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::BTreeMap,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// Entries by key.
pub type Entries = BTreeMap<Key, Entry>;

/// What was written, at which revision, and who watches it: most of a store, for stores that are small enough to be
/// in memory and simple enough for one lock. What is left to such a store is where else it puts what is written.
///
/// Reads of the past cost as much as everything written since the last [`compact`](Self::compact). Clones are the
/// same timeline.
///
/// ```
/// use kubeplane_store_trait::{Key, ReadAt, Timeline};
///
/// let (timeline, key) = (Timeline::default(), Key::new("greeting").unwrap());
/// let before = timeline.revision();
/// timeline.create(&key, "hello".into())?;
/// assert_eq!(timeline.at(ReadAt::Latest)?.0.len(), 1);
/// assert_eq!(timeline.at(ReadAt::Exact(before))?.0.len(), 0);
/// # Ok::<(), kubeplane_store_trait::Error>(())
/// ```
#[derive(Clone)]
pub struct Timeline {
    state: Arc<Mutex<State>>,
    journal: Journal,
}

type Journal = Arc<dyn Fn(&Event) -> Result<()> + Send + Sync>;

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    entries: Entries,
    revision: Revision,
    /// The entries as they were at `compacted`, and every change since.
    base: Entries,
    compacted: Revision,
    changes: Vec<Event>,
    /// Of watchers that have seen everything.
    waiting: Vec<Waker>,
}

impl Default for Timeline {
    /// Nothing yet, and nothing of what is written goes elsewhere.
    fn default() -> Self {
        Self::journaled(|_| Ok(()))
    }
}

fn apply(entries: &mut Entries, change: &Event) {
    match change {
        Event::Put { entry, .. } => drop(entries.insert(entry.key.clone(), entry.clone())),
        Event::Delete { key, .. } => drop(entries.remove(key)),
    }
}

/// The entry of a key if it was last changed at `expected`.
fn unchanged(entries: &Entries, key: &Key, expected: Revision) -> Result<Entry> {
    match entries.get(key) {
        Some(entry) if entry.revision == expected => Ok(entry.clone()),
        other => Err(Error::Conflict { key: key.clone(), current: other.cloned() }),
    }
}

impl State {
    fn at(&self, at: ReadAt) -> Result<(Entries, Revision)> {
        let ReadAt::Exact(revision) = at else { return Ok((self.entries.clone(), self.revision)) };
        if revision < self.compacted {
            return Err(Error::Compacted { requested: revision, oldest: self.compacted });
        }
        if revision > self.revision {
            return Err(Error::Future { requested: revision, latest: self.revision });
        }
        let mut entries = self.base.clone();
        for change in self.changes.iter().take_while(|change| change.revision() <= revision) {
            apply(&mut entries, change);
        }
        Ok((entries, revision))
    }
}

impl Timeline {
    /// Nothing yet, at revision one; zero stays before everything. Each change is given to `journal` before anybody
    /// sees it, one at a time in their order; what it refuses has not happened.
    #[must_use]
    pub fn journaled(journal: impl Fn(&Event) -> Result<()> + Send + Sync + 'static) -> Self {
        let state = State { revision: Revision(1), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)), journal: Arc::new(journal) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The latest revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.state().revision
    }

    /// The revision through which the past is gone.
    #[must_use]
    pub fn compacted(&self) -> Revision {
        self.state().compacted
    }

    /// The bytes of all values there are now.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.state().entries.values().map(|entry| entry.value.len() as u64).sum()
    }

    /// All entries of a revision, and which it is.
    ///
    /// # Errors
    /// [`Error::Compacted`] and [`Error::Future`], as [`Store::get`](crate::Store::get) has them.
    pub fn at(&self, at: ReadAt) -> Result<(Entries, Revision)> {
        self.state().at(at)
    }

    /// A page, as [`Store::list`](crate::Store::list) gives it.
    ///
    /// # Errors
    /// As of [`at`](Self::at).
    pub fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let (entries, revision) = self.at(options.at)?;
        let mut entries: Vec<_> =
            entries.into_values().filter(|entry| range.contains(&entry.key)).collect();
        let limit = if options.count_only { 0 } else { options.limit.unwrap_or(usize::MAX) };
        let remaining = entries.len().saturating_sub(limit) as u64;
        entries.truncate(limit);
        let mut page = Page { entries, revision, remaining, ..Page::default() };
        if options.keys_only {
            for entry in page.entries.drain(..) {
                page.keys.push(&entry.key, entry.revision, entry.created);
            }
        }
        Ok(page)
    }

    /// Makes an entry.
    ///
    /// # Errors
    /// [`Error::Exists`], and what the journal says.
    pub fn create(&self, key: &Key, value: Bytes) -> Result<Revision> {
        self.write(|entries, revision| match entries.get(key).cloned() {
            Some(current) => Err(Error::Exists { key: key.clone(), current }),
            None => {
                let entry = Entry { key: key.clone(), value, revision, created: revision };
                Ok(Event::Put { entry, previous: None })
            }
        })
    }

    /// Replaces the value of an entry that was last changed at `expected`.
    ///
    /// # Errors
    /// [`Error::Conflict`], and what the journal says.
    pub fn update(&self, key: &Key, value: Bytes, expected: Revision) -> Result<Revision> {
        self.write(|entries, revision| {
            let previous = unchanged(entries, key, expected)?;
            let entry = Entry { value, revision, ..previous.clone() };
            Ok(Event::Put { entry, previous: Some(previous) })
        })
    }

    /// Removes an entry that was last changed at `expected`.
    ///
    /// # Errors
    /// [`Error::Conflict`], and what the journal says.
    pub fn delete(&self, key: &Key, expected: Revision) -> Result<Deleted> {
        let mut state = self.state();
        let previous = unchanged(&state.entries, key, expected)?;
        let gone = Some(previous.clone());
        let revision = self.write_in(&mut state, |_, revision| {
            Ok(Event::Delete { key: key.clone(), previous: gone, revision })
        })?;
        Ok(Deleted { previous, revision })
    }

    fn write(&self, decide: impl FnOnce(&Entries, Revision) -> Result<Event>) -> Result<Revision> {
        self.write_in(&mut self.state(), decide)
    }

    fn write_in(
        &self,
        state: &mut State,
        decide: impl FnOnce(&Entries, Revision) -> Result<Event>,
    ) -> Result<Revision> {
        let next = Revision(state.revision.0 + 1);
        let event = decide(&state.entries, next)?;
        (self.journal)(&event)?;
        state.revision = next;
        apply(&mut state.entries, &event);
        state.changes.push(event);
        state.waiting.drain(..).for_each(Waker::wake);
        Ok(next)
    }

    /// Every change of a range after a revision, as [`Store::watch`](crate::Store::watch) delivers it.
    ///
    /// # Errors
    /// [`Error::Compacted`].
    pub fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        let oldest = self.compacted();
        if after < oldest {
            return Err(Error::Compacted { requested: after, oldest });
        }
        let (timeline, range) = (self.clone(), range.clone());
        Ok(Box::pin(Follower { timeline, range, through: after, progress: false, ended: false }))
    }

    /// Forgets the past before a revision, as [`Store::compact`](crate::Store::compact) does.
    ///
    /// # Errors
    /// [`Error::Compacted`] when it is gone already, [`Error::Future`] when it is to come.
    pub fn compact(&self, through: Revision) -> Result<()> {
        let mut state = self.state();
        if through == state.compacted {
            return Err(Error::Compacted { requested: through, oldest: through });
        }
        state.base = state.at(ReadAt::Exact(through))?.0;
        state.compacted = through;
        state.changes.retain(|change| change.revision() > through);
        Ok(())
    }
}

/// A place in the list of changes.
struct Follower {
    timeline: Timeline,
    range: KeyRange,
    /// Every change of the range up to here was delivered.
    through: Revision,
    progress: bool,
    ended: bool,
}

impl Stream for Follower {
    type Item = Result<WatchBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let mut state = this.timeline.state();
        if this.through < state.compacted {
            this.ended = true;
            return Poll::Ready(Some(Err(Error::Lagged)));
        }
        let new = state.changes.partition_point(|change| change.revision() <= this.through);
        let new = state.changes[new..].iter().filter(|change| this.range.contains(change.key()));
        let events: Vec<_> = new.cloned().collect();
        let reached = state.revision >= this.through;
        this.through = this.through.max(state.revision);
        if !events.is_empty() || (reached && std::mem::take(&mut this.progress)) {
            return Poll::Ready(Some(Ok(WatchBatch { events, through: this.through })));
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            state.waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Watcher for Follower {
    fn request_progress(self: Pin<&mut Self>) {
        let this = self.get_mut();
        this.progress = true;
        this.timeline.state().waiting.drain(..).for_each(Waker::wake);
    }
}
