//! Clients that write down what they were told.

use super::{END, KEYS};
use futures::StreamExt;
use kubeplane_clock::Seed;
use kubeplane_store_etcd::EtcdStore;
use kubeplane_store_trait::{
    Entry, Error, Event, Key, KeyRange, ReadAt, Retry, Revision, Store, WriteOptions,
};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    Read,
    Create(String),
    Update(String, Revision),
    Delete(Revision),
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This was there at this revision.
    Read(Revision, Option<(Revision, String)>),
    Written(Revision),
    /// Not written, because this was there.
    Refused(Option<(Revision, String)>),
    /// Surely not done.
    Unavailable,
    /// Perhaps done.
    Indeterminate,
}

impl Answer {
    /// The latest revision that whoever got this answer knows of.
    pub(crate) fn revision(&self) -> Option<Revision> {
        match self {
            Self::Read(revision, _) | Self::Written(revision) => Some(*revision),
            Self::Refused(found) => found.as_ref().map(|found| found.0),
            Self::Unavailable | Self::Indeterminate => None,
        }
    }
}

/// A call, and when it was made and answered since the start.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) key: Key,
    pub(crate) action: Action,
    pub(crate) answer: Answer,
    pub(crate) start: Duration,
    pub(crate) end: Duration,
}

/// Writes, reads and deletes until it is over.
pub(crate) async fn write(
    store: EtcdStore,
    client: usize,
    seed: Seed,
    started: Instant,
    over: CancellationToken,
) -> Vec<Operation> {
    let mut operations = Vec::new();
    let mut known: HashMap<Key, Option<Revision>> = HashMap::new();
    for number in 0_u64.. {
        if over.is_cancelled() {
            break;
        }
        let key = Key::new(format!("/registry/a/{}", seed.below(KEYS))).unwrap();
        let value = format!("{client}-{number}");
        let action = match known.get(&key) {
            _ if seed.below(3) == 0 => Action::Read,
            None => Action::Read,
            Some(None) => Action::Create(value),
            Some(Some(at)) if seed.below(4) == 0 => Action::Delete(*at),
            Some(Some(at)) => Action::Update(value, *at),
        };
        let start = started.elapsed();
        let answer = perform(&store, &key, &action).await;
        let end = started.elapsed();
        match &answer {
            Answer::Read(_, found) | Answer::Refused(found) => {
                known.insert(key.clone(), found.as_ref().map(|found| found.0));
            }
            Answer::Written(revision) => {
                let gone = matches!(action, Action::Delete(_));
                known.insert(key.clone(), (!gone).then_some(*revision));
            }
            Answer::Unavailable | Answer::Indeterminate => {
                known.remove(&key);
            }
        }
        operations.push(Operation { key, action, answer, start, end });
        tokio::time::sleep(Duration::from_millis(seed.below(10))).await;
    }
    operations
}

async fn perform(store: &EtcdStore, key: &Key, action: &Action) -> Answer {
    let options = WriteOptions::default();
    let result = match action {
        Action::Read => match store.get(key, ReadAt::Latest).await {
            Ok(read) => return Answer::Read(read.revision, seen(read.entry)),
            Err(error) => Err(error),
        },
        Action::Create(value) => store.create(key, value.clone().into(), options).await,
        Action::Update(value, at) => store.update(key, value.clone().into(), *at, options).await,
        Action::Delete(at) => store.delete(key, *at).await.map(|deleted| deleted.revision),
    };
    match result {
        Ok(revision) => Answer::Written(revision),
        Err(Error::Exists { current, .. }) => Answer::Refused(seen(Some(current))),
        Err(Error::Conflict { current, .. }) => Answer::Refused(seen(current)),
        Err(Error::Unavailable { .. }) => Answer::Unavailable,
        Err(Error::Indeterminate { .. }) => Answer::Indeterminate,
        Err(error) => panic!("{action:?}: {error}"),
    }
}

fn seen(entry: Option<Entry>) -> Option<(Revision, String)> {
    entry.map(|entry| (entry.revision, String::from_utf8(entry.value.to_vec()).unwrap()))
}

/// What a watch saw from the first to the last write.
pub(crate) struct Watched {
    pub(crate) events: Vec<Event>,
    /// How often the store gave the watch up.
    pub(crate) restarts: usize,
    /// The bookmarks and the errors, each with the revision reached before it.
    pub(crate) trail: Vec<(Revision, String)>,
}

/// Watches everything after `begin`, anew after each error, until the last key is written.
pub(crate) async fn watch(store: EtcdStore, begin: Revision) -> Watched {
    let mut watched = Watched { events: Vec::new(), restarts: 0, trail: Vec::new() };
    let mut through = begin;
    // The last revision that came with events: after `Lagged` a bookmark is worth nothing.
    let mut certain = begin;
    let mut wants_progress = 0_u32;
    loop {
        let mut watcher = match store.watch(&KeyRange::prefix("/registry/"), through).await {
            Ok(watcher) => watcher,
            Err(error) => {
                assert_eq!(error.retry(), Retry::Safe, "{error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        while let Some(batch) = watcher.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    assert!(matches!(error, Error::Lagged | Error::Unavailable { .. }), "{error}");
                    watched.trail.push((through, error.to_string()));
                    if matches!(error, Error::Lagged) {
                        through = certain;
                    }
                    break;
                }
            };
            assert!(batch.through >= through, "bookmarks go back");
            for event in &batch.events {
                assert!(event.revision() > through, "{event:?} comes twice");
            }
            if batch.events.is_empty() {
                watched.trail.push((through, format!("bookmark {}", batch.through)));
            } else {
                certain = batch.through;
            }
            through = batch.through;
            let ended = batch.events.iter().any(|event| event.key().as_ref() == END.as_bytes());
            watched.events.extend(batch.events);
            if ended {
                return watched;
            }
            wants_progress += 1;
            if wants_progress.is_multiple_of(50) {
                watcher.as_mut().request_progress();
            }
        }
        watched.restarts += 1;
    }
}

/// All that was written, read from the healed cluster in one go.
pub(crate) async fn history(store: &EtcdStore, begin: Revision) -> Vec<Event> {
    let mut watcher = store.watch(&KeyRange::prefix("/registry/"), begin).await.unwrap();
    let mut events: Vec<Event> = Vec::new();
    while events.last().is_none_or(|event| event.key().as_ref() != END.as_bytes()) {
        events.extend(watcher.next().await.unwrap().unwrap().events);
    }
    events
}
