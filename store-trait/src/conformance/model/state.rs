use crate::{
    Deleted, Entry, Error, Event, Key, KeyRange, ListOptions, Page, Read, ReadAt, Result, Revision,
    StoreStatus, WriteOptions,
};
use bytes::Bytes;
use std::{borrow::Cow, collections::BTreeMap};
use tokio::time::Instant;

type Entries = BTreeMap<Key, Entry>;

/// All that a store keeps: what it was at one revision, and every change since.
#[derive(Debug, Clone)]
pub struct ModelState {
    /// The entries at `compacted`.
    pub base: Entries,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// Every change after `compacted`, in order.
    pub log: Vec<Event>,
    /// The entries at `revision`: `base` with the whole log applied.
    pub entries: Entries,
    /// The latest revision.
    pub revision: Revision,
    /// When entries expire.
    pub deadlines: BTreeMap<Key, Instant>,
}

impl Default for ModelState {
    fn default() -> Self {
        Self {
            base: Entries::new(),
            compacted: Revision(0),
            log: Vec::new(),
            entries: Entries::new(),
            // Nothing is written at revision one, so that zero and "the first" stay apart.
            revision: Revision(1),
            deadlines: BTreeMap::new(),
        }
    }
}

/// Makes the change that an event tells of.
fn apply(entries: &mut Entries, event: &Event) {
    match event {
        Event::Put { entry, .. } => drop(entries.insert(entry.key.clone(), entry.clone())),
        Event::Delete { key, .. } => drop(entries.remove(key)),
    }
}

impl ModelState {
    /// The largest value, in bytes.
    pub const MAX_VALUE: usize = 1 << 16;

    /// The entries of a revision.
    ///
    /// # Errors
    /// `Compacted` or `Future`.
    pub fn at(&self, at: ReadAt) -> Result<(Cow<'_, Entries>, Revision)> {
        let ReadAt::Exact(revision) = at else {
            return Ok((Cow::Borrowed(&self.entries), self.revision));
        };
        self.check_kept(revision)?;
        if revision > self.revision {
            return Err(Error::Future { requested: revision, latest: self.revision });
        }
        let mut entries = self.base.clone();
        let past = self.log.iter().take_while(|event| event.revision() <= revision);
        past.for_each(|event| apply(&mut entries, event));
        Ok((Cow::Owned(entries), revision))
    }

    /// Whether a revision can still be read and watched after.
    ///
    /// # Errors
    /// `Compacted` when it cannot.
    pub fn check_kept(&self, requested: Revision) -> Result<()> {
        let oldest = self.compacted;
        if requested < oldest { Err(Error::Compacted { requested, oldest }) } else { Ok(()) }
    }

    /// See [`Store::get`](crate::Store::get).
    ///
    /// # Errors
    /// As there.
    pub fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        let (entries, revision) = self.at(at)?;
        Ok(Read { entry: entries.get(key).cloned(), revision })
    }

    /// See [`Store::list`](crate::Store::list).
    ///
    /// # Errors
    /// As there.
    pub fn list(&self, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let (all, revision) = self.at(options.at)?;
        let mut entries: Vec<_> =
            all.values().filter(|entry| range.contains(&entry.key)).cloned().collect();
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

    /// See [`Store::create`](crate::Store::create).
    ///
    /// # Errors
    /// As there.
    pub fn create(&mut self, key: &Key, value: Bytes, options: WriteOptions) -> Result<Revision> {
        check_size(&value)?;
        if let Some(current) = self.entries.get(key).cloned() {
            return Err(Error::Exists { key: key.clone(), current });
        }
        Ok(self.put(key, value, options))
    }

    /// See [`Store::update`](crate::Store::update).
    ///
    /// # Errors
    /// As there.
    pub fn update(
        &mut self,
        key: &Key,
        value: Bytes,
        expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        check_size(&value)?;
        self.check(key, expected)?;
        Ok(self.put(key, value, options))
    }

    /// See [`Store::delete`](crate::Store::delete).
    ///
    /// # Errors
    /// As there.
    pub fn delete(&mut self, key: &Key, expected: Revision) -> Result<Deleted> {
        let previous = self.check(key, expected)?;
        self.revision.0 += 1;
        self.remove(previous.clone());
        Ok(Deleted { previous, revision: self.revision })
    }

    /// See [`Store::compact`](crate::Store::compact).
    ///
    /// # Errors
    /// As there.
    pub fn compact(&mut self, through: Revision) -> Result<()> {
        if through == self.compacted {
            return Err(Error::Compacted { requested: through, oldest: self.compacted });
        }
        self.base = self.at(ReadAt::Exact(through))?.0.into_owned();
        self.compacted = through;
        self.log.retain(|event| event.revision() > through);
        Ok(())
    }

    /// See [`Store::status`](crate::Store::status).
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let size = |entry: &Entry| (entry.key.as_bytes().len() + entry.value.len()) as u64;
        let size = self.entries.values().map(size).sum();
        StoreStatus { revision: self.revision, compacted: self.compacted, size, trouble: None }
    }

    /// Deletes what is due, all of it in one revision.
    pub fn expire(&mut self, now: Instant) {
        let due = self.deadlines.iter().filter(|(_, at)| **at <= now);
        let due: Vec<_> = due.filter_map(|(key, _)| self.entries.get(key).cloned()).collect();
        if !due.is_empty() {
            self.revision.0 += 1;
        }
        due.into_iter().for_each(|entry| self.remove(entry));
    }

    /// When the next entry expires.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.values().min().copied()
    }

    /// Stores a value at the next revision, whatever was there.
    pub fn put(&mut self, key: &Key, value: Bytes, options: WriteOptions) -> Revision {
        self.revision.0 += 1;
        let revision = self.revision;
        let previous = self.entries.get(key).cloned();
        let created = previous.as_ref().map_or(revision, |entry| entry.created);
        let entry = Entry { key: key.clone(), value, revision, created };
        match options.ttl {
            Some(ttl) => self.deadlines.insert(key.clone(), Instant::now() + ttl),
            None => self.deadlines.remove(key),
        };
        self.record(Event::Put { entry, previous });
        revision
    }

    /// Removes an entry at the current revision.
    pub fn remove(&mut self, previous: Entry) {
        self.deadlines.remove(&previous.key);
        let key = previous.key.clone();
        self.record(Event::Delete { key, previous: Some(previous), revision: self.revision });
    }

    fn record(&mut self, event: Event) {
        apply(&mut self.entries, &event);
        self.log.push(event);
    }

    fn check(&self, key: &Key, expected: Revision) -> Result<Entry> {
        match self.entries.get(key) {
            Some(entry) if entry.revision == expected => Ok(entry.clone()),
            other => Err(Error::Conflict { key: key.clone(), current: other.cloned() }),
        }
    }
}

fn check_size(value: &Bytes) -> Result<()> {
    let (size, limit) = (value.len(), ModelState::MAX_VALUE);
    if size > limit { Err(Error::TooLarge { size, limit }) } else { Ok(()) }
}
