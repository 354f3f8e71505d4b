//! The fault and trace wrappers.

use crate::retrying::Retrying;
use async_trait::async_trait;
use futures::StreamExt;
use kubeplane_store_trait::{
    Error, Fault, FaultPlan, FaultStore, Key, KeyRange, Operation, ReadAt, Revision, Store,
    TraceStore, WriteOptions,
    conformance::{Factory, ModelFactory, ModelStore},
};
use std::sync::Arc;

/// Makes model stores inside something else.
pub(crate) struct Wrapped {
    model: ModelFactory,
    wrap: fn(Arc<dyn Store>) -> Arc<dyn Store>,
}

impl Wrapped {
    fn new(wrap: fn(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        Self { model: ModelFactory::default(), wrap }
    }

    /// With a fault wrapper in which nothing goes wrong.
    pub(crate) fn faultless() -> Self {
        Self::new(|inner| Arc::new(FaultStore::new(inner, FaultPlan::none())))
    }

    /// With every fifth call refused and watches broken, under a caller who goes on all the same.
    pub(crate) fn retried() -> Self {
        Self::new(|inner| {
            let broken = |after| Fault::WatchBroken { after };
            let faults = [Fault::Refused, broken(0), broken(1), broken(3)];
            let plan = FaultPlan::seeded(11, 0.2).only(faults);
            Arc::new(Retrying(Arc::new(FaultStore::new(inner, plan))))
        })
    }

    /// With every call traced.
    pub(crate) fn traced() -> Self {
        Self::new(|inner| Arc::new(TraceStore::new(inner, 16)))
    }
}

#[async_trait]
impl Factory for Wrapped {
    async fn fresh(&self) -> Arc<dyn Store> {
        (self.wrap)(self.model.fresh().await)
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        self.model.reopen(store).await.map(self.wrap)
    }

    fn watchers(&self) -> Option<usize> {
        self.model.watchers()
    }
}

async fn create(store: &dyn Store, name: &str) -> Result<Revision, Error> {
    let key = Key::new(name.to_owned()).unwrap();
    store.create(&key, "x".into(), WriteOptions::default()).await
}

async fn exists(store: &dyn Store, name: &str) -> bool {
    let key = Key::new(name.to_owned()).unwrap();
    store.get(&key, ReadAt::Latest).await.unwrap().entry.is_some()
}

#[tokio::test]
async fn planned_faults_happen_as_they_say() {
    let plan = FaultPlan::none()
        .at(0, Fault::Refused)
        .at(1, Fault::RequestLost)
        .at(2, Fault::AnswerLost)
        .at(3, Fault::WatchBroken { after: 1 });
    let store = FaultStore::new(Arc::new(ModelStore::new()), plan);
    assert!(matches!(create(&store, "refused").await, Err(Error::Unavailable { .. })));
    assert!(matches!(create(&store, "lost").await, Err(Error::Indeterminate { .. })));
    assert!(matches!(create(&store, "applied").await, Err(Error::Indeterminate { .. })));
    let inner = store.inner().clone();
    assert!(!exists(&*inner, "refused").await && !exists(&*inner, "lost").await);
    assert!(exists(&*inner, "applied").await);
    let mut watcher = store.watch(&KeyRange::all(), Revision(0)).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().unwrap().events.len(), 1);
    assert!(matches!(watcher.next().await, Some(Err(Error::Unavailable { .. }))));
    assert!(watcher.next().await.is_none());
    create(&store, "after the plan").await.unwrap();
}

#[tokio::test]
async fn a_seed_gives_the_same_faults_again() {
    let run = async |seed| {
        let inner = Arc::new(ModelStore::new());
        let store = FaultStore::new(inner, FaultPlan::seeded(seed, 0.5));
        let mut outcomes = String::new();
        for index in 0..64 {
            outcomes.push(match create(&store, &index.to_string()).await {
                Ok(_) => '.',
                Err(Error::Unavailable { .. }) => 'u',
                Err(_) => 'i',
            });
        }
        outcomes
    };
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    assert!(['.', 'u', 'i'].iter().all(|outcome| first.contains(*outcome)), "{first}");
}

#[tokio::test]
async fn a_trace_remembers_the_last_calls() {
    let store = TraceStore::new(Arc::new(ModelStore::new()), 2);
    let forgotten = create(&store, "a").await.unwrap();
    assert!(create(&store, "a").await.is_err());
    let revision = create(&store, "b").await.unwrap();
    assert!(revision > forgotten);
    let calls = store.take_calls();
    let key = |name: &'static str| Key::new(name).unwrap();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].operation, Operation::Create(key("a")));
    assert!(matches!(calls[0].outcome, Err(Error::Exists { .. })));
    assert_eq!(calls[1].operation, Operation::Create(key("b")));
    assert_eq!(calls[1].outcome.as_ref().unwrap(), &revision);
    assert!(store.take_calls().is_empty());
}
