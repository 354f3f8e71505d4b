//! Sends the steps of a case.

use super::{Kind, difference::merge, normal::Normal};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const MERGE: &str = "application/merge-patch+json";

/// What distinguishes the names of a case.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) number: String,
    pub(crate) address: String,
}

/// An answer as it came.
#[derive(Debug)]
struct Answer {
    code: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn content(&self) -> &str {
        self.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn warnings(&self) -> impl Iterator<Item = String> {
        let texts = self.headers.get_all("warning").iter();
        texts.filter_map(|value| {
            let text = value.to_str().ok()?;
            let text = text.strip_prefix("299 - \"")?.strip_suffix('"')?;
            Some(text.replace("\\\"", "\""))
        })
    }
}

/// Plays one case.
pub(crate) struct Player {
    client: Client,
    kind: Arc<Kind>,
    collection: String,
    normal: Normal,
    /// The last object answered, as it was.
    last: Value,
}

fn field<'v>(step: &'v Value, name: &str) -> &'v str {
    step[name].as_str().unwrap_or_default()
}

impl Player {
    pub(crate) fn new(client: Client, kind: Arc<Kind>, run: &Run) -> Self {
        let name = if kind.addresses { run.address.clone() } else { format!("c{}", run.number) };
        let namespace = format!("s{}", run.number);
        let collection = kind.path.replace("{ns}", &namespace);
        let normal = Normal::new(name, namespace, kind.name == "v1/Service");
        Self { client, kind, collection, normal, last: Value::Null }
    }

    /// Gives the answers, blanked; what was made is deleted afterwards.
    pub(crate) async fn play(&mut self, steps: &[Value]) -> Vec<Value> {
        self.prepare().await;
        let mut answers = Vec::new();
        for step in steps {
            answers.push(self.step(step).await);
        }
        self.clean().await;
        answers
    }

    fn is_namespaced(&self) -> bool {
        self.kind.path.contains("{ns}")
    }

    async fn prepare(&self) {
        if !self.is_namespaced() {
            return;
        }
        let namespace = json!({"metadata": {"name": self.normal.namespace}});
        let made = self.send("POST", "/api/v1/namespaces", "application/json", &namespace).await;
        assert_eq!(made.code, 201, "{}", String::from_utf8_lossy(&made.body));
        if self.kind.name == "v1/Pod" {
            let path = format!("/api/v1/namespaces/{}/serviceaccounts", self.normal.namespace);
            let account = json!({"metadata": {"name": "default"}});
            let made = self.send("POST", &path, "application/json", &account).await;
            assert!([201, 409].contains(&made.code), "{}", String::from_utf8_lossy(&made.body));
        }
    }

    async fn clean(&self) {
        for at in ["", "b", "c"] {
            let path = format!("{}/{}", self.collection, self.object(at));
            let now = json!({"gracePeriodSeconds": 0});
            let gone = self.send("DELETE", &path, "application/json", &now).await;
            if gone.code != 404 {
                let finalizers = json!({"metadata": {"finalizers": null}});
                self.send("PATCH", &path, MERGE, &finalizers).await;
            }
        }
    }

    /// The case's name with what distinguishes its second object and so on.
    fn name(&self, at: &str) -> String {
        let number = match at {
            "b" if self.kind.addresses => "1",
            "c" if self.kind.addresses => "2",
            "z" if self.kind.addresses => "3",
            other => other,
        };
        format!("{}{number}", self.normal.name)
    }

    fn object(&self, at: &str) -> String {
        self.kind.object.replace("{n}", &self.name(at))
    }

    /// Puts names, revisions and uids into a path or body.
    fn fill(&self, text: &str, at: &str) -> String {
        if !text.contains(['{', '@']) {
            return text.to_owned();
        }
        let item = |at: &str| format!("{}/{}", self.collection, self.object(at));
        let watched = match self.collection.strip_prefix("/api/v1/") {
            Some(rest) => format!("/api/v1/watch/{rest}"),
            None => {
                let mut parts: Vec<_> = self.collection.splitn(5, '/').collect();
                parts.insert(4, "watch");
                parts.join("/")
            }
        };
        let mut text = text.to_owned();
        for (mark, value) in [
            ("{c}", self.collection.clone()),
            ("{w}", watched),
            ("{o}", item("")),
            ("{ob}", item("b")),
            ("{oc}", item("c")),
            ("{o2}", item("z")),
            ("{name}", self.object(at)),
            ("{case}", self.normal.name.clone()),
            ("{n}", self.name(at)),
            ("{ns}", self.normal.namespace.clone()),
        ] {
            if text.contains(mark) {
                text = text.replace(mark, &value);
            }
        }
        self.normal.restore(&text)
    }

    fn body(&self, step: &Value) -> Option<String> {
        let at = field(step, "at");
        if let Some(over) = step.get("base") {
            let mut body = self.kind.base.clone();
            let named = json!({"metadata": {"name": "{name}", "namespace": null,
                "labels": {"case": "{case}"}}});
            merge(&mut body, &named);
            merge(&mut body, over);
            return Some(self.fill(&body.to_string(), at));
        }
        if let Some(over) = step.get("put") {
            let mut body = self.last.clone();
            merge(&mut body, over);
            return Some(self.fill(&body.to_string(), ""));
        }
        if let Some(body) = step.get("b") {
            return Some(self.fill(&body.to_string(), ""));
        }
        step.get("raw").and_then(Value::as_str).map(|raw| self.fill(raw, ""))
    }

    async fn step(&mut self, step: &Value) -> Value {
        let body = self.body(step);
        let default = match step {
            _ if step.get("base").is_some() => "POST",
            _ if step.get("put").is_some() => "PUT",
            _ => "PATCH",
        };
        let method = step["m"].as_str().unwrap_or(default);
        let content = match field(step, "t") {
            "json" => "application/json-patch+json",
            "merge" => MERGE,
            "strategic" => "application/strategic-merge-patch+json",
            "apply" => "application/apply-patch+yaml",
            _ => step["ct"].as_str().unwrap_or("application/json"),
        };
        let accept = step["a"].as_str().unwrap_or("application/json");
        let path = self.fill(field(step, "p"), "");
        let content = body.as_ref().map(|_| content);
        let body = body.unwrap_or_default();
        let mut answer = self.ask(method, &path, content, accept, body.clone()).await;
        if let Some(until) = step["until"].as_str() {
            // What was not there when the answer was recorded is not waited for any longer than then.
            let comes = step["want"]["delta"].pointer(until).is_some();
            let end = Instant::now() + Duration::from_secs(if comes { 60 } else { 3 });
            while !settled(&answer.body, until) && Instant::now() < end {
                tokio::time::sleep(Duration::from_millis(20)).await;
                answer = self.ask(method, &path, content, accept, body.clone()).await;
            }
        }
        self.answer(step, &answer)
    }

    async fn send(&self, method: &str, path: &str, content: &str, body: &Value) -> Answer {
        self.ask(method, path, Some(content), "application/json", body.to_string()).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        content: Option<&str>,
        accept: &str,
        body: String,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("accept", accept).header("user-agent", "corpus/1");
        if let Some(content) = content {
            request = request.header("content-type", content);
        }
        let request = request.body(Body::from(body.into_bytes())).unwrap();
        let (head, body) = self.client.send(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    }

    fn answer(&mut self, step: &Value, answer: &Answer) -> Value {
        let mut all = json!({"code": answer.code});
        let warnings: Vec<_> = answer.warnings().collect();
        let mut warnings: Vec<_> = warnings.iter().map(|text| self.normal.message(text)).collect();
        warnings.sort();
        if !warnings.is_empty() {
            all["warn"] = json!(warnings);
        }
        if answer.content() != "application/json" {
            all["type"] = json!(answer.content());
        }
        // In the same process it may have a body.
        if step["m"] == "HEAD" {
            return all;
        }
        let text = String::from_utf8_lossy(&answer.body);
        if step["watch"] == true && answer.code == 200 {
            let events: Vec<Value> =
                text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if events.iter().all(|event| event.get("object").is_some()) {
                all["events"] = self.events(&events);
                return all;
            }
        }
        let Ok(mut object) = serde_json::from_slice::<Value>(&answer.body) else {
            if answer.content().starts_with("text/plain") {
                let start: String = text.chars().take(200).collect();
                all["text"] = json!(self.normal.text(&start));
            }
            return all;
        };
        if !object.is_object() {
            all["value"] = object;
        } else if object["kind"] == "Status" && object["status"] != "Success" {
            all["status"] = self.normal.failure(&object);
        } else if object.get("items").is_some() || object["kind"] == "Table" {
            all["list"] = self.normal.list(&object);
        } else {
            if step["view"] == "token" {
                object["status"] = json!({"token": "@token", "expirationTimestamp": "@t"});
            }
            let own = ["kind", "apiVersion"].iter().all(|key| object[key] == self.kind.base[key]);
            if own && !field(step, "p").contains("dryRun") {
                self.last = object.clone();
            }
            all["object"] = self.normal.value(&object, "");
        }
        all
    }

    fn events(&mut self, events: &[Value]) -> Value {
        let mut all = Vec::new();
        for event in events {
            let (kind, object) = (field(event, "type"), &event["object"]);
            let ends = object["metadata"]["annotations"]["k8s.io/initial-events-end"].is_string();
            let rows = object["rows"].as_array();
            // Other bookmarks come when the server likes.
            let wanted = ends
                || rows.into_iter().flatten().any(|row| {
                    row["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"]
                        .is_string()
                });
            if kind == "BOOKMARK" && !wanted {
                continue;
            }
            if kind == "ERROR" {
                all.push(json!([kind, self.normal.failure(object)]));
                continue;
            }
            if let Some(rows) = rows {
                let columns = object["columnDefinitions"].as_array().map_or(0, Vec::len);
                let rows: Vec<_> =
                    rows.iter().map(|row| self.normal.identity(&row["object"])).collect();
                all.push(json!([kind, "Table", columns, rows]));
            } else {
                all.push(json!([kind, self.normal.identity(object)]));
            }
        }
        Value::Array(all)
    }
}

/// Whether the place is there, and with conditions that a definition is established.
fn settled(body: &[u8], place: &str) -> bool {
    let object: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(value) = object.pointer(place) else { return false };
    let condition = |kind: &str| {
        let conditions = value.as_array().into_iter().flatten();
        conditions
            .filter(|condition| condition["type"] == kind)
            .any(|found| found["status"] == "True")
    };
    object["kind"] != "CustomResourceDefinition" || condition("Established")
}
