use imbl::{OrdMap, Vector};
use kubeplane_store_trait::{
    Entry, Error, Event, Key, KeyRange, ListOptions, Page, Read, ReadAt, Result, Revision,
};
use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

/// What is stored under a key.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) value: bytes::Bytes,
    pub(crate) revision: u64,
    pub(crate) created: u64,
    /// When it expires, in the clock's elapsed time.
    pub(crate) deadline: Option<Duration>,
}

impl Record {
    pub(crate) fn entry(&self, key: &Key, keys_only: bool) -> Entry {
        let value = if keys_only { bytes::Bytes::new() } else { self.value.clone() };
        Entry {
            key: key.clone(),
            value,
            revision: Revision(self.revision),
            created: Revision(self.created),
        }
    }
}

/// One change of the history: what stood under a key before and after.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) key: Key,
    pub(crate) before: Option<Arc<Record>>,
    pub(crate) after: Option<Arc<Record>>,
    /// When it was made, in the clock's elapsed time.
    pub(crate) at: Duration,
}

impl Change {
    pub(crate) fn event(&self) -> Event {
        let previous = self.before.as_ref().map(|record| record.entry(&self.key, false));
        match &self.after {
            Some(record) => Event::Put { entry: record.entry(&self.key, false), previous },
            None => {
                Event::Delete { key: self.key.clone(), previous, revision: Revision(self.revision) }
            }
        }
    }

    /// What the history holds for it alone, in bytes, roughly.
    pub(crate) fn weight(&self) -> usize {
        let before = self.before.as_ref().map_or(0, |record| record.value.len());
        before + self.key.as_bytes().len() + 256
    }
}

/// The whole store at one revision, with the history behind it. Cloning shares everything.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) entries: OrdMap<Key, Arc<Record>>,
    /// The changes of the last revisions, without a gap, ending at `revision`.
    pub(crate) history: Vector<Arc<Change>>,
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
            entries: OrdMap::new(),
            history: Vector::new(),
            history_weight: 0,
            revision: 1,
            compacted: 0,
            size: 0,
            next_deadline: None,
        }
    }

    /// The changes with a revision greater than `after`, in order.
    pub(crate) fn changes_after(&self, after: u64) -> impl Iterator<Item = &Arc<Change>> {
        let base = self.revision - self.history.len() as u64;
        let skipped = usize::try_from(after.saturating_sub(base)).unwrap_or(usize::MAX);
        let mut focus = self.history.focus();
        let start = skipped.min(self.history.len());
        focus = focus.narrow(start..self.history.len());
        focus.into_iter()
    }

    pub(crate) fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        let Some(past) = self.past(at)? else {
            let entry = self.entries.get(key).map(|record| record.entry(key, false));
            return Ok(Read { entry, revision: Revision(self.revision) });
        };
        let undone = self.changes_after(past).find(|change| change.key == *key);
        let record = match undone {
            Some(change) => change.before.as_ref(),
            None => self.entries.get(key),
        };
        let entry = record.map(|record| record.entry(key, false));
        Ok(Read { entry, revision: Revision(past) })
    }

    pub(crate) fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let past = self.past(options.at)?;
        let revision = Revision(past.unwrap_or(self.revision));
        let mut page = Page { entries: Vec::new(), revision, remaining: 0 };
        if range.is_empty() {
            return Ok(page);
        }
        let bounds = (
            Bound::Included(range.start().as_ref()),
            range.end().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_ref())),
        );
        let live = self.entries.range::<_, [u8]>(bounds);
        match past {
            None => fill(&mut page, live, options),
            Some(past) => fill(&mut page, undo(live, self.overlay(range, past)), options),
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
        for change in self.changes_after(past).filter(|change| range.contains(&change.key)) {
            overlay.entry(&change.key).or_insert(change.before.as_ref());
        }
        overlay
    }
}

type Overlay<'a> = BTreeMap<&'a Key, Option<&'a Arc<Record>>>;

fn fill<'a>(
    page: &mut Page,
    found: impl Iterator<Item = (&'a Key, &'a Arc<Record>)>,
    options: ListOptions,
) {
    let limit = if options.count_only { 0 } else { options.limit.unwrap_or(usize::MAX) };
    let mut found = found;
    while page.entries.len() < limit {
        let Some((key, record)) = found.next() else {
            return;
        };
        page.entries.push(record.entry(key, options.keys_only));
    }
    page.remaining = found.count() as u64;
}

/// The live entries with the overlay's in their place, in key order.
fn undo<'a>(
    live: impl Iterator<Item = (&'a Key, &'a Arc<Record>)>,
    overlay: Overlay<'a>,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Record>)> {
    let mut live = live.peekable();
    let mut overlay = overlay.into_iter().peekable();
    std::iter::from_fn(move || {
        loop {
            let old = match (live.peek(), overlay.peek()) {
                (Some((current, _)), Some((old, _))) => *old <= *current,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (None, None) => return None,
            };
            if !old {
                return live.next();
            }
            let (key, record) = overlay.next()?;
            live.next_if(|(current, _)| *current == key);
            if let Some(record) = record {
                return Some((key, record));
            }
        }
    })
}
