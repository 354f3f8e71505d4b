use crate::{
    history::History,
    tree::{Iter, Tree},
};
use bytes::Bytes;
use kubeplane_store_trait::{
    Entry, Error, Event, Key, KeyRange, ListOptions, Page, Read, ReadAt, Result, Revision,
};
use std::{
    collections::{BTreeMap, btree_map},
    iter::Peekable,
    num::NonZeroU64,
    sync::Arc,
    time::Duration,
};

/// What is stored under a key.
#[derive(Debug)]
pub(crate) struct Record {
    /// One allocation for all versions of an entry.
    pub(crate) key: Key,
    pub(crate) value: Bytes,
    pub(crate) revision: u64,
    pub(crate) created: u64,
    /// When it expires, in nanoseconds of the clock's elapsed time; at least 1.
    deadline: Option<NonZeroU64>,
}

impl Record {
    pub(crate) fn new(
        key: Key,
        value: Bytes,
        revision: u64,
        created: u64,
        deadline: Option<Duration>,
    ) -> Self {
        let nanos = |deadline: Duration| u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
        let deadline = deadline.map(|deadline| NonZeroU64::MIN.saturating_add(nanos(deadline)));
        Self { key, value, revision, created, deadline }
    }

    /// When it expires, in the clock's elapsed time.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline.map(|deadline| Duration::from_nanos(deadline.get() - 1))
    }

    pub(crate) fn entry(&self) -> Entry {
        Entry {
            key: self.key.clone(),
            value: self.value.clone(),
            revision: Revision(self.revision),
            created: Revision(self.created),
        }
    }

    /// Puts it, or only its key, behind what a page has.
    fn tell(&self, page: &mut Page, key_only: bool) {
        if key_only {
            page.keys.push(&self.key, Revision(self.revision), Revision(self.created));
        } else {
            page.entries.push(self.entry());
        }
    }

    /// Bytes of its key and value.
    pub(crate) fn size(&self) -> u64 {
        (self.key.as_bytes().len() + self.value.len()) as u64
    }
}

/// One change of the history.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    /// When it was made, in the clock's elapsed time.
    pub(crate) at: Duration,
    pub(crate) what: What,
    /// What the history holds for it alone, in bytes, roughly. Asked again when it is forgotten, long after all that it
    /// is the sum of was looked at.
    pub(crate) weight: usize,
}

/// What stood under a key before and after.
#[derive(Debug, Clone)]
pub(crate) enum What {
    Put { before: Option<Arc<Record>>, after: Arc<Record> },
    Delete { before: Arc<Record> },
}

impl Change {
    pub(crate) fn new(revision: u64, at: Duration, what: What) -> Self {
        let mut change = Self { revision, at, what, weight: 256 };
        let before = change.before().map_or(0, |before| before.value.len());
        change.weight += before + change.key().as_bytes().len();
        change
    }

    pub(crate) fn key(&self) -> &Key {
        match &self.what {
            What::Put { after: record, .. } | What::Delete { before: record } => &record.key,
        }
    }

    pub(crate) fn before(&self) -> Option<&Arc<Record>> {
        match &self.what {
            What::Put { before, .. } => before.as_ref(),
            What::Delete { before } => Some(before),
        }
    }

    pub(crate) fn event(&self) -> Event {
        match &self.what {
            What::Put { before, after } => Event::Put {
                entry: after.entry(),
                previous: before.as_ref().map(|before| before.entry()),
            },
            What::Delete { before } => Event::Delete {
                key: before.key.clone(),
                previous: Some(before.entry()),
                revision: Revision(self.revision),
            },
        }
    }
}

/// The whole store at one revision, with the history behind it. Cloning shares everything.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) entries: Tree,
    /// The changes of the revisions from `compacted` to `revision`, and maybe some before.
    pub(crate) history: History,
    pub(crate) history_weight: usize,
    pub(crate) revision: u64,
    pub(crate) compacted: u64,
    /// Bytes of all keys and values.
    pub(crate) size: u64,
    /// When the next entry expires, in the clock's elapsed time.
    pub(crate) next_deadline: Option<Duration>,
}

impl State {
    /// An empty store. It starts at revision 1, so that 0 stays "before everything".
    pub(crate) fn empty() -> Self {
        Self {
            entries: Tree::new(),
            history: History::default(),
            history_weight: 0,
            revision: 1,
            compacted: 0,
            size: 0,
            next_deadline: None,
        }
    }

    /// A store of these records, in order of their keys, without a history.
    pub(crate) fn of(records: Vec<Arc<Record>>, revision: u64) -> Self {
        let size = records.iter().map(|record| record.size()).sum();
        let entries = Tree::from_sorted(records);
        Self { entries, size, revision, compacted: revision, ..Self::empty() }
    }

    /// The changes with a revision greater than `after`, in order.
    pub(crate) fn changes_after(&self, after: u64) -> impl Iterator<Item = &Change> {
        self.history.between(after.max(self.compacted), self.revision)
    }

    pub(crate) fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        let Some(past) = self.past(at)? else {
            let entry = self.entries.get(key.as_bytes()).map(|record| record.entry());
            return Ok(Read { entry, revision: Revision(self.revision) });
        };
        let undone = self.changes_after(past).find(|change| change.key() == key);
        let record = match undone {
            Some(change) => change.before(),
            None => self.entries.get(key.as_bytes()),
        };
        Ok(Read { entry: record.map(|record| record.entry()), revision: Revision(past) })
    }

    pub(crate) fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let past = self.past(options.at)?;
        let revision = Revision(past.unwrap_or(self.revision));
        let mut page = Page { revision, ..Page::default() };
        if range.is_empty() {
            return Ok(page);
        }
        let limit = if options.count_only { 0 } else { options.limit.unwrap_or(usize::MAX) };
        let mut found = self.entries.range(range);
        match past {
            None if options.keys_only => {
                page.keys = found.keys(limit);
                page.remaining = found.len() as u64;
            }
            None => {
                page.entries.reserve_exact(found.len().min(limit));
                page.entries.extend(found.by_ref().take(limit).map(|record| record.entry()));
                page.remaining = found.len() as u64;
            }
            Some(past) => {
                let mut found = Past::new(found, self.overlay(range, past));
                for record in found.by_ref().take(limit) {
                    record.tell(&mut page, options.keys_only);
                }
                page.remaining = found.remaining(&self.entries);
            }
        }
        Ok(page)
    }

    /// Whether `after` is recent enough to be watched from.
    pub(crate) fn check_kept(&self, requested: u64) -> Result<()> {
        if requested < self.compacted {
            return Err(Error::Compacted {
                requested: Revision(requested),
                oldest: Revision(self.compacted),
            });
        }
        Ok(())
    }

    /// The revision of a read that does not see this state as it is.
    fn past(&self, at: ReadAt) -> Result<Option<u64>> {
        let ReadAt::Exact(Revision(requested)) = at else {
            return Ok(None);
        };
        self.check_kept(requested)?;
        if requested > self.revision {
            return Err(Error::Future {
                requested: Revision(requested),
                latest: Revision(self.revision),
            });
        }
        Ok((requested < self.revision).then_some(requested))
    }

    /// What the keys of the range that changed after `past` held then.
    fn overlay(&self, range: &KeyRange, past: u64) -> Overlay<'_> {
        let mut overlay = BTreeMap::new();
        for change in self.changes_after(past).filter(|change| range.contains(change.key())) {
            overlay.entry(change.key()).or_insert(change.before());
        }
        overlay
    }
}

type Overlay<'a> = BTreeMap<&'a Key, Option<&'a Arc<Record>>>;

/// The live records with the overlay's in their place, in key order.
struct Past<'a> {
    live: Peekable<Iter<'a>>,
    overlay: Peekable<btree_map::IntoIter<&'a Key, Option<&'a Arc<Record>>>>,
}

impl<'a> Past<'a> {
    fn new(live: Iter<'a>, overlay: Overlay<'a>) -> Self {
        Self { live: live.peekable(), overlay: overlay.into_iter().peekable() }
    }

    /// How many records are left.
    fn remaining(self, entries: &Tree) -> u64 {
        let live = self.live.len() as u64;
        self.overlay.fold(live, |count, (key, then)| {
            let now = entries.get(key.as_bytes()).is_some();
            count + u64::from(then.is_some()) - u64::from(now)
        })
    }
}

impl<'a> Iterator for Past<'a> {
    type Item = &'a Arc<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let old = match (self.live.peek(), self.overlay.peek()) {
                (Some(current), Some((old, _))) => **old <= current.key,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (None, None) => return None,
            };
            if !old {
                return self.live.next();
            }
            let (key, record) = self.overlay.next()?;
            self.live.next_if(|current| current.key == *key);
            if record.is_some() {
                return record;
            }
        }
    }
}
