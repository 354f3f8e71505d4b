//! The watch cache of one served resource.
//!
//! ```text
//!   store.list ─> rows ─┐
//!                       ├─> Snapshot (persistent map behind an atomic pointer) ──> get, list
//!   store.watch ─> feed ┤
//!                       └─> Ring of events ──> Cursor, one per watcher
//! ```
//!
//! A cache starts when it is first asked for, so a resource nobody reads costs nothing.

#[cfg(test)]
mod conformance;
mod cursor;
mod feed;
mod pick;
mod reader;
mod ring;
mod row;
#[cfg(test)]
mod tests;
mod warm;

pub(crate) use cursor::{Cursor, Next};
pub(crate) use reader::CacheReader;
pub(crate) use ring::{Change, Event, close_frame, open_frame, protobuf_frame};
pub(crate) use row::Row;

use crate::stored::Shape;
use arc_swap::ArcSwap;
use bytes::Bytes;
use imbl::OrdMap;
use kubeplane_clock::{SharedClock, watch};
use kubeplane_core::{
    Definition,
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{KeyRange, Revision, Store};
use parking_lot::{Mutex, RwLock};
use ring::Ring;
use std::{
    ops::Bound,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How long a read waits for the cache to reach a revision.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a first read waits for the cache to be filled.
const FILL: Duration = Duration::from_secs(15);
/// How often a waiting read asks the store for progress.
const ASK: Duration = Duration::from_millis(100);

/// What all caches share.
#[derive(Debug, Clone)]
pub(crate) struct CacheOptions {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: SharedClock,
}

/// How fresh a snapshot must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Whatever is there.
    Any,
    /// Not older than this revision.
    AtLeast(Revision),
    /// Every write acknowledged before the call is seen.
    Consistent,
}

/// The objects of a resource at one revision.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) rows: OrdMap<Bytes, Arc<Row>>,
    /// The bytes of all values.
    pub(crate) bytes: u64,
    /// Every change up to this revision is in.
    pub(crate) through: Revision,
    /// The newest change of this resource.
    pub(crate) changed: Revision,
    pub(crate) epoch: u64,
}

impl Snapshot {
    /// The rows of a range, in key order.
    pub(crate) fn range(
        &self,
        range: &KeyRange,
    ) -> impl Iterator<Item = (&Bytes, &Arc<Row>)> + use<'_> {
        let end = range.end().map_or(Bound::Unbounded, |end| Bound::Excluded(end.clone()));
        self.rows.range((Bound::Included(range.start().clone()), end))
    }
}

/// How far a cache has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) filled: bool,
    pub(crate) through: Revision,
    pub(crate) epoch: u64,
}

#[derive(Debug)]
pub(crate) struct Inner {
    shape: Shape,
    prefix: String,
    options: CacheOptions,
    snapshot: ArcSwap<Snapshot>,
    ring: RwLock<Ring>,
    progress: watch::Sender<Progress>,
    ask: Notify,
    /// Why it cannot be brought up to the store, while that is so.
    failure: Mutex<Option<ApiError>>,
    closed: CancellationToken,
}

/// The cache of a resource; starts when first read.
#[derive(Debug)]
pub(crate) struct Cache {
    inner: Arc<Inner>,
    task: OnceLock<AbortOnDropHandle<()>>,
    warm: warm::Warm,
}

impl Cache {
    pub(crate) fn new(definition: Arc<Definition>, prefix: String, options: CacheOptions) -> Self {
        let inner = Inner {
            shape: Shape::of(definition),
            prefix,
            options,
            snapshot: ArcSwap::default(),
            ring: RwLock::default(),
            progress: watch::Sender::default(),
            ask: Notify::new(),
            failure: Mutex::default(),
            closed: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner), task: OnceLock::new(), warm: warm::Warm::default() }
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.inner.shape
    }

    /// Starts the cache if it is not running yet.
    pub(crate) fn start(&self) {
        self.task
            .get_or_init(|| AbortOnDropHandle::new(tokio::spawn(feed::run(self.inner.clone()))));
    }

    /// Notes that rows are asked for in protobuf: what was made is kept until nobody has asked for a while.
    pub(crate) fn keep_protobuf(&self) {
        self.warm.touch(&self.inner);
    }

    /// Ends the cache and everyone who watches it.
    pub(crate) fn close(&self) {
        self.inner.closed.cancel();
    }

    /// What is there, if the cache has been filled.
    pub(crate) fn peek(&self) -> Option<Arc<Snapshot>> {
        self.inner.progress.borrow().filled.then(|| self.inner.snapshot.load_full())
    }

    /// A snapshot as fresh as asked for.
    ///
    /// # Errors
    /// 504 when it does not get that fresh in time, 503 when the store cannot be read.
    pub(crate) async fn snapshot(&self, freshness: Freshness) -> ApiResult<Arc<Snapshot>> {
        self.start();
        let wanted = match freshness {
            Freshness::Any => Revision(0),
            Freshness::AtLeast(revision) => revision,
            Freshness::Consistent => {
                let revision = self.inner.options.store.revision().await;
                revision.map_err(|error| crate::storage::plain_error(&error))?
            }
        };
        self.wait(wanted).await?;
        Ok(self.inner.snapshot.load_full())
    }

    async fn wait(&self, wanted: Revision) -> ApiResult<()> {
        let now = self.progress();
        // Most often nothing is waited for.
        if now.filled && now.through >= wanted {
            return Ok(());
        }
        let clock = &self.inner.options.clock;
        let start = clock.elapsed();
        let mut progress = self.inner.progress.subscribe();
        loop {
            let now = *progress.borrow_and_update();
            if now.filled && now.through >= wanted {
                return Ok(());
            }
            if let Some(failure) = self.inner.failure.lock().clone() {
                return Err(failure);
            }
            let waited = clock.elapsed().saturating_sub(start);
            if !now.filled && waited > FILL {
                return Err(ApiError::unavailable("storage is (re)initializing"));
            }
            if now.filled && waited > PATIENCE {
                return Err(crate::storage::future_error(wanted, now.through));
            }
            self.inner.ask.notify_one();
            tokio::select! {
                biased;
                changed = progress.changed() => changed.map_err(|_| ApiError::unavailable("shutting down"))?,
                () = clock.sleep(ASK) => {}
                () = self.inner.closed.cancelled() => return Err(ApiError::no_such_path()),
            }
        }
    }

    /// All events after a revision; `None` when the ring no longer holds them all.
    pub(crate) fn events(&self, after: Revision) -> Option<Vec<Arc<Event>>> {
        let ring = self.inner.ring.read();
        ring.read(ring.seek(after)?, usize::MAX)
    }

    /// A cursor behind `after`; `None` when the ring no longer holds (or never held) what follows it.
    pub(crate) fn cursor(&self, after: Revision) -> Option<Cursor> {
        Cursor::open(&self.inner, after)
    }

    /// Asks the store for its progress, so that a bookmark can be newer than the newest change.
    pub(crate) fn ask_progress(&self) {
        self.inner.ask.notify_one();
    }

    /// How far the cache has come.
    pub(crate) fn progress(&self) -> Progress {
        *self.inner.progress.borrow()
    }
}
