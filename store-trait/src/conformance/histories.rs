use super::{
    Factory,
    reader::Reader,
    setup::{create, key, list, ok, some, update},
};
use crate::{Entry, Event, Key, KeyRange, ReadAt, Revision, Store};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

type Model = BTreeMap<Key, Entry>;

const SEEDS: u64 = 6;
const WRITES: usize = 60;

pub(super) async fn a_list_and_the_events_after_it_make_the_next_list(factory: &dyn Factory) {
    let store = factory.fresh().await;
    for seed in 0..SEEDS {
        let prefix = format!("{seed}/");
        let range = KeyRange::prefix(prefix.clone());
        let history = write(&*store, &prefix, seed).await;
        let (last, end) = some(history.last());
        for (revision, model) in &history {
            let page = list(&*store, &range, ReadAt::Exact(*revision)).await;
            assert!(page.entries.iter().eq(model.values()), "seed {seed}: list at {revision}");
        }
        for (revision, model) in history.iter().step_by(7) {
            let mut model = model.clone();
            let mut reader = Reader::start(&*store, &range, *revision).await;
            for event in reader.until(*last).await {
                replay(&mut model, event);
            }
            assert_eq!(&model, end, "seed {seed}: list at {revision} and the events after it");
        }
    }
}

/// A random history of a few keys; returns the state after each write.
async fn write(store: &dyn Store, prefix: &str, seed: u64) -> Vec<(Revision, Model)> {
    let mut chance = StdRng::seed_from_u64(seed);
    let mut model = Model::new();
    let mut history = Vec::new();
    for step in 0..WRITES {
        let name = format!("{prefix}{}", chance.random_range(0..6));
        let value = step.to_string();
        let current = model.get(&key(&name)).cloned();
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
                ok(store.delete(&entry.key, entry.revision).await).revision
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

fn replay(model: &mut Model, event: Event) {
    match event {
        Event::Put { entry, previous } => {
            assert_eq!(model.insert(entry.key.clone(), entry), previous);
        }
        Event::Delete { key, previous, .. } => assert_eq!(model.remove(&key), previous),
    }
}
