//! Versions that a webhook converts into one another.

use crate::harness::{CRDS, Server};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Response, request::Parts};
use kubeplane_apiserver::{Api, ApiServer, Body, Route, TlsOptions, body};
use kubeplane_core::{
    auth::{Attributes, Authorizer, Decision},
    component::{Component, Supervision, lifecycle},
    status::ApiResult,
};
use kubeplane_pki::{Authority, Request, Usage};
use kubeplane_store_memory::MemoryStore;
use serde_json::{Value, json};
use std::{
    fmt,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

const NAMES: &str = "/apis/people.example.com";

fn names(version: &str) -> String {
    format!("{NAMES}/{version}/namespaces/default/names")
}

type Convert = dyn Fn(Value, &str) -> Result<Value, String> + Send + Sync;

/// A webhook that converts each object by a function.
struct Hook {
    port: u16,
    authority: String,
    /// How many objects each review had.
    reviews: Arc<Mutex<Vec<usize>>>,
    convert: Arc<Mutex<Arc<Convert>>>,
    supervision: Supervision,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.supervision.stop();
    }
}

struct Converts {
    reviews: Arc<Mutex<Vec<usize>>>,
    convert: Arc<Mutex<Arc<Convert>>>,
}

impl fmt::Debug for Converts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Converts")
    }
}

#[async_trait]
impl Route for Converts {
    async fn serve(&self, _api: &Api, _head: &Parts, sent: Body) -> ApiResult<Response<Body>> {
        let mut review: Value = serde_json::from_slice(&body::read(sent).await?).unwrap();
        let request = review["request"].take();
        let objects = request["objects"].as_array().unwrap();
        self.reviews.lock().unwrap().push(objects.len());
        let convert = self.convert.lock().unwrap().clone();
        let wanted = request["desiredAPIVersion"].as_str().unwrap();
        let all = objects.iter().map(|object| convert(object.clone(), wanted));
        review["response"] = match all.collect::<Result<Vec<_>, _>>() {
            Ok(all) => json!({"result": {"status": "Success"}, "convertedObjects": all}),
            Err(why) => json!({"result": {"status": "Failure", "message": why}}),
        };
        review["response"]["uid"] = request["uid"].clone();
        Ok(Response::new(body::full(review.to_string())))
    }
}

#[derive(Debug)]
struct Anyone;

#[async_trait]
impl Authorizer for Anyone {
    async fn authorize(&self, _request: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }
}

/// `v1` has a whole name, `v2` its two parts.
fn convert(mut object: Value, wanted: &str) -> Result<Value, String> {
    let spec = object["spec"].as_object_mut().ok_or("no spec")?;
    let text = |value: Option<Value>| {
        value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    };
    if wanted.ends_with("/v2") {
        let whole = text(spec.remove("whole"));
        let (first, last) = whole.split_once(' ').ok_or("one name is not enough")?;
        spec.insert("first".into(), first.into());
        spec.insert("last".into(), last.into());
        spec.insert("unknown".into(), "is dropped".into());
    } else {
        let whole = format!("{} {}", text(spec.remove("first")), text(spec.remove("last")));
        spec.insert("whole".into(), whole.into());
    }
    object["metadata"]["finalizers"] = json!(["not/yours"]);
    object["metadata"]["annotations"] = json!({"from": object["apiVersion"]});
    object["apiVersion"] = wanted.into();
    Ok(object)
}

impl Hook {
    async fn start() -> Self {
        let now = kubeplane_clock::real().now();
        let authority = Authority::generate("hooks", now).unwrap();
        let leaf = Request::new("hook", Usage::Server).addresses([Ipv4Addr::LOCALHOST.into()]);
        let own = authority.issue(&leaf, now).unwrap();
        let reviews = Arc::new(Mutex::new(Vec::new()));
        let function: Arc<Mutex<Arc<Convert>>> = Arc::new(Mutex::new(Arc::new(convert)));
        let route = Converts { reviews: reviews.clone(), convert: function.clone() };
        let tls = TlsOptions::from_pem(own.certificate, own.key);
        let server = ApiServer::builder(Arc::new(MemoryStore::new()))
            .authorize(Anyone)
            .route("/convert", Arc::new(route))
            .listen((Ipv4Addr::LOCALHOST, 0).into(), tls)
            .build()
            .unwrap();
        let mut bound = server.bound();
        let (own, supervision) = lifecycle();
        tokio::spawn(Box::new(server).run(own));
        let port = bound.wait_for(Option::is_some).await.unwrap().unwrap().port();
        let authority = STANDARD.encode(authority.certificate());
        Self { port, authority, reviews, convert: function, supervision }
    }

    fn set(&self, convert: impl Fn(Value, &str) -> Result<Value, String> + Send + Sync + 'static) {
        *self.convert.lock().unwrap() = Arc::new(convert);
    }

    fn calls(&self) -> Vec<usize> {
        std::mem::take(&mut *self.reviews.lock().unwrap())
    }

    fn definition(&self, stored: &str) -> Value {
        let text = json!({"type": "string"});
        let version = |name: &str, fields: &[&str], column: &str| {
            let fields: serde_json::Map<_, _> =
                fields.iter().map(|field| ((*field).to_owned(), text.clone())).collect();
            json!({"name": name, "served": true, "storage": name == stored,
                "additionalPrinterColumns": [{"name": "Called", "type": "string", "jsonPath": column}],
                "selectableFields": [{"jsonPath": column}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": fields}}}}})
        };
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "names.people.example.com"},
            "spec": {
                "group": "people.example.com", "scope": "Namespaced",
                "names": {"plural": "names", "kind": "Name"},
                "conversion": {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"],
                    "clientConfig": {"url": format!("https://127.0.0.1:{}/convert", self.port),
                        "caBundle": self.authority}}},
                "versions": [version("v1", &["whole", "note"], ".spec.whole"),
                    version("v2", &["first", "last", "note"], ".spec.last")],
            },
        })
    }
}

fn name(version: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("people.example.com/{version}"), "kind": "Name",
        "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn objects_are_stored_in_one_version_and_read_in_all() {
    let (hook, server) = (Hook::start().await, Server::start().await);
    server.define(hook.definition("v1")).await;
    let sent = name("v2", "ada", json!({"first": "Ada", "last": "Lovelace"}));
    let made = server.expect(201, "POST", &names("v2"), sent).await;
    assert_eq!(made["spec"], json!({"first": "Ada", "last": "Lovelace"}));
    let stored = server.stored("/registry/people.example.com/names/default/ada").await;
    assert_eq!(stored["apiVersion"], "people.example.com/v1");
    assert_eq!(stored["spec"], json!({"whole": "Ada Lovelace"}));
    // Of metadata only labels and annotations are the webhook's.
    assert_eq!(stored["metadata"]["annotations"], json!({"from": "people.example.com/v2"}));
    assert!(stored["metadata"].get("finalizers").is_none());
    let sent = name("v1", "alan", json!({"whole": "Alan Turing"}));
    server.expect(201, "POST", &names("v1"), sent).await;
    hook.calls();
    let read = server.get(&format!("{}/alan", names("v2"))).await;
    assert_eq!(read["spec"], json!({"first": "Alan", "last": "Turing"}));
    assert_eq!(read["metadata"]["resourceVersion"], {
        let own = server.get(&format!("{}/alan", names("v1"))).await;
        own["metadata"]["resourceVersion"].clone()
    });
    assert_eq!(hook.calls(), [1], "what is of the wanted version is not sent");
    let list = server.get(&names("v2")).await;
    let last: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| &item["spec"]["last"]).collect();
    assert_eq!(last, ["Lovelace", "Turing"]);
    assert_eq!(hook.calls(), [2], "a list is sent at once");
    assert_eq!(server.get(&names("v2")).await["items"].as_array().unwrap().len(), 2);
    assert!(hook.calls().is_empty(), "lists come from the cache");
    let picked = server.get(&format!("{}?fieldSelector=spec.last%3DTuring", names("v2"))).await;
    assert_eq!(picked["items"][0]["metadata"]["name"], "alan");
    assert_eq!(server.table(&names("v2")).await["rows"][0]["cells"][1], "Lovelace");
    assert_eq!(server.table(&names("v1")).await["rows"][0]["cells"][1], "Ada Lovelace");
    let page = server
        .get(&format!(
            "{}?limit=1&resourceVersionMatch=Exact&resourceVersion={}",
            names("v2"),
            list["metadata"]["resourceVersion"].as_str().unwrap()
        ))
        .await;
    assert_eq!(page["items"][0]["spec"]["last"], "Lovelace");
}

#[tokio::test]
async fn writes_and_watches_go_through_the_webhook() {
    let (hook, server) = (Hook::start().await, Server::start().await);
    server.define(hook.definition("v1")).await;
    let sent = name("v1", "ada", json!({"whole": "Ada King"}));
    let made = server.expect(201, "POST", &names("v1"), sent).await;
    let (v1, v2) = (format!("{}/ada", names("v1")), format!("{}/ada", names("v2")));
    let patched = server.expect(200, "PATCH", &v2, json!({"spec": {"last": "Byron"}})).await;
    assert_eq!(patched["spec"], json!({"first": "Ada", "last": "Byron"}));
    assert_eq!(server.get(&v1).await["spec"], json!({"whole": "Ada Byron"}));
    let applied = name("v2", "ada", json!({"note": "countess"}));
    let path = format!("{v2}?fieldManager=me");
    let (code, applied) =
        server.call("PATCH", &path, "application/apply-patch+yaml", &applied).await;
    assert_eq!((code.as_u16(), &applied["spec"]["note"]), (200, &json!("countess")), "{applied}");
    let mut whole = server.get(&v2).await;
    whole["spec"]["last"] = "Lovelace".into();
    server.expect(200, "PUT", &v2, whole).await;
    assert_eq!(server.get(&v1).await["spec"], json!({"whole": "Ada Lovelace", "note": "countess"}));
    let from = made["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{}?watch=true&resourceVersion={from}", names("v2"));
    let seen = server.watched(&path, 3).await;
    let last: Vec<_> = seen.iter().map(|event| &event["object"]["spec"]["last"]).collect();
    assert_eq!(last, ["Byron", "Byron", "Lovelace"]);
    server.expect(200, "DELETE", &v2, Value::Null).await;
    server.expect(404, "GET", &v1, Value::Null).await;
}

#[tokio::test]
async fn managers_own_what_they_wrote_in_their_own_version() {
    let (hook, server) = (Hook::start().await, Server::start().await);
    server.define(hook.definition("v1")).await;
    let apply = async |version: &str, manager: &str, spec: Value| {
        let path = format!("{}/ada?fieldManager={manager}", names(version));
        let sent = name(version, "ada", spec);
        let (code, said) = server.call("PATCH", &path, "application/apply-patch+yaml", &sent).await;
        (code.as_u16(), said)
    };
    let owned = |object: &Value, manager: &str| {
        let list = object["metadata"]["managedFields"].as_array().unwrap();
        let own = list.iter().find(|entry| entry["manager"] == manager);
        own.map_or(Value::Null, |entry| json!([entry["apiVersion"], entry["fieldsV1"]["f:spec"]]))
    };
    let (code, said) = apply("v1", "one", json!({"whole": "Ada Lovelace"})).await;
    assert_eq!(code, 201, "{said}");
    let (code, said) = apply("v2", "two", json!({"first": "Ada", "last": "Byron"})).await;
    assert_eq!(code, 409, "{said}");
    assert_eq!(said["details"]["causes"][0]["field"], ".spec.whole");
    let (code, same) = apply("v2", "two", json!({"first": "Ada", "last": "Lovelace"})).await;
    assert_eq!(code, 200, "{same}");
    let v1 = |fields: Value| json!(["people.example.com/v1", fields]);
    let v2 = |fields: Value| json!(["people.example.com/v2", fields]);
    assert_eq!(owned(&same, "one"), v1(json!({"f:whole": {}})));
    assert_eq!(owned(&same, "two"), v2(json!({"f:first": {}, "f:last": {}})));
    // What another one changes in one version is no longer owned in the other.
    let path = format!("{}/ada?fieldManager=three", names("v2"));
    let patched = server.expect(200, "PATCH", &path, json!({"spec": {"last": "King"}})).await;
    assert_eq!(owned(&patched, "one"), Value::Null);
    assert_eq!(owned(&patched, "two"), v2(json!({"f:first": {}})));
    assert_eq!(owned(&patched, "three")[1], json!({"f:last": {}}));
}

#[tokio::test]
async fn a_new_storage_version_is_that_of_the_next_write() {
    let (hook, server) = (Hook::start().await, Server::start().await);
    server.define(hook.definition("v1")).await;
    let sent = name("v1", "ada", json!({"whole": "Ada Lovelace"}));
    server.expect(201, "POST", &names("v1"), sent).await;
    let path = format!("{CRDS}/names.people.example.com");
    let versions = hook.definition("v2")["spec"]["versions"].clone();
    let patch = json!({"spec": {"versions": versions}});
    let crd = server.expect(200, "PATCH", &path, patch).await;
    assert_eq!(crd["status"]["storedVersions"], json!(["v1", "v2"]));
    let stored = "/registry/people.example.com/names/default/ada";
    server
        .until(&names("v2"), |code, list| {
            code == 200 && list["items"][0]["spec"]["last"] == "Lovelace"
        })
        .await;
    assert_eq!(server.stored(stored).await["apiVersion"], "people.example.com/v1");
    // A write that changes nothing but the version of what is stored.
    let own = format!("{}/ada", names("v1"));
    let patched = server.until(&own, |code, _| code == 200).await;
    server.expect(200, "PUT", &own, patched).await;
    let stored = server.stored(stored).await;
    assert_eq!(stored["apiVersion"], "people.example.com/v2");
    assert_eq!(stored["spec"], json!({"first": "Ada", "last": "Lovelace"}));
    assert_eq!(server.get(&own).await["spec"], json!({"whole": "Ada Lovelace"}));
}

#[tokio::test]
async fn what_cannot_be_converted_is_told_in_the_originals_words() {
    let (hook, server) = (Hook::start().await, Server::start().await);
    server.define(hook.definition("v1")).await;
    let sent = name("v1", "madonna", json!({"whole": "Madonna"}));
    server.expect(201, "POST", &names("v1"), sent).await;
    let path = format!("{}/madonna", names("v2"));
    let by = "conversion webhook for people.example.com/v1, Kind=Name";
    let said = server.expect(500, "GET", &path, Value::Null).await;
    assert_eq!(said["message"], format!("{by} failed: one name is not enough"));
    assert!(said.get("reason").is_none(), "{said}");
    let said = server.expect(500, "GET", &names("v2"), Value::Null).await;
    assert_eq!(said["message"], format!("{by} failed: one name is not enough"));
    let sent = name("v2", "x", json!({"first": "X", "last": "Y"}));
    hook.set(|mut object, wanted| {
        object["apiVersion"] = wanted.into();
        object["metadata"]["uid"] = "another".into();
        Ok(object)
    });
    let said = server.expect(500, "POST", &names("v2"), sent).await;
    let message = said["message"].as_str().unwrap();
    let by = "conversion webhook for people.example.com/v2, Kind=Name";
    assert!(
        message.starts_with(&format!("{by} returned invalid object: must have the same UID: ")),
        "{message}"
    );
    hook.set(|mut object, wanted| {
        object["apiVersion"] = wanted.into();
        Ok(object)
    });
    server.until(&path, |code, _| code == 200).await;
    server
        .until(&names("v2"), |code, list| {
            code == 200 && list["items"].as_array().unwrap().len() == 1
        })
        .await;
}

#[tokio::test]
async fn without_its_webhook_a_version_cannot_be_read_and_the_stored_one_can() {
    let server = Server::start().await;
    let crd = {
        let hook = Hook::start().await;
        server.define(hook.definition("v1")).await
    };
    let sent = name("v1", "ada", json!({"whole": "Ada Lovelace"}));
    server.expect(201, "POST", &names("v1"), sent).await;
    let path = format!("{}/ada", names("v2"));
    let port = crd["spec"]["conversion"]["webhook"]["clientConfig"]["url"].as_str().unwrap();
    let said = server.until(&path, |_, said| {
        said["message"].as_str().is_some_and(|why| why.ends_with("connect: connection refused"))
    });
    let said = said.await;
    let address = port.trim_start_matches("https://").trim_end_matches("/convert");
    assert_eq!(
        said["message"],
        format!(
            "conversion webhook for people.example.com/v1, Kind=Name failed: Post \"{port}?timeout=30s\": \
            dial tcp {address}: connect: connection refused"
        )
    );
    assert_eq!(server.get(&format!("{}/ada", names("v1"))).await["spec"]["whole"], "Ada Lovelace");
}
