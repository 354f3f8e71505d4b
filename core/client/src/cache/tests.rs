use super::*;
use crate::{Changes, object::typed_ref};
use futures::{FutureExt, StreamExt};
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};

fn pod(name: &str, uid: &str, version: &str, node: &str) -> Arc<dyn Object> {
    let metadata = ObjectMeta {
        namespace: Some("ns".into()),
        name: Some(name.into()),
        uid: Some(uid.into()),
        resource_version: Some(version.into()),
        labels: Some([("node".to_owned(), node.to_owned())].into()),
        ..ObjectMeta::default()
    };
    Arc::new(Pod { metadata, ..Pod::default() })
}

fn names(read: impl FnOnce(&mut dyn Sink)) -> Vec<String> {
    let mut pods: Vec<Arc<Pod>> = Vec::new();
    read(&mut pods);
    pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
}

fn index(pod: &dyn Object) -> Vec<String> {
    let pod = typed_ref::<Pod>(pod).unwrap();
    pod.metadata.labels.iter().flatten().map(|(_, value)| value.clone()).collect()
}

#[test]
fn an_index_follows_its_objects() {
    let cache = Cache::new();
    let under = |node: &str| names(|sink| cache.by_index("node", node, sink));
    cache.apply(pod("a", "1", "1", "x"));
    cache.add_index("node", Box::new(index), None);
    cache.apply(pod("b", "2", "2", "x"));
    assert_eq!(under("x"), ["a", "b"]);
    cache.apply(pod("a", "1", "3", "y"));
    assert_eq!((under("x"), under("y")), (vec!["b".to_owned()], vec!["a".to_owned()]));
    cache.delete(pod("b", "2", "4", "x"));
    assert!(under("x").is_empty());
    assert_eq!(names(|sink| cache.list_in("ns", sink)), ["a"]);
    assert_eq!((names(|sink| cache.list(sink)), cache.len()), (vec!["a".to_owned()], 1));
}

#[test]
fn an_index_shows_the_newest_state_of_an_object_that_stays_under_its_value() {
    let cache = Cache::new();
    cache.add_index("node", Box::new(index), None);
    cache.apply(pod("a", "1", "1", "x"));
    cache.apply(pod("a", "1", "2", "x"));
    let mut found: Vec<Arc<Pod>> = Vec::new();
    cache.by_index("node", "x", &mut found);
    let versions: Vec<_> =
        found.iter().map(|pod| pod.metadata.resource_version.as_deref()).collect();
    assert_eq!(versions, [Some("2")]);
}

#[test]
fn classes_count_what_is_alike_under_a_value() {
    let cache = Cache::new();
    cache.apply(pod("a", "old", "1", "x"));
    let by_uid = |pod: &dyn Object| u64::from(pod.metadata().uid.as_deref() == Some("old"));
    cache.add_index("node", Box::new(index), Some(Box::new(by_uid)));
    let classes = |node: &str| {
        let classes = cache.classes("node", node).into_iter();
        let seen = |(pod, count): (Arc<dyn Object>, usize)| (pod.metadata().uid.clone(), count);
        let mut seen: Vec<_> = classes.map(seen).collect();
        seen.sort();
        seen
    };
    let (old, new) = (|count| (Some("old".to_owned()), count), |count| (Some("new".into()), count));
    for name in ["b", "c"] {
        cache.apply(pod(name, "old", "1", "x"));
    }
    assert_eq!(classes("x"), [old(3)]);
    cache.apply(pod("b", "new", "2", "x"));
    assert_eq!(classes("x"), [new(1), old(2)]);
    cache.apply(pod("b", "new", "3", "y"));
    cache.apply(pod("c", "old", "4", "y"));
    assert_eq!((classes("x"), classes("y")), (vec![old(1)], vec![new(1), old(1)]));
    cache.delete(pod("a", "old", "5", "x"));
    cache.replace(vec![pod("c", "new", "6", "y")]);
    assert_eq!((classes("x"), classes("y")), (vec![], vec![new(1)]));
}

#[test]
fn a_new_list_tells_readers_only_what_differs() {
    let cache = Cache::new();
    cache.replace(vec![
        pod("same", "1", "1", "x"),
        pod("gone", "2", "1", "x"),
        pod("again", "3", "1", "x"),
    ]);
    let mut changes = Changes::<Pod>::of(&cache);
    assert_eq!(std::iter::from_fn(|| changes.next().now_or_never().flatten()).count(), 3);
    cache.replace(vec![
        pod("same", "1", "1", "x"),
        pod("again", "4", "5", "x"),
        pod("new", "5", "6", "x"),
    ]);
    let mut seen: Vec<String> = std::iter::from_fn(|| changes.next().now_or_never().flatten())
        .map(|change| {
            let name = change.object().metadata.name.clone().unwrap_or_default();
            format!("{}{name}", if change.is_deleted() { "-" } else { "+" })
        })
        .collect();
    seen.sort();
    assert_eq!(seen, ["+again", "+new", "-again", "-gone"]);
}
