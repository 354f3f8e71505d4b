//! Requests, answers, watches and stored values in the protobuf form.

use crate::harness::{Answer, Server, names, version};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use kubeplane_core::{
    Object,
    decode::conform,
    protobuf::{CONTENT_TYPE, Message, WATCH_CONTENT_TYPE, unwrap, wrap},
    schema::{builtin, builtin_names},
};
use kubeplane_store_trait::{Key, ReadAt, Store, WriteOptions};
use serde_json::{Value, json};
use std::time::Duration;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const RECORDED: &str = include_str!("../../builtin/tests/it/creates.jsonl");

/// The protobuf body of an object.
fn body(object: &Value) -> Vec<u8> {
    let text = |key: &str| object[key].as_str().unwrap();
    let message = Message::of_kind(text("apiVersion"), text("kind")).unwrap();
    let raw = message.encode(object.to_string().as_bytes(), None).unwrap();
    wrap(text("apiVersion"), text("kind"), &raw)
}

/// The object of a protobuf body, as JSON would have it.
fn opened(bytes: &[u8]) -> Value {
    let unknown = unwrap(bytes).unwrap();
    let message = match unknown.kind.as_str() {
        "PartialObjectMetadata" => Message::metadata_only(),
        kind => Message::of_kind(&unknown.api_version, kind).unwrap(),
    };
    let mut object =
        Object::from_value(Value::Object(message.decode(unknown.raw).unwrap())).unwrap();
    if let Some(schema) = builtin(message.name()) {
        conform(&mut object, &schema).unwrap();
    }
    object.set(&["kind"], unknown.kind);
    object.set(&["apiVersion"], unknown.api_version);
    object.into_value()
}

impl Server {
    async fn proto(&self, method: &str, path: &str, sent: &[u8]) -> Answer {
        let headers = [("content-type", CONTENT_TYPE), ("accept", CONTENT_TYPE)];
        self.call(method, path, &headers, sent).await
    }
}

fn expect(answer: &Answer, code: u16) -> Value {
    assert_eq!(answer.code.as_u16(), code, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], CONTENT_TYPE);
    opened(&answer.bytes)
}

fn map(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "labels": {"a": name}}, "data": {"k": "v"},
    })
}

#[test]
fn recorded_objects_survive_both_ways() {
    let mut kinds = std::collections::BTreeSet::new();
    for line in RECORDED.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let mut object = record["answer"]["object"].clone();
        // The kinds of claim templates are no part of the protobuf form; defaults put them in again.
        let claims = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
        for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
            claim.retain(|key, _| !matches!(key.as_str(), "kind" | "apiVersion"));
        }
        let Some(kind) = object["kind"].as_str() else { continue };
        let message = Message::of_kind(object["apiVersion"].as_str().unwrap(), kind).unwrap();
        let mut conformed = Object::from_value(object.clone()).unwrap();
        // Some have a placeholder where each server has an address of its own.
        if conform(&mut conformed, &builtin(message.name()).unwrap()).is_err() {
            continue;
        }
        let want = conformed.into_value();
        let sent = body(&want);
        assert_eq!(opened(&sent), want, "{}", record["id"]);
        // And the other way: the same bytes again.
        assert_eq!(body(&opened(&sent)), sent, "{}", record["id"]);
        kinds.insert(kind.to_owned());
    }
    assert!(kinds.len() > 20, "{kinds:?}");
    assert!(builtin_names().count() > 400);
}

#[tokio::test]
async fn objects_are_written_and_read_in_protobuf() {
    let server = Server::ready().await;
    let created = expect(&server.proto("POST", MAPS, &body(&map("one"))).await, 201);
    let read = server.get(&format!("{MAPS}/one")).await.expect(200);
    assert_eq!(created, read);
    assert_eq!(expect(&server.proto("GET", &format!("{MAPS}/one"), b"").await, 200), read);
    let mut changed = read.clone();
    changed["data"]["k"] = "w".into();
    let path = format!("{MAPS}/one");
    let updated = expect(&server.proto("PUT", &path, &body(&changed)).await, 200);
    assert_eq!(updated["data"]["k"], "w");
    assert_eq!(updated["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]["f:k"], json!({}));
    let patch = [("content-type", "application/merge-patch+json"), ("accept", CONTENT_TYPE)];
    let patched = server.call("PATCH", &path, &patch, br#"{"data":{"k":"x"}}"#).await;
    assert_eq!(expect(&patched, 200)["data"]["k"], "x");
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "preconditions": {"uid": "other"},
    });
    let message = Message::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions").unwrap();
    let raw = message.encode(options.to_string().as_bytes(), None).unwrap();
    let refused = server.proto("DELETE", &path, &wrap("v1", "DeleteOptions", &raw)).await;
    assert_eq!(expect(&refused, 409)["reason"], "Conflict");
    let deleted = server.proto("DELETE", &path, &wrap("v1", "DeleteOptions", b"")).await;
    assert_eq!(expect(&deleted, 200)["status"], "Success");
}

/// The items of a list's body, and its metadata.
fn list(bytes: &[u8], kind: &str) -> (Value, Vec<Value>) {
    let unknown = unwrap(bytes).unwrap();
    assert!(unknown.kind.ends_with("List"), "{}", unknown.kind);
    let item = match kind {
        "PartialObjectMetadata" => Message::metadata_only(),
        kind => Message::of_kind("v1", kind).unwrap(),
    };
    let meta = Message::builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta").unwrap();
    let (mut rest, mut found, mut items) = (unknown.raw, Value::Null, Vec::new());
    while let Some((tag, tail)) = rest.split_first() {
        let (mut length, mut shift, mut at) = (0_usize, 0, 0);
        loop {
            length |= usize::from(tail[at] & 0x7f) << shift;
            (shift, at) = (shift + 7, at + 1);
            if tail[at - 1] & 0x80 == 0 {
                break;
            }
        }
        let (field, tail) = tail[at..].split_at(length);
        match tag {
            0x0a => found = Value::Object(meta.decode(field).unwrap()),
            0x12 => items.push(Value::Object(item.decode(field).unwrap())),
            other => panic!("tag {other}"),
        }
        rest = tail;
    }
    (found, items)
}

#[tokio::test]
async fn lists_are_spliced_from_encoded_objects() {
    let server = Server::ready().await;
    for index in 0..40 {
        server.config_map(&format!("m{index:02}"), json!({"pad": "x".repeat(60)})).await;
    }
    let json = server.get(MAPS).await.expect(200);
    let answer = server.call("GET", MAPS, &[("accept", CONTENT_TYPE)], b"").await;
    let (meta, items) = list(&answer.bytes, "ConfigMap");
    assert_eq!(meta["resourceVersion"], json["metadata"]["resourceVersion"]);
    assert_eq!(Value::from(items), json["items"]);
    let page = format!("{MAPS}?limit=3");
    let answer = server.call("GET", &page, &[("accept", CONTENT_TYPE)], b"").await;
    let (meta, items) = list(&answer.bytes, "ConfigMap");
    assert_eq!((items.len(), &meta["remainingItemCount"]), (3, &json!(37)));
    assert!(meta["continue"].is_string());
    let partial = format!("{CONTENT_TYPE};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let answer = server.call("GET", MAPS, &[("accept", &partial)], b"").await;
    assert_eq!(unwrap(&answer.bytes).unwrap().kind, "PartialObjectMetadataList");
    let (_, items) = list(&answer.bytes, "PartialObjectMetadata");
    assert_eq!(items[7]["metadata"], json["items"][7]["metadata"]);
    assert_eq!(names(&json)[7], "m07");
}

/// The next frame of a protobuf watch: type and object.
async fn frame(watch: &mut kubeplane_apiserver::Body, buffer: &mut Vec<u8>) -> (String, Value) {
    loop {
        if let Some(length) = buffer.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*length) as usize;
            if buffer.len() >= end {
                let frame: Vec<_> = buffer.drain(..end).skip(4).collect();
                let kind_end = 2 + usize::from(frame[1]);
                let kind = String::from_utf8(frame[2..kind_end].to_vec()).unwrap();
                let magic = frame.windows(4).position(|window| window == b"k8s\0").unwrap();
                return (kind, opened(&frame[magic..]));
            }
        }
        let next = tokio::time::timeout(Duration::from_secs(30), watch.frame()).await;
        let next = next.expect("a frame in time").expect("no end").unwrap();
        buffer.extend_from_slice(&next.into_data().unwrap());
    }
}

#[tokio::test]
async fn watches_send_frames_with_a_length() {
    let server = Server::ready().await;
    let one = server.config_map("one", json!({"app": "yes"})).await;
    let query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&labelSelector=app%3Dyes";
    let request = Request::get(format!("{MAPS}?{query}"))
        .header("authorization", "Bearer admin")
        .header("accept", WATCH_CONTENT_TYPE)
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = server.send(request).await;
    assert_eq!(response.headers()["content-type"], WATCH_CONTENT_TYPE);
    let (mut watch, mut buffer) = (response.into_body(), Vec::new());
    assert_eq!(frame(&mut watch, &mut buffer).await, ("ADDED".into(), one.clone()));
    let (kind, bookmark) = frame(&mut watch, &mut buffer).await;
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let mut gone = one;
    gone["metadata"]["labels"]["app"] = "no".into();
    let gone = server.put(&format!("{MAPS}/one"), &gone).await.expect(200);
    let (kind, shown) = frame(&mut watch, &mut buffer).await;
    assert_eq!((kind.as_str(), version(&shown)), ("DELETED", version(&gone)));
    assert_eq!(shown["metadata"]["labels"]["app"], "yes");
}

#[tokio::test]
async fn failures_are_told_in_protobuf_and_refusals_name_what_is_offered() {
    let server = Server::ready().await;
    let missing = server.proto("GET", &format!("{MAPS}/none"), b"").await;
    let status = expect(&missing, 404);
    assert_eq!((&status["kind"], &status["details"]["name"]), (&json!("Status"), &json!("none")));
    let table = format!("{CONTENT_TYPE};as=Table;g=meta.k8s.io;v=v1");
    let refused = server.call("GET", MAPS, &[("accept", &table)], b"").await;
    assert_eq!(refused.code.as_u16(), 406);
    let offered = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    assert_eq!(refused.message(), offered);
    let cbor = [("content-type", "application/cbor")];
    let refused = server.call("POST", MAPS, &cbor, b"\xa0").await;
    assert_eq!(refused.code.as_u16(), 415);
    let accepted = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    assert_eq!(refused.message(), accepted);
    let sent = [("content-type", CONTENT_TYPE)];
    let refused = server.call("POST", MAPS, &sent, b"{}").await;
    assert_eq!(refused.code.as_u16(), 400);
    assert_eq!(
        refused.message(),
        "the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({})"
    );
    let damaged = wrap("v1", "ConfigMap", b"\x0a\x09ab");
    let refused = server.call("POST", MAPS, &sent, &damaged).await;
    assert_eq!(
        refused.message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: unexpected EOF"
    );
}

#[tokio::test]
async fn what_the_original_stored_is_served_and_encrypted_values_are_refused() {
    let server = Server::ready().await;
    server.config_map("mine", json!({})).await;
    let key = |name: &str| Key::new(format!("/registry/configmaps/default/{name}")).unwrap();
    let mut old = map("old");
    old["metadata"]["uid"] = "6f9619ff-8b86-d011-b42d-00c04fc964ff".into();
    old["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05Z".into();
    server.store.create(&key("old"), body(&old).into(), WriteOptions::default()).await.unwrap();
    let read = server.get(&format!("{MAPS}/old")).await.expect(200);
    assert_eq!((&read["data"], &read["metadata"]["uid"]), (&old["data"], &old["metadata"]["uid"]));
    let listed = server.get(MAPS).await.expect(200);
    assert_eq!(names(&listed), ["mine", "old"]);
    assert_eq!(listed["items"][1]["data"], old["data"]);
    let patch = json!({"data": {"k": "new"}});
    server.patch(&format!("{MAPS}/old"), "merge-patch+json", &patch).await.expect(200);
    let stored = server.store.get(&key("old"), ReadAt::Latest).await.unwrap().entry.unwrap();
    assert!(stored.value.starts_with(b"{\"kind\":\"ConfigMap\""));
    let secret = Bytes::from_static(b"k8s:enc:aesgcm:v1:key1:\x00\x01\x02");
    server.store.create(&key("secret"), secret, WriteOptions::default()).await.unwrap();
    let refused = server.get(&format!("{MAPS}/secret")).await;
    assert_eq!(refused.code.as_u16(), 500);
    assert!(refused.message().contains("encrypted at rest (aesgcm:v1:key1)"), "{}", refused.text);
}
