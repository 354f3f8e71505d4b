//! Stores broken on purpose: the suite must notice each of them.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{
    BoxWatcher, Capabilities, Deleted, Error, Event, Key, KeyRange, ListOptions, Page, Read,
    ReadAt, Result, Revision, Store, StoreStatus, WatchBatch, Watcher, WriteOptions,
    conformance::{self, Factory},
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    StaleReads,
    CreateReplaces,
    UpdateIgnoresRevision,
    DeleteIgnoresRevision,
    ExactReadsAreLatest,
    FutureReadsAreLatest,
    RemainingIsMissing,
    KeysOnlyHasValues,
    LargeValuesAreCut,
    EventsAreSkipped,
    EventsComeTwice,
    EventsAreReversed,
    RangeIsIgnored,
    PreviousIsMissing,
    BookmarksAreAhead,
    BookmarksNeverCome,
    CompactedWatchStartsLate,
    CompactionIsIgnored,
    ExpiryIsIgnored,
}

#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    flaw: Flaw,
}

impl Broken {
    async fn current(&self, key: &Key, given: Revision) -> Revision {
        let read = self.inner.get(key, ReadAt::Latest).await;
        read.ok().and_then(|read| read.entry).map_or(given, |entry| entry.revision)
    }

    async fn at(&self, at: ReadAt) -> ReadAt {
        let latest = self.inner.status().await.map_or(Revision(0), |status| status.revision);
        match (self.flaw, at) {
            (Flaw::StaleReads, ReadAt::Latest) => ReadAt::Exact(Revision(latest.0 - 1)),
            (Flaw::ExactReadsAreLatest, ReadAt::Exact(_)) => ReadAt::Latest,
            (Flaw::FutureReadsAreLatest, ReadAt::Exact(at)) => ReadAt::Exact(at.min(latest)),
            _ => at,
        }
    }
}

#[async_trait]
impl Store for Broken {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, key: &Key, at: ReadAt) -> Result<Read> {
        self.inner.get(key, self.at(at).await).await
    }

    async fn list(&self, range: &KeyRange, mut options: ListOptions) -> Result<Page> {
        options.at = self.at(options.at).await;
        options.keys_only &= self.flaw != Flaw::KeysOnlyHasValues;
        let mut page = self.inner.list(range, options).await?;
        if self.flaw == Flaw::RemainingIsMissing {
            page.remaining = 0;
        }
        Ok(page)
    }

    async fn create(&self, key: &Key, value: Bytes, mut options: WriteOptions) -> Result<Revision> {
        if self.flaw == Flaw::ExpiryIsIgnored {
            options.ttl = None;
        }
        let value = match self.flaw {
            Flaw::LargeValuesAreCut => {
                value.slice(..value.len().min(self.capabilities().max_value))
            }
            _ => value,
        };
        match self.inner.create(key, value.clone(), options).await {
            Err(Error::Exists { current, .. }) if self.flaw == Flaw::CreateReplaces => {
                self.inner.update(key, value, current.revision, options).await
            }
            other => other,
        }
    }

    async fn update(
        &self,
        key: &Key,
        value: Bytes,
        mut expected: Revision,
        options: WriteOptions,
    ) -> Result<Revision> {
        if self.flaw == Flaw::UpdateIgnoresRevision {
            expected = self.current(key, expected).await;
        }
        self.inner.update(key, value, expected, options).await
    }

    async fn delete(&self, key: &Key, mut expected: Revision) -> Result<Deleted> {
        if self.flaw == Flaw::DeleteIgnoresRevision {
            expected = self.current(key, expected).await;
        }
        self.inner.delete(key, expected).await
    }

    async fn watch(&self, range: &KeyRange, after: Revision) -> Result<BoxWatcher> {
        let range = match self.flaw {
            Flaw::RangeIsIgnored => &KeyRange::all(),
            _ => range,
        };
        let inner = match self.inner.watch(range, after).await {
            Err(Error::Compacted { oldest, .. }) if self.flaw == Flaw::CompactedWatchStartsLate => {
                self.inner.watch(range, oldest).await?
            }
            other => other?,
        };
        Ok(Box::pin(BrokenWatcher { inner, flaw: self.flaw, count: 0 }))
    }

    async fn compact(&self, through: Revision) -> Result<()> {
        match self.flaw {
            Flaw::CompactionIsIgnored => Ok(()),
            _ => self.inner.compact(through).await,
        }
    }

    async fn status(&self) -> Result<StoreStatus> {
        self.inner.status().await
    }
}

struct BrokenWatcher {
    inner: BoxWatcher,
    flaw: Flaw,
    count: usize,
}

impl BrokenWatcher {
    fn spoil(&mut self, mut batch: WatchBatch) -> WatchBatch {
        match self.flaw {
            Flaw::EventsAreSkipped => batch.events.retain(|_| {
                self.count += 1;
                !self.count.is_multiple_of(5)
            }),
            Flaw::EventsComeTwice => {
                let twice = |event: Event| [event.clone(), event];
                batch.events = batch.events.into_iter().flat_map(twice).collect();
            }
            Flaw::EventsAreReversed => batch.events.reverse(),
            Flaw::PreviousIsMissing => {
                for event in &mut batch.events {
                    if let Event::Put { previous, .. } | Event::Delete { previous, .. } = event {
                        *previous = None;
                    }
                }
            }
            Flaw::BookmarksAreAhead => batch.through.0 += 1,
            _ => {}
        }
        batch
    }
}

impl Stream for BrokenWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.inner.poll_next_unpin(context);
        polled.map(|item| item.map(|item| item.map(|batch| self.spoil(batch))))
    }
}

impl Watcher for BrokenWatcher {
    fn request_progress(mut self: Pin<&mut Self>) {
        if self.flaw != Flaw::BookmarksNeverCome {
            self.inner.as_mut().request_progress();
        }
    }
}

struct BrokenFactory(Flaw);

#[async_trait]
impl Factory for BrokenFactory {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(Broken { inner: MemoryStore::new(), flaw: self.0 })
    }

    async fn reopen(&self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn every_broken_store_fails_its_case() {
    for (flaw, case) in [
        (Flaw::StaleReads, "reads_see_every_acknowledged_write"),
        (Flaw::CreateReplaces, "a_create_of_a_taken_key_returns_the_current_entry"),
        (Flaw::UpdateIgnoresRevision, "an_update_compares_the_revision"),
        (Flaw::UpdateIgnoresRevision, "concurrent_updates_of_one_key_lose_nothing"),
        (Flaw::DeleteIgnoresRevision, "a_delete_compares_the_revision"),
        (Flaw::ExactReadsAreLatest, "exact_reads_see_the_state_of_their_revision"),
        (Flaw::ExactReadsAreLatest, "pages_are_stable_under_writes"),
        (Flaw::FutureReadsAreLatest, "exact_reads_of_the_future_are_refused"),
        (Flaw::RemainingIsMissing, "counts_and_keys_only_leave_values_out"),
        (Flaw::KeysOnlyHasValues, "counts_and_keys_only_leave_values_out"),
        (Flaw::LargeValuesAreCut, "too_large_values_are_refused_and_change_nothing"),
        (Flaw::EventsAreSkipped, "a_watch_resumes_at_every_revision"),
        (Flaw::EventsAreSkipped, "a_list_and_the_events_after_it_make_the_next_list"),
        (Flaw::EventsComeTwice, "a_watch_delivers_in_order_once_and_whole"),
        (Flaw::EventsAreReversed, "a_watch_carries_the_previous_value"),
        (Flaw::RangeIsIgnored, "a_watch_sees_only_its_range"),
        (Flaw::PreviousIsMissing, "a_watch_carries_the_previous_value"),
        (Flaw::BookmarksAreAhead, "bookmarks_are_never_ahead_of_events"),
        (Flaw::BookmarksNeverCome, "bookmarks_come_when_asked_for"),
        (Flaw::CompactedWatchStartsLate, "a_watch_resumes_at_the_compaction_point"),
        (Flaw::CompactionIsIgnored, "compaction_forgets_only_the_past"),
        (Flaw::ExpiryIsIgnored, "entries_expire_and_their_deletes_are_watched"),
    ] {
        let run = tokio::spawn(async move { conformance::run(case, &BrokenFactory(flaw)).await });
        assert!(run.await.is_err(), "{case} does not notice {flaw:?}");
    }
}
