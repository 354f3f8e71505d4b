//! Options of lists and watches, the sizes and forms of answers: what a server of Kubernetes 1.36 was seen to say.

use crate::harness::{Server, names, version};
use flate2::read::GzDecoder;
use kubeplane_core::features::Features;
use serde_json::{Value, json};
use std::io::Read;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn filled(count: usize) -> (Server, Vec<String>) {
    let server = Server::ready().await;
    let mut versions = Vec::new();
    for index in 0..count {
        let made = server.config_map(&format!("m{index}"), json!({"t": "x"})).await;
        versions.push(version(&made));
    }
    (server, versions)
}

#[tokio::test]
async fn revisions_that_are_no_numbers_are_refused_as_each_verb_does() {
    let (server, _) = filled(1).await;
    let why = "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
    let listed = server.get(&format!("{MAPS}?resourceVersion=abc")).await;
    assert_eq!(
        (listed.code.as_u16(), listed.message()),
        (400, format!("invalid resource version: {why}"))
    );
    for path in ["?watch=1&resourceVersion=abc", "/m0?resourceVersion=abc"] {
        let refused = server.get(&format!("{MAPS}{path}")).await;
        assert_eq!((refused.code.as_u16(), refused.message()), (500, why.to_owned()));
        assert_eq!(refused.json().get("reason"), None);
    }
}

#[tokio::test]
async fn revisions_and_their_match_choose_the_state() {
    let (server, versions) = filled(5).await;
    let at = &versions[2];
    for (query, count) in [
        (String::new(), 5),
        ("resourceVersion=0".into(), 5),
        (format!("resourceVersion={at}"), 5),
        (format!("resourceVersion={at}&resourceVersionMatch=NotOlderThan"), 5),
        (format!("resourceVersion={at}&resourceVersionMatch=Exact"), 3),
        ("limit=2".into(), 2),
        // What is there comes whole.
        ("limit=2&resourceVersion=0".into(), 5),
        (format!("limit=2&resourceVersion={at}"), 2),
        (format!("limit=2&resourceVersion={at}&resourceVersionMatch=Exact"), 2),
        (format!("limit=2&resourceVersion={at}&resourceVersionMatch=NotOlderThan"), 2),
        ("limit=-1".into(), 5),
    ] {
        let list = server.get(&format!("{MAPS}?labelSelector=t%3Dx&{query}")).await.expect(200);
        assert_eq!(names(&list).len(), count, "{query}");
        assert_eq!(list["metadata"].get("remainingItemCount"), None, "{query}");
        assert_eq!(list["metadata"]["continue"].is_string(), count == 2, "{query}");
        if query.ends_with("Exact") {
            assert_eq!(version(&list), *at, "{query}");
        }
    }
}

#[tokio::test]
async fn revisions_of_the_future_and_the_past_say_so() {
    let (server, versions) = filled(3).await;
    let future = server.get(&format!("{MAPS}?resourceVersion=999999999")).await;
    assert_eq!(future.headers["retry-after"], "1");
    let told = future.expect(504);
    assert_eq!(told["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(told["details"]["retryAfterSeconds"], 1);
    let exact = format!("{MAPS}?resourceVersion=999999999&resourceVersionMatch=Exact");
    let told = server.get(&exact).await.expect(504);
    assert_eq!(told["details"].get("retryAfterSeconds"), None);
    server.delete(&format!("{MAPS}/m0"), &json!(null)).await.expect(200);
    let latest = version(&server.get(MAPS).await.expect(200));
    use kubeplane_store_trait::{Revision, Store};
    server.store.compact(Revision(latest.parse().unwrap())).await.unwrap();
    let exact = format!("{MAPS}?resourceVersion={}&resourceVersionMatch=Exact", versions[0]);
    let gone = server.get(&exact).await;
    assert_eq!(gone.code.as_u16(), 410);
    assert_eq!(gone.message(), "The resourceVersion for the provided list is too old.");
}

#[tokio::test]
async fn continue_tokens_are_checked_first() {
    let (server, _) = filled(3).await;
    let bad = server.get(&format!("{MAPS}?continue=abc&resourceVersion=1")).await;
    assert_eq!(bad.code.as_u16(), 400);
    assert_eq!(
        bad.message(),
        "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"
    );
    let first = server.get(&format!("{MAPS}?limit=1")).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let next = format!("{MAPS}?limit=1&continue={token}");
    let second = server.get(&format!("{next}&resourceVersion=0")).await.expect(200);
    assert_eq!(
        (names(&second), &second["metadata"]["remainingItemCount"]),
        (vec!["m1"], &json!(1))
    );
    let refused = server.get(&format!("{next}&resourceVersion=5")).await;
    assert_eq!(refused.message(), "specifying resource version is not allowed when using continue");
}

#[tokio::test]
async fn what_cannot_be_read_is_told_before_what_does_not_go_together() {
    let (server, _) = filled(2).await;
    let list = server.get(&format!("{MAPS}?limit=1")).await.expect(200);
    let token = list["metadata"]["continue"].as_str().unwrap();
    let continued = format!("continue={token}&resourceVersion=abc");
    for (query, message) in [
        ("limit=", "strconv.ParseInt: parsing \"\": invalid syntax"),
        ("timeoutSeconds=&watch=1", "strconv.ParseInt: parsing \"\": invalid syntax"),
        ("limit=x&resourceVersionMatch=Exact", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "continue=junk",
            "invalid continue token: continue key is not valid: invalid character '\\u008e' looking for beginning of value",
        ),
        (
            "resourceVersion=99999999999999999999",
            "invalid resource version: resourceVersion: Invalid value: \"99999999999999999999\": strconv.ParseUint: parsing \"99999999999999999999\": value out of range",
        ),
        (continued.as_str(), "specifying resource version is not allowed when using continue"),
    ] {
        let refused = server.get(&format!("{MAPS}?{query}")).await;
        assert_eq!((refused.code.as_u16(), refused.message().as_str()), (400, message), "{query}");
    }
    let escaped = server.get(&format!("{MAPS}?fieldSelector=metadata.name%3Da%5C%3Db")).await;
    assert!(names(&escaped.expect(200)).is_empty());
}

#[tokio::test]
async fn unknown_fields_are_refused_in_the_words_of_each_kind() {
    let server = Server::ready().await;
    for (path, message) in [
        ("/api/v1/pods", "field label not supported: foo"),
        (
            "/api/v1/configmaps",
            "\"foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        (
            "/apis/apps/v1/replicasets",
            "\"foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
        ),
        ("/apis/batch/v1/jobs", "field label \"foo\" not supported for Job"),
        ("/apis/events.k8s.io/v1/events", "field label not supported: foo"),
        (
            "/apis/certificates.k8s.io/v1/certificatesigningrequests",
            "field label not supported: foo",
        ),
    ] {
        let refused = server.get(&format!("{path}?fieldSelector=foo%3Dbar")).await;
        assert_eq!((refused.code.as_u16(), refused.message()), (400, message.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn only_large_answers_are_compressed() {
    let server = Server::ready().await;
    let big = |name: &str| json!({"metadata": {"name": name}, "data": {"x": "y".repeat(100_000)}});
    server.post(MAPS, &big("one")).await.expect(201);
    let gzip = [("accept-encoding", "deflate, gzip")];
    let small = server.call("GET", &format!("{MAPS}/one"), &gzip, b"").await;
    assert!(!small.headers.contains_key("content-encoding"));
    server.post(MAPS, &big("two")).await.expect(201);
    let plain = server.get(MAPS).await;
    let packed = server.call("GET", MAPS, &gzip, b"").await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert_eq!(packed.headers["vary"], "Accept-Encoding");
    assert!(packed.bytes.len() < 10_000);
    let mut text = String::new();
    GzDecoder::new(&packed.bytes[..]).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text);
    let quality = [("accept-encoding", "gzip;q=1.0")];
    let plain = server.call("GET", MAPS, &quality, b"").await;
    assert!(!plain.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn no_answer_is_compressed_where_that_is_off() {
    let off: Features = "APIResponseCompression=false".parse().unwrap();
    let server = Server::with(|builder| builder.features(off));
    let namespace = json!({"metadata": {"name": "default"}});
    server.post("/api/v1/namespaces", &namespace).await.expect(201);
    let big = json!({"metadata": {"name": "one"}, "data": {"x": "y".repeat(200_000)}});
    server.post(MAPS, &big).await.expect(201);
    let gzip = [("accept-encoding", "gzip")];
    let plain = server.call("GET", &format!("{MAPS}/one"), &gzip, b"").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    assert!(plain.text.contains("yyyy"));
}

#[tokio::test]
async fn pretty_answers_are_indented_and_end_without_a_line() {
    let (server, _) = filled(1).await;
    for (path, headers) in [
        (format!("{MAPS}/m0?pretty=true"), [("user-agent", "x")]),
        (format!("{MAPS}/m0"), [("user-agent", "curl/8.1")]),
    ] {
        let answer = server.call("GET", &path, &headers, b"").await;
        assert!(
            answer.text.starts_with("{\n  \"") && answer.text.ends_with("\n}"),
            "{}",
            answer.text
        );
    }
}

#[tokio::test]
async fn forms_that_do_not_fit_are_refused() {
    let (server, _) = filled(1).await;
    let get = |path: String, accept: &'static str| {
        let server = &server;
        async move { server.call("GET", &path, &[("accept", accept)], b"").await }
    };
    let one = format!("{MAPS}/m0");
    let refused = get(one.clone(), "text/html").await;
    assert_eq!(refused.code.as_u16(), 406);
    assert_eq!(
        refused.message(),
        "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
    let refused =
        get(one, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await;
    assert_eq!(
        refused.message(),
        "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)"
    );
    let refused =
        get(MAPS.into(), "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").await;
    assert_eq!(
        refused.message(),
        "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)"
    );
    let refused = get(MAPS.into(), "text/html").await;
    assert!(
        refused.message().ends_with(
            "application/vnd.kubernetes.protobuf, application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        ),
        "a list's path serves watches too: {}",
        refused.text
    );
    let taken = get(MAPS.into(), "application/json;q=0").await;
    assert_eq!(taken.code.as_u16(), 200);
}

#[tokio::test]
async fn a_bookmark_is_an_object_in_which_nothing_is_set() {
    let server = Server::ready().await;
    let query =
        "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut events = server.watch(&format!("/apis/events.k8s.io/v1/events?{query}")).await;
    let mut bookmark = events.next().await.unwrap()["object"].clone();
    let metadata = bookmark.as_object_mut().unwrap().remove("metadata").unwrap();
    assert_eq!(metadata["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    assert_eq!(metadata.as_object().map(serde_json::Map::len), Some(2));
    let want: Value = json!({
        "kind": "Event", "apiVersion": "events.k8s.io/v1", "eventTime": null, "regarding": {},
        "deprecatedSource": {}, "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null,
    });
    assert_eq!(bookmark, want);
}
