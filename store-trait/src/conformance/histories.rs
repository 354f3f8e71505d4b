//! Random histories against a small model.

use super::{
    Factory,
    reader::Reader,
    setup::{conflict, create, failed, key, list, ok, some, update},
};
use crate::{Entry, Error, Event, Key, KeyRange, ReadAt, Revision, Store, WriteOptions};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

type Model = BTreeMap<Key, Entry>;

const SEEDS: u64 = 6;
const WRITES: usize = 60;
/// Names one seed to run in place of the usual ones.
const VARIABLE: &str = "KUBEPLANE_SEED";

/// Says which seed it was, when the case fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history of seed {0} failed; {VARIABLE}={0} runs it alone", self.0);
        }
    }
}

fn seeds() -> Vec<u64> {
    match std::env::var(VARIABLE).ok() {
        None => (0..SEEDS).collect(),
        Some(text) => match text.parse() {
            Ok(seed) => vec![seed],
            Err(error) => panic!("{VARIABLE}={text}: {error}"),
        },
    }
}

pub(super) async fn a_list_and_the_events_after_it_make_the_next_list(factory: &dyn Factory) {
    let store = factory.fresh().await;
    for seed in seeds() {
        let seed = Seed(seed);
        let prefix = format!("{}/", seed.0);
        let range = KeyRange::prefix(prefix.clone());
        let mut chance = StdRng::seed_from_u64(seed.0);
        let history = write(&*store, &prefix, &mut chance).await;
        for (revision, model) in &history {
            let page = list(&*store, &range, ReadAt::Exact(*revision)).await;
            assert!(page.entries.iter().eq(model.values()), "list at {revision}");
        }
        // From A to B, where B may be long past or the latest.
        for _ in 0..10 {
            let from = chance.random_range(0..history.len());
            let to = chance.random_range(from..history.len());
            replayed(&*store, &range, &history[from], &history[to]).await;
        }
        let (first, last) = (some(history.first()), some(history.last()));
        replayed(&*store, &range, first, last).await;
    }
}

/// The list at A and the events after it make the list at B.
async fn replayed(
    store: &dyn Store,
    range: &KeyRange,
    (from, start): &(Revision, Model),
    (to, end): &(Revision, Model),
) {
    let mut model = start.clone();
    let mut reader = Reader::start(store, range, *from).await;
    for event in reader.until(*to).await {
        if event.revision() <= *to {
            replay(&mut model, event);
        }
    }
    assert_eq!(&model, end, "the list at {from} and the events to {to}");
}

/// A random history of a few keys, with refused writes in it; returns the state after each write.
async fn write(store: &dyn Store, prefix: &str, chance: &mut StdRng) -> Vec<(Revision, Model)> {
    let mut model = Model::new();
    let mut history = Vec::new();
    for step in 0..WRITES {
        let name = format!("{prefix}{}", chance.random_range(0..6));
        let value = step.to_string();
        let current = model.get(&key(&name)).cloned();
        if chance.random_range(0..4) == 0 {
            refused(store, &name, current.as_ref()).await;
        }
        let revision = match current {
            None => {
                let revision = create(store, &name, &value).await;
                let entry =
                    Entry { key: key(&name), value: value.into(), revision, created: revision };
                model.insert(key(&name), entry);
                revision
            }
            Some(entry) if chance.random_range(0..3) == 0 => {
                model.remove(&entry.key);
                let deleted = ok(store.delete(&entry.key, entry.revision).await);
                assert_eq!(deleted.previous, entry);
                deleted.revision
            }
            Some(entry) => {
                let revision = update(store, &name, &value, entry.revision).await;
                model.insert(key(&name), Entry { value: value.into(), revision, ..entry });
                revision
            }
        };
        history.push((revision, model.clone()));
    }
    history
}

/// Tries what the model says must fail, and why.
async fn refused(store: &dyn Store, name: &str, current: Option<&Entry>) {
    let (at, options) = (key(name), WriteOptions::default());
    let wrong = current.map_or(Revision(1), |entry| Revision(entry.revision.0 + 1));
    conflict(failed(store.update(&at, "x".into(), wrong, options).await), name, current);
    conflict(failed(store.delete(&at, wrong).await), name, current);
    if let Some(entry) = current {
        match failed(store.create(&at, "x".into(), options).await) {
            Error::Exists { current, .. } => assert_eq!(&current, entry),
            other => panic!("must be Exists, but is: {other}"),
        }
    }
}

fn replay(model: &mut Model, event: Event) {
    match event {
        Event::Put { entry, previous } => {
            assert_eq!(model.insert(entry.key.clone(), entry), previous);
        }
        Event::Delete { key, previous, .. } => assert_eq!(model.remove(&key), previous),
    }
}
