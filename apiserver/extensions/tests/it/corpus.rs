//! Schemas and objects with the answers of an original 1.36: accepted, pruned, defaulted, or refused and why.
//!
//! `tests/crds.jsonl` has a definition a line: the schema of its only version (with what else the version has under
//! `over`), the answer to its creation, and steps: a `create`, `update` or `status` with its body and answer, or a new
//! `schema`. An answer is a code with the object without metadata, the causes (reason, field, message), or the message.

use crate::harness::{CRDS, Server, condition};
use serde_json::{Map, Value, json};

const CORPUS: &str = include_str!("../crds.jsonl");

/// What an answer is compared by.
fn told(code: u16, mut answer: Value) -> Value {
    if code < 300 {
        for key in ["metadata", "apiVersion", "kind"] {
            answer.as_object_mut().unwrap().remove(key);
        }
        return json!({"code": code, "object": answer});
    }
    let causes = answer["details"]["causes"].as_array();
    let mut causes: Vec<Vec<String>> = causes
        .into_iter()
        .flatten()
        .map(|cause| {
            let text = |key: &str| cause[key].as_str().unwrap_or_default().to_owned();
            ["reason", "field", "message"].map(text).to_vec()
        })
        .collect();
    causes.sort();
    match causes.is_empty() {
        true => json!({"code": code, "message": answer["message"]}),
        false => json!({"code": code, "causes": causes}),
    }
}

fn definition(index: usize, case: &Value) -> Value {
    let (plural, kind) = (format!("c{index}s"), format!("C{index}"));
    let mut version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": case["schema"]}});
    for (key, value) in case["over"].as_object().into_iter().flatten() {
        version[key] = value.clone();
    }
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.corpus.example.com")},
        "spec": {"group": "corpus.example.com", "scope": "Cluster", "names": {"plural": plural, "kind": kind},
            "versions": [version]}})
}

/// One definition and what is done with its objects.
struct Play<'a> {
    server: &'a Server,
    index: usize,
    created: usize,
    /// The object that was created last.
    last: String,
}

impl Play<'_> {
    fn path(&self) -> String {
        format!("/apis/corpus.example.com/v1/c{}s", self.index)
    }

    fn body(&self, step: &Value) -> Value {
        let mut body =
            json!({"apiVersion": "corpus.example.com/v1", "kind": format!("C{}", self.index)});
        let mut metadata = Map::new();
        for part in ["body", "extra"] {
            for (key, value) in step[part].as_object().into_iter().flatten() {
                match (key.as_str(), value) {
                    ("metadata", Value::Object(own)) => metadata.extend(own.clone()),
                    _ => body[key] = value.clone(),
                }
            }
        }
        if let Some(labels) = step["labels"].as_object() {
            metadata.insert("labels".to_owned(), labels.clone().into());
        }
        body["metadata"] = metadata.into();
        body
    }

    async fn step(&mut self, step: &Value) -> Option<Value> {
        let query = if step["strict"] == true { "Strict" } else { "Ignore" };
        let query = format!("?fieldValidation={query}");
        let mut body = self.body(step);
        if step["do"] == "schema" {
            let path = format!("{CRDS}/c{}s.corpus.example.com", self.index);
            let mut crd = self.server.get(&path).await;
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = step["schema"].clone();
            let mut changes = self.server.changes();
            changes.mark_unchanged();
            self.server.expect(200, "PUT", &path, crd).await;
            changes.changed().await.unwrap();
            return None;
        }
        if step["do"] == "create" {
            self.created += 1;
            let name =
                step["name"].as_str().map_or_else(|| format!("o{}", self.created), str::to_owned);
            body["metadata"]["name"] = name.as_str().into();
            let (code, answer) =
                self.server.send("POST", &format!("{}{query}", self.path()), body).await;
            if code == 201 {
                self.last = name;
            }
            return Some(told(code, answer));
        }
        let path = format!("{}/{}", self.path(), self.last);
        let current = self.server.get(&path).await;
        body["metadata"]["name"] = self.last.as_str().into();
        body["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
        let part = if step["do"] == "status" { "/status" } else { "" };
        let (code, answer) = self.server.send("PUT", &format!("{path}{part}{query}"), body).await;
        Some(told(code, answer))
    }
}

async fn play(server: &Server, index: usize, case: &Value, differences: &mut Vec<String>) {
    let name = case["name"].as_str().unwrap();
    let mut differ = |what: &str, wanted: &Value, found: &Value| {
        let mut wanted = wanted.clone();
        if let Some(causes) = wanted["causes"].as_array_mut() {
            causes.sort_by_key(ToString::to_string);
        }
        let mut found = found.clone();
        if let Some(causes) = found["causes"].as_array_mut() {
            causes.sort_by_key(ToString::to_string);
        }
        if wanted != found {
            differences.push(format!("{name}, {what}\n  wanted {wanted}\n  found  {found}"));
        }
    };
    let crd = definition(index, case);
    let path = format!("{CRDS}/{}", crd["metadata"]["name"].as_str().unwrap());
    let (code, answer) = server.send("POST", CRDS, crd).await;
    let found = if code == 201 { json!({"code": 201}) } else { told(code, answer) };
    differ("definition", &case["answer"], &found);
    let Some(steps) = case["steps"].as_array().filter(|steps| code == 201 && !steps.is_empty())
    else {
        return;
    };
    server.until(&path, |_, crd| condition(crd, "Established") == "True").await;
    let mut playing = Play { server, index, created: 0, last: String::new() };
    for (number, step) in steps.iter().enumerate() {
        if let Some(found) = playing.step(step).await {
            let what = format!("step {number}: {} {} {}", step["do"], step["body"], step["extra"]);
            differ(&what, &step["answer"], &found);
        }
    }
}

#[tokio::test]
async fn definitions_and_objects_are_answered_as_by_the_original() {
    let server = Server::start().await;
    let mut differences = Vec::new();
    let only = std::env::var("KUBEPLANE_CRD_CASE").unwrap_or_default();
    for (index, line) in CORPUS.lines().enumerate() {
        let case: Value = serde_json::from_str(line).unwrap();
        if case["name"].as_str().unwrap().contains(&only) {
            play(&server, index, &case, &mut differences).await;
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences\n{}",
        differences.len(),
        differences.join("\n")
    );
}
