use super::reads::{with_end, without_start};
use crate::broken::{Flaw, Watch};
use kubeplane_store_trait::{
    Error, Event, KeyRange, ReadAt, Result, Revision, StoreStatus, WatchBatch,
    conformance::{ModelState, ModelStore, ModelWatcher},
};
use parking_lot::Mutex;

type Item = Result<WatchBatch>;

/// Changes a batch.
fn spoilt(item: Item, change: impl FnOnce(&mut WatchBatch)) -> Vec<Item> {
    vec![item.map(|mut batch| {
        change(&mut batch);
        batch
    })]
}

#[derive(Debug, Default)]
pub(crate) struct EventsAreSkippedMutant;

impl Flaw for EventsAreSkippedMutant {
    fn deliver(&self, watch: &mut Watch, item: Item) -> Vec<Item> {
        let mut number = watch.count;
        spoilt(item, |batch| {
            batch.events.retain(|_| {
                number += 1;
                !number.is_multiple_of(5)
            });
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct EventsComeTwiceMutant;

impl Flaw for EventsComeTwiceMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        spoilt(item, |batch| {
            let events = std::mem::take(&mut batch.events);
            batch.events = events.into_iter().flat_map(|event| [event.clone(), event]).collect();
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct EventsAreReversedMutant;

impl Flaw for EventsAreReversedMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        spoilt(item, |batch| batch.events.reverse())
    }
}

#[derive(Debug, Default)]
pub(crate) struct DeletesAreSilentMutant;

impl Flaw for DeletesAreSilentMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        spoilt(item, |batch| batch.events.retain(|event| matches!(event, Event::Put { .. })))
    }
}

#[derive(Debug, Default)]
pub(crate) struct FirstBatchIsLostMutant;

impl Flaw for FirstBatchIsLostMutant {
    fn deliver(&self, watch: &mut Watch, item: Item) -> Vec<Item> {
        if watch.count == 0 && item.as_ref().is_ok_and(|batch| !batch.events.is_empty()) {
            return Vec::new();
        }
        vec![item]
    }
}

#[derive(Debug, Default)]
pub(crate) struct FromRevisionIsIgnoredMutant;

impl Flaw for FromRevisionIsIgnoredMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        model.with(|state| state.check_kept(after))?;
        let latest = model.with(|state| state.revision);
        model.follow(range, latest)
    }
}

/// Begins with the event of the revision itself.
#[derive(Debug, Default)]
pub(crate) struct FromRevisionIsIncludedMutant;

impl Flaw for FromRevisionIsIncludedMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        model.with(|state| state.check_kept(after))?;
        let before = Revision(after.0.saturating_sub(1));
        let oldest = model.with(|state| state.compacted);
        model.follow(range, before.max(oldest))
    }
}

#[derive(Debug, Default)]
pub(crate) struct FutureWatchIsRefusedMutant;

impl Flaw for FutureWatchIsRefusedMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        model.with(|state| state.at(ReadAt::Exact(after)).map(|_| ()))?;
        model.follow(range, after)
    }
}

#[derive(Debug, Default)]
pub(crate) struct FutureWatchStartsNowMutant;

impl Flaw for FutureWatchStartsNowMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        let latest = model.with(|state| state.revision);
        model.follow(range, after.min(latest))
    }
}

#[derive(Debug, Default)]
pub(crate) struct RangeIsIgnoredMutant;

impl Flaw for RangeIsIgnoredMutant {
    fn watch(&self, model: &ModelStore, _: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        model.follow(&KeyRange::all(), after)
    }
}

#[derive(Debug, Default)]
pub(crate) struct WatchStartIsExcludedMutant;

impl Flaw for WatchStartIsExcludedMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        model.follow(&without_start(range), after)
    }
}

#[derive(Debug, Default)]
pub(crate) struct WatchEndIsIncludedMutant;

impl Flaw for WatchEndIsIncludedMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        model.follow(&with_end(range), after)
    }
}

#[derive(Debug, Default)]
pub(crate) struct PreviousIsMissingMutant;

impl Flaw for PreviousIsMissingMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        spoilt(item, |batch| {
            for event in &mut batch.events {
                if let Event::Put { previous, .. } | Event::Delete { previous, .. } = event {
                    *previous = None;
                }
            }
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct PreviousIsTheNewMutant;

impl Flaw for PreviousIsTheNewMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        spoilt(item, |batch| {
            for event in &mut batch.events {
                if let Event::Put { entry, previous: Some(previous) } = event {
                    *previous = entry.clone();
                }
            }
        })
    }
}

/// Promises one revision more than it has delivered.
#[derive(Debug, Default)]
pub(crate) struct EarlyBookmarkMutant;

impl Flaw for EarlyBookmarkMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        spoilt(item, |batch| {
            if batch.events.is_empty() {
                batch.through.0 += 1;
            }
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct LateThroughMutant;

impl Flaw for LateThroughMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        spoilt(item, |batch| {
            if let Some(first) = batch.events.first() {
                batch.through = first.revision();
            }
        })
    }
}

#[derive(Debug, Default)]
pub(crate) struct NoBookmarksMutant;

impl Flaw for NoBookmarksMutant {
    fn bookmarks(&self) -> bool {
        false
    }
}

/// The changes of one revision in two batches.
#[derive(Debug, Default)]
pub(crate) struct SplitBatchMutant;

impl Flaw for SplitBatchMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        split(item, |revision| revision)
    }
}

/// The same, hidden behind a `through` that lags.
#[derive(Debug, Default)]
pub(crate) struct SplitRevisionMutant;

impl Flaw for SplitRevisionMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        split(item, |revision| Revision(revision.0 - 1))
    }
}

fn split(item: Item, through: impl Fn(Revision) -> Revision) -> Vec<Item> {
    let Ok(mut batch) = item else { return vec![item] };
    let pairs = batch.events.windows(2).position(|pair| pair[0].revision() == pair[1].revision());
    let Some(at) = pairs else { return vec![Ok(batch)] };
    let rest = batch.events.split_off(at + 1);
    let first = WatchBatch { through: through(batch.events[at].revision()), events: batch.events };
    vec![Ok(first), Ok(WatchBatch { events: rest, through: batch.through })]
}

/// Tells watchers before readers can see it: the store says a revision behind what a watcher was shown.
#[derive(Debug, Default)]
pub(crate) struct WatchAheadOfReadsMutant;

impl Flaw for WatchAheadOfReadsMutant {
    fn status(&self, state: &mut ModelState) -> StoreStatus {
        let mut status = state.status();
        if status.revision.0 > 20 {
            status.revision.0 -= 2;
        }
        status
    }
}

/// Goes on behind what was lost, without a word.
#[derive(Debug, Default)]
pub(crate) struct SilentLagMutant;

fn go_on(watch: &mut Watch) {
    let oldest = watch.model.with(|state| state.compacted);
    if let Ok(inner) = watch.model.follow(&watch.range, oldest) {
        watch.inner = Box::pin(inner);
    }
}

impl Flaw for SilentLagMutant {
    fn deliver(&self, watch: &mut Watch, item: Item) -> Vec<Item> {
        if matches!(item, Err(Error::Lagged)) {
            go_on(watch);
            return Vec::new();
        }
        vec![item]
    }
}

/// Says so, but does not end.
#[derive(Debug, Default)]
pub(crate) struct LagGoesOnMutant;

impl Flaw for LagGoesOnMutant {
    fn deliver(&self, watch: &mut Watch, item: Item) -> Vec<Item> {
        if matches!(item, Err(Error::Lagged)) {
            go_on(watch);
        }
        vec![item]
    }
}

/// Ends, but does not say why.
#[derive(Debug, Default)]
pub(crate) struct LagWithoutErrorMutant;

impl Flaw for LagWithoutErrorMutant {
    fn deliver(&self, _: &mut Watch, item: Item) -> Vec<Item> {
        if item.is_err() { Vec::new() } else { vec![item] }
    }
}

/// Keeps what a watcher needs after the watcher is gone.
#[derive(Debug, Default)]
pub(crate) struct WatcherLeakMutant {
    leaked: Mutex<Vec<ModelWatcher>>,
}

impl Flaw for WatcherLeakMutant {
    fn watch(&self, model: &ModelStore, range: &KeyRange, after: Revision) -> Result<ModelWatcher> {
        self.leaked.lock().push(model.follow(range, after)?);
        model.follow(range, after)
    }
}
