use crate::{
    Change, Error, InformerSource, Informers, Listed, ObjectKey, Query, Result, SourceEvent,
    SourceEvents,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::discovery::ApiResource;
use kubeplane_clock::{PausedClock, Seed};
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::VecDeque, sync::Arc, time::Duration};

fn object(name: &str, version: u64) -> Bytes {
    let metadata = json!({"namespace": "ns", "name": name, "uid": name, "resourceVersion": version.to_string()});
    Bytes::from(json!({"metadata": metadata}).to_string())
}

fn expired() -> Error {
    Error::Expired { message: "too old".to_owned() }
}

type List = Result<(u64, Vec<Bytes>)>;

/// Answers in the order given; then lists fail and watches stay silent.
#[derive(Debug, Default)]
struct Script {
    lists: Mutex<VecDeque<List>>,
    watches: Mutex<VecDeque<Vec<Result<SourceEvent>>>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl InformerSource for Script {
    async fn list(&self, _: &Query, at_least: &str) -> Result<Listed> {
        self.asked.lock().push(format!("list {at_least:?}"));
        let next = self.lists.lock().pop_front();
        let (version, items) =
            next.unwrap_or_else(|| Err(Error::Interrupted(std::io::Error::other("end"))))?;
        Ok(Listed { resource_version: version.to_string(), items })
    }

    async fn watch(&self, _: &Query, after: &str, _: Duration) -> Result<SourceEvents> {
        self.asked.lock().push(format!("watch {after}"));
        let next = self.watches.lock().pop_front();
        Ok(next.map_or_else(|| stream::pending().boxed(), |events| stream::iter(events).boxed()))
    }
}

/// Plays a script to its last watch; what was asked, and the names and versions known then.
async fn play(script: Script) -> (Vec<String>, Vec<String>, Vec<String>) {
    let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let watches = script.watches.lock().len();
    let script = Arc::new(script);
    let informers = Informers::from_source(script.clone(), Arc::new(clock.clone()), Seed::new(1));
    let informer = informers.of::<ConfigMap>();
    let mut changes = informer.subscribe();
    let silent =
        || script.asked.lock().iter().filter(|asked| asked.starts_with("watch")).count() > watches;
    while !silent() {
        tokio::task::yield_now().await;
        clock.advance(Duration::from_millis(50));
    }
    let seen = std::iter::from_fn(|| changes.next().now_or_never().flatten())
        .map(|change| {
            let mark = match &change {
                Change::Added(_) => '+',
                Change::Updated { .. } => '~',
                Change::Deleted(_) => '-',
            };
            format!("{mark}{}", change.object().metadata.name.clone().unwrap_or_default())
        })
        .collect();
    let known = informer.list();
    let known = known.iter().map(|map| {
        let version = map.metadata.resource_version.clone().unwrap_or_default();
        format!("{}@{version}", ObjectKey::of(&**map))
    });
    let asked = script.asked.lock().clone();
    (asked, seen, known.collect())
}

#[tokio::test]
async fn a_watch_goes_on_where_the_last_one_ended() {
    let script = Script::default();
    script.lists.lock().push_back(Ok((5, vec![object("a", 3)])));
    script.watches.lock().push_back(vec![
        Ok(SourceEvent::Added(object("b", 6))),
        Ok(SourceEvent::Modified(object("a", 7))),
        Ok(SourceEvent::Bookmark("9".to_owned())),
    ]);
    script.watches.lock().push_back(vec![Ok(SourceEvent::Deleted(object("b", 10)))]);
    let (asked, _, known) = play(script).await;
    assert_eq!(asked, ["list \"\"", "watch 5", "watch 9", "watch 10"]);
    assert_eq!(known, ["ns/a@7"]);
}

#[tokio::test]
async fn an_expired_watch_leads_to_a_new_list_that_is_not_older() {
    let script = Script::default();
    script.lists.lock().push_back(Ok((5, vec![object("a", 3), object("b", 4)])));
    script.watches.lock().push_back(vec![Err(expired())]);
    script.lists.lock().push_back(Err(expired()));
    script.lists.lock().push_back(Ok((20, vec![object("b", 15), object("c", 16)])));
    let (asked, seen, known) = play(script).await;
    assert_eq!(asked, ["list \"\"", "watch 5", "list \"5\"", "list \"\"", "watch 20"]);
    assert_eq!(known, ["ns/b@15", "ns/c@16"]);
    assert!(seen.contains(&"-a".to_owned()) && seen.contains(&"+c".to_owned()), "{seen:?}");
}

#[tokio::test]
async fn one_object_that_cannot_be_read_does_not_hide_the_others() {
    let script = Script::default();
    let bad = Bytes::from_static(
        b"{\"metadata\":{\"name\":\"bad\",\"resourceVersion\":\"8\"},\"data\":7}",
    );
    script.lists.lock().push_back(Ok((5, vec![bad.clone(), object("a", 3)])));
    script.watches.lock().push_back(vec![Ok(SourceEvent::Added(bad))]);
    let (asked, _, known) = play(script).await;
    assert_eq!(asked, ["list \"\"", "watch 5", "watch 8"]);
    assert_eq!(known, ["ns/a@3"]);
}

/// Text that shows by its count whether someone still holds it.
struct Text(Arc<Bytes>);

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[tokio::test]
async fn the_text_of_a_list_is_not_kept_while_its_objects_are_watched() {
    let text = Arc::new(object("a", 3));
    let script = Arc::new(Script::default());
    script.lists.lock().push_back(Ok((5, vec![Bytes::from_owner(Text(text.clone()))])));
    let clock = Arc::new(PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let informers = Informers::from_source(script.clone(), clock, Seed::new(1));
    let informer = informers.of::<ConfigMap>();
    while script.asked.lock().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*script.asked.lock(), ["list \"\"", "watch 5"]);
    assert_eq!((informer.len(), Arc::strong_count(&text)), (1, 1));
}

#[tokio::test]
async fn kinds_and_selectors_are_apart_and_the_same_ones_share() {
    let clock = Arc::new(PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let script = Arc::new(Script::default());
    for name in ["a", "b", "c"] {
        script.lists.lock().push_back(Ok((5, vec![object(name, 3)])));
    }
    let informers = Informers::from_source(script, clock, Seed::new(1));
    let maps = informers.of::<ConfigMap>();
    let some = informers.filtered::<ConfigMap>("metadata.name=b", "");
    let secrets = informers.of::<Secret>();
    let same = informers.of::<ConfigMap>();
    informers.synced().await;
    let name = |meta: &ObjectMeta| meta.name.clone().unwrap_or_default();
    assert_eq!((maps.len(), some.len(), secrets.len()), (1, 1, 1));
    let shared = (maps.list().pop().unwrap(), same.list().pop().unwrap());
    assert!(Arc::ptr_eq(&shared.0, &shared.1));
    let mut names = [
        name(&shared.0.metadata),
        name(&some.list()[0].metadata),
        name(&secrets.list()[0].metadata),
    ];
    names.sort();
    assert_eq!(names, ["a", "b", "c"], "three lists, one for each");
}

#[tokio::test]
async fn a_kind_that_is_known_at_run_time_alone_is_read_whole() {
    let script = Arc::new(Script::default());
    let metadata = json!({"namespace": "ns", "name": "a", "uid": "a", "resourceVersion": "3"});
    let data = json!({"metadata": metadata, "data": {"k": "v"}});
    script.lists.lock().push_back(Ok((5, vec![Bytes::from(data.to_string())])));
    let clock = Arc::new(PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let informers = Informers::from_source(script.clone(), clock, Seed::new(1));
    let resource = ApiResource::erase::<ConfigMap>(&());
    let maps = informers.dynamic(resource.clone());
    informers.synced().await;
    assert_eq!(maps.get("ns", "a").unwrap().data["data"], json!({"k": "v"}));
    assert_eq!(informers.dynamic(resource.clone()).len(), 1, "it is shared");
    assert_eq!(*script.asked.lock(), ["list \"\"", "watch 5"]);
    let mut changes = maps.subscribe();
    assert!(changes.next().await.is_some());
    informers.forget_dynamic(resource);
    assert!(changes.next().await.is_none());
}

#[tokio::test]
async fn all_is_told_again_where_that_is_asked_for() {
    let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let script = Arc::new(Script::default());
    script.lists.lock().push_back(Ok((5, vec![object("a", 3), object("b", 4)])));
    let informers = Informers::from_source(script.clone(), Arc::new(clock.clone()), Seed::new(1));
    let maps = informers.of::<ConfigMap>();
    informers.synced().await;
    let mut changes = maps.subscribe_resynced(Arc::new(clock.clone()), Duration::from_secs(10));
    let mut told = || -> Vec<String> {
        let ready = std::iter::from_fn(|| changes.next().now_or_never().flatten());
        let told = ready.map(|change| {
            let again = change.old().is_some_and(|old| Arc::ptr_eq(old, change.object()));
            let name = change.object().metadata.name.clone().unwrap_or_default();
            if again { format!("{name} again") } else { name }
        });
        told.collect()
    };
    assert_eq!(told(), ["a", "b"]);
    clock.advance(Duration::from_secs(9));
    assert!(told().is_empty());
    for _ in 0..2 {
        clock.advance(Duration::from_secs(10));
        assert_eq!(told(), ["a again", "b again"]);
    }
    assert_eq!(*script.asked.lock(), ["list \"\"", "watch 5"], "the server is not asked");
    informers.stop();
    assert!(changes.next().await.is_none());
}

#[tokio::test]
async fn readers_end_when_informers_stop() {
    let clock = Arc::new(PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH));
    let informers = Informers::from_source(Arc::new(Script::default()), clock, Seed::new(1));
    let informer = informers.of::<ConfigMap>();
    let mut changes = informer.subscribe();
    assert_eq!(informers.unsynced(), ["configmaps"]);
    drop(informers);
    assert!(changes.next().await.is_none());
    informer.synced().await;
    assert!(!informer.has_synced());
}

#[tokio::test]
async fn what_is_kept_of_a_kind_is_said_before_it_is_read_and_once() {
    let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
    let script = Arc::new(Script::default());
    let with_data = |name: &str, version: u64| {
        let mut object: serde_json::Value = serde_json::from_slice(&object(name, version)).unwrap();
        object["data"] = json!({"k": "dg=="});
        Bytes::from(object.to_string())
    };
    // One informer at a time, so that each reads what is meant for it: a list, and a watch that ends.
    let begin = || {
        script.lists.lock().push_back(Ok((5, vec![with_data("a", 3)])));
        script.watches.lock().push_back(vec![Ok(SourceEvent::Added(with_data("b", 6)))]);
    };
    let read = async |watches: usize| {
        let is_watch = |asked: &&String| asked.starts_with("watch");
        while script.asked.lock().iter().filter(is_watch).count() < watches {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_millis(50));
        }
    };
    let informers = Informers::from_source(script.clone(), Arc::new(clock.clone()), Seed::new(1));
    begin();
    let secrets = informers.of::<Secret>();
    read(2).await;
    let late = informers.transform::<Secret>(|secret| secret.data = None);
    assert!(matches!(late, Err(Error::TransformTooLate { kind }) if kind == "Secret"));
    informers.transform::<ConfigMap>(|map| map.data = None).unwrap();
    assert!(informers.transform::<ConfigMap>(|_| {}).is_err(), "it was said already");
    begin();
    let maps = informers.of::<ConfigMap>();
    read(4).await;
    begin();
    let some = informers.filtered::<ConfigMap>("metadata.name=b", "");
    read(6).await;
    assert_eq!([maps.len(), some.len(), secrets.len()], [2; 3]);
    for map in [maps.list(), some.list()].concat() {
        assert_eq!(map.data, None, "{:?}", map.metadata.name);
        assert!(map.metadata.uid.is_some());
    }
    assert!(secrets.list().iter().all(|secret| secret.data.is_some()));
}
