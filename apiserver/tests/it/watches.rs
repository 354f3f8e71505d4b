use crate::harness::{Server, brief, version};
use kubeplane_store_trait::Store;
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn every_change_is_seen_from_every_revision() {
    let server = Server::ready().await;
    let mut versions = vec![version(&server.get(MAPS).await.expect(200))];
    let mut object = server.config_map("one", json!({})).await;
    versions.push(version(&object));
    for value in ["2", "3"] {
        object["data"]["a"] = value.into();
        object = server.put(&format!("{MAPS}/one"), &object).await.expect(200);
        versions.push(version(&object));
    }
    server.delete(&format!("{MAPS}/one"), &json!(null)).await.expect(200);
    let all = ["ADDED", "MODIFIED", "MODIFIED", "DELETED"];
    for (skip, from) in versions.iter().enumerate() {
        let mut events = server.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
        for kind in &all[skip..] {
            assert_eq!(events.brief().await, brief(kind, "one"), "from {from}");
        }
    }
}

#[tokio::test]
async fn a_watch_from_before_the_cache_began_reads_the_stores_history() {
    let server = Server::ready().await;
    let first = server.config_map("one", json!({})).await;
    server.config_map("two", json!({})).await;
    // The first read fills the cache; what came before is only in the store.
    server.get(MAPS).await.expect(200);
    let mut events =
        server.watch(&format!("{MAPS}?watch=1&resourceVersion={}", version(&first))).await;
    assert_eq!(events.brief().await, brief("ADDED", "two"));
    server.config_map("three", json!({})).await;
    assert_eq!(events.brief().await, brief("ADDED", "three"));
}

#[tokio::test]
async fn without_a_revision_the_present_comes_first() {
    let server = Server::ready().await;
    server.config_map("one", json!({})).await;
    let mut events = server.watch(&format!("{MAPS}?watch=true")).await;
    assert_eq!(events.brief().await, brief("ADDED", "one"));
    server.config_map("two", json!({})).await;
    assert_eq!(events.brief().await, brief("ADDED", "two"));
}

#[tokio::test]
async fn a_watch_without_initial_events_begins_with_what_comes() {
    let server = Server::ready().await;
    server.config_map("one", json!({})).await;
    server.get(MAPS).await.expect(200);
    let query =
        "watch=1&resourceVersion=0&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let mut events = server.watch(&format!("{MAPS}?{query}")).await;
    server.config_map("two", json!({})).await;
    assert_eq!(events.brief().await, brief("ADDED", "two"));
}

#[tokio::test]
async fn a_watch_with_no_time_left_says_nothing() {
    let server = Server::ready().await;
    server.config_map("one", json!({})).await;
    let mut events = server.watch(&format!("{MAPS}?watch=1&timeoutSeconds=-1")).await;
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_watch_from_a_revision_that_does_not_come_ends_with_an_error() {
    let server = Server::ready().await;
    let query = "watch=1&resourceVersion=999999999&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut events = server.watch(&format!("{MAPS}?{query}")).await;
    let told = events.next().await.unwrap();
    assert_eq!(told["type"], "ERROR");
    assert_eq!(told["object"]["code"], 504);
    assert_eq!(told["object"]["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn selectors_turn_changes_into_arrivals_and_departures() {
    let server = Server::ready().await;
    let mut object = server.config_map("one", json!({"app": "no"})).await;
    let path =
        format!("{MAPS}?watch=1&labelSelector=app%3Dyes&resourceVersion={}", version(&object));
    let mut events = server.watch(&path).await;
    let mut versions = Vec::new();
    for app in ["yes", "yes", "no"] {
        object["metadata"]["labels"]["app"] = app.into();
        object["data"]["a"] = versions.len().to_string().into();
        object = server.put(&format!("{MAPS}/one"), &object).await.expect(200);
        versions.push(version(&object));
    }
    assert_eq!(events.brief().await, brief("ADDED", "one"));
    assert_eq!(events.brief().await, brief("MODIFIED", "one"));
    let left = events.next().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["app"], "yes");
    assert_eq!(version(&left["object"]), versions[2]);
}

#[tokio::test]
async fn a_streaming_list_ends_with_an_annotated_bookmark() {
    let server = Server::ready().await;
    server.config_map("one", json!({})).await;
    let query =
        "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = server.watch(&format!("{MAPS}?{query}")).await;
    assert_eq!(events.brief().await, brief("ADDED", "one"));
    let bookmark = events.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["kind"], "ConfigMap");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let from = version(&bookmark["object"]);
    server.config_map("two", json!({})).await;
    let mut later = server.watch(&format!("{MAPS}?watch=1&resourceVersion={from}")).await;
    assert_eq!(later.brief().await, brief("ADDED", "two"));
}

#[tokio::test]
async fn without_its_gate_a_watch_lists_as_it_always_did() {
    let off = "WatchList=false".parse().unwrap();
    let server = Server::with(|builder| builder.features(off));
    let namespace = json!({"metadata": {"name": "default"}});
    server.post("/api/v1/namespaces", &namespace).await.expect(201);
    server.config_map("one", json!({})).await;
    let query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let refused = server.get(&format!("{MAPS}?{query}")).await;
    let why = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature \
        gate is enabled";
    assert!(refused.message().contains(why), "{}", refused.text);
    refused.expect(422);
    // No bookmark tells where the list ends.
    let mut events = server.watch(&format!("{MAPS}?watch=1&allowWatchBookmarks=true")).await;
    assert_eq!(events.brief().await, brief("ADDED", "one"));
    server.config_map("two", json!({})).await;
    assert_eq!(events.brief().await, brief("ADDED", "two"));
}

#[tokio::test]
async fn a_compacted_revision_is_told_in_the_stream() {
    let server = Server::ready().await;
    let object = server.config_map("one", json!({})).await;
    for name in ["two", "three"] {
        server.config_map(name, json!({})).await;
    }
    let newest = server.store.status().await.unwrap().revision;
    server.store.compact(newest).await.unwrap();
    let mut events =
        server.watch(&format!("{MAPS}?watch=1&resourceVersion={}", version(&object))).await;
    let error = events.next().await.unwrap();
    assert_eq!(error["type"], "ERROR");
    assert_eq!(
        (&error["object"]["code"], &error["object"]["reason"]),
        (&json!(410), &json!("Expired"))
    );
    assert!(error["object"]["message"].as_str().unwrap().starts_with("too old resource version: "));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_over() {
    let server = Server::ready().await;
    let mut events =
        server.watch(&format!("{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true")).await;
    while let Some(event) = events.next().await {
        assert_eq!(event["type"], "BOOKMARK");
    }
}

#[tokio::test]
async fn a_table_watch_sends_its_columns_once() {
    let server = Server::ready().await;
    server.config_map("one", json!({})).await;
    server.config_map("two", json!({})).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1");
    let answer = server.call("GET", &path, &[("accept", table)], b"").await;
    let lines: Vec<serde_json::Value> =
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["object"]["kind"], "Table");
    assert!(lines[0]["object"]["columnDefinitions"].is_array());
    assert!(lines[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(lines[1]["object"]["rows"][0]["cells"][0], "two");
}

#[tokio::test]
async fn kube_rs_watches_in_process() {
    use futures::{StreamExt, TryStreamExt};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube_client::{Api, api::WatchEvent};
    let server = Server::ready().await;
    let api: Api<ConfigMap> = Api::namespaced(
        server.api.client_as(kubeplane_core::auth::UserInfo::new("admin", ["x"])),
        "default",
    );
    let events = api.watch(&Default::default(), "0").await.unwrap();
    server.config_map("one", json!({})).await;
    let mut events = events.boxed();
    let first = loop {
        match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Bookmark(_) => {}
            event => break event,
        }
    };
    assert!(matches!(first, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("one")));
    let list = api.list(&Default::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
}

#[tokio::test]
async fn bookmarks_tell_how_far_the_store_is() {
    use kubeplane_clock::{Clock, PausedClock};
    use std::{sync::Arc, time::Duration};
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let shared = clock.clone();
    let server = Server::with(|builder| builder.clock(Arc::new(shared)));
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "default"}})).await.expect(201);
    let object = server.config_map("one", json!({})).await;
    let path =
        format!("{MAPS}?watch=1&allowWatchBookmarks=true&resourceVersion={}", version(&object));
    let mut events = server.watch(&path).await;
    let secret = json!({"metadata": {"name": "other"}});
    let later = server.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    let started = clock.elapsed();
    let bookmark = tokio::select! {
        event = events.next() => event.unwrap(),
        () = async {
            loop {
                clock.advance(Duration::from_millis(100));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        } => unreachable!(),
    };
    assert!(clock.elapsed() - started > Duration::from_secs(45));
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(version(&bookmark["object"]), version(&later));
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_ended() {
    let server = Server::ready().await;
    let mut object = server.config_map("one", json!({})).await;
    let mut events =
        server.watch(&format!("{MAPS}?watch=1&resourceVersion={}", version(&object))).await;
    for index in 0..2500 {
        object["data"]["a"] = index.to_string().into();
        object = server.put(&format!("{MAPS}/one"), &object).await.expect(200);
    }
    let mut count = 0;
    while events.next().await.is_some() {
        count += 1;
    }
    assert!(count < 2500, "{count}");
    // From where it was it can go on, for the store remembers.
    let list = server.get(MAPS).await.expect(200);
    assert_eq!(list["items"][0]["data"]["a"], "2499");
}
