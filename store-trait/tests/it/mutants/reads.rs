use crate::broken::Flaw;
use kubeplane_store_trait::{
    Error, Key, KeyRange, ListOptions, Page, Read, ReadAt, Result, Revision, StoreStatus,
    conformance::ModelState,
};

/// The revision before the latest, where that can be read.
fn stale(state: &ModelState, at: ReadAt) -> ReadAt {
    match at {
        ReadAt::Latest => ReadAt::Exact(Revision(state.revision.0 - 1).max(state.compacted)),
        exact => exact,
    }
}

#[derive(Debug, Default)]
pub(crate) struct StaleReadsMutant;

impl Flaw for StaleReadsMutant {
    fn get(&self, state: &mut ModelState, key: &Key, at: ReadAt) -> Result<Read> {
        state.get(key, stale(state, at))
    }
}

#[derive(Debug, Default)]
pub(crate) struct StaleListsMutant;

impl Flaw for StaleListsMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let at = stale(state, options.at);
        state.list(range, ListOptions { at, ..options })
    }
}

#[derive(Debug, Default)]
pub(crate) struct StaleRevisionMutant;

impl Flaw for StaleRevisionMutant {
    fn status(&self, state: &mut ModelState) -> StoreStatus {
        let mut status = state.status();
        status.revision.0 -= 1;
        status
    }
}

#[derive(Debug, Default)]
pub(crate) struct RevisionIsAheadMutant;

impl Flaw for RevisionIsAheadMutant {
    fn status(&self, state: &mut ModelState) -> StoreStatus {
        let mut status = state.status();
        status.revision.0 += 1;
        status
    }
}

#[derive(Debug, Default)]
pub(crate) struct ExactReadsAreLatestMutant;

impl Flaw for ExactReadsAreLatestMutant {
    fn get(&self, state: &mut ModelState, key: &Key, at: ReadAt) -> Result<Read> {
        state.get(key, at)?;
        state.get(key, ReadAt::Latest)
    }
}

#[derive(Debug, Default)]
pub(crate) struct FutureReadsAreLatestMutant;

impl Flaw for FutureReadsAreLatestMutant {
    fn get(&self, state: &mut ModelState, key: &Key, at: ReadAt) -> Result<Read> {
        match state.get(key, at) {
            Err(Error::Future { .. }) => state.get(key, ReadAt::Latest),
            other => other,
        }
    }
}

/// Pages after the first are read as things are by then.
#[derive(Debug, Default)]
pub(crate) struct MovingPagesMutant;

impl Flaw for MovingPagesMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let ReadAt::Exact(revision) = options.at else { return state.list(range, options) };
        if options.limit.is_none() {
            return state.list(range, options);
        }
        let page = state.list(range, ListOptions { at: ReadAt::Latest, ..options })?;
        Ok(Page { revision, ..page })
    }
}

#[derive(Debug, Default)]
pub(crate) struct RemainingIsMissingMutant;

impl Flaw for RemainingIsMissingMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let page = state.list(range, options)?;
        Ok(Page { remaining: if options.count_only { page.remaining } else { 0 }, ..page })
    }
}

#[derive(Debug, Default)]
pub(crate) struct CountIsOfEverythingMutant;

impl Flaw for CountIsOfEverythingMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let range = if options.count_only { &KeyRange::all() } else { range };
        state.list(range, options)
    }
}

#[derive(Debug, Default)]
pub(crate) struct CountIsOfTheLatestMutant;

impl Flaw for CountIsOfTheLatestMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let at = if options.count_only { ReadAt::Latest } else { options.at };
        state.list(range, ListOptions { at, ..options })
    }
}

#[derive(Debug, Default)]
pub(crate) struct LimitIsIgnoredMutant;

impl Flaw for LimitIsIgnoredMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        state.list(range, ListOptions { limit: None, ..options })
    }
}

/// As etcd takes it.
#[derive(Debug, Default)]
pub(crate) struct ZeroLimitIsNoneMutant;

impl Flaw for ZeroLimitIsNoneMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        state
            .list(range, ListOptions { limit: options.limit.filter(|limit| *limit > 0), ..options })
    }
}

#[derive(Debug, Default)]
pub(crate) struct KeysOnlyHasValuesMutant;

impl Flaw for KeysOnlyHasValuesMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        state.list(range, ListOptions { keys_only: false, ..options })
    }
}

#[derive(Debug, Default)]
pub(crate) struct ListStartIsExcludedMutant;

impl Flaw for ListStartIsExcludedMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        state.list(&without_start(range), options)
    }
}

pub(super) fn without_start(range: &KeyRange) -> KeyRange {
    Key::new(range.start().clone()).map_or_else(|| range.clone(), |start| range.after(&start))
}

#[derive(Debug, Default)]
pub(crate) struct ListEndIsIncludedMutant;

impl Flaw for ListEndIsIncludedMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        state.list(&with_end(range), options)
    }
}

pub(super) fn with_end(range: &KeyRange) -> KeyRange {
    let end = range.end().map(|end| [&end[..], b"\0"].concat().into());
    KeyRange::between(range.start().clone(), end)
}

#[derive(Debug, Default)]
pub(crate) struct EmptyRangeIsAllMutant;

impl Flaw for EmptyRangeIsAllMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let all = KeyRange::all();
        state.list(if range.is_empty() { &all } else { range }, options)
    }
}

/// Takes the end of a prefix of 0xff bytes for "nothing".
#[derive(Debug, Default)]
pub(crate) struct OpenEndIsIgnoredMutant;

impl Flaw for OpenEndIsIgnoredMutant {
    fn list(&self, state: &mut ModelState, range: &KeyRange, options: ListOptions) -> Result<Page> {
        let page = state.list(range, options)?;
        let nothing = range.end().is_none() && range.start().first() == Some(&0xff);
        Ok(if nothing { Page { entries: Vec::new(), ..page } } else { page })
    }
}
