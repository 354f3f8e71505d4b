//! Answers without what differs from run to run.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use regex::{Captures, Regex};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::HashMap, sync::LazyLock};

fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// Who issued the tokens of the recorded server.
const ISSUER: &str = "https://kubernetes.default.svc";
static UID: LazyLock<Regex> =
    LazyLock::new(|| pattern("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"));
static TIME: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(\d{4}-\d\d-\d\d)T\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)"));
static CHANCE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\{n\}-[bcdfghjklmnpqrstvwxz2456789]{5}\b"));
static MOUNT: LazyLock<Regex> =
    LazyLock::new(|| pattern("kube-api-access-[bcdfghjklmnpqrstvwxz2456789]{5}"));
static WHOLE: LazyLock<Regex> = LazyLock::new(|| pattern(r#""\{\\"(apiVersion|kind)\\".*\}""#));
static ADDRESS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"\b10\.(9[6-9]|10\d|11[01]|200)\.\d+\.\d+\b"));
static CURRENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(, current: )\d+"));
static NUMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\d{3,}\b"));
// Of what was made just now, or of what bears a time of long ago and so another age each day.
static AGE: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d+s|\d{3,}d|\d+y(\d+d)?|<invalid>)$"));
static DOTTED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[\d.]+$"));
static PORTS: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\d+:3\d{4}/"));

/// The names of a case and what was seen of its objects.
#[derive(Debug)]
pub(crate) struct Normal {
    pub(crate) name: String,
    pub(crate) namespace: String,
    services: bool,
    today: Date,
    revisions: HashMap<String, String>,
    uids: HashMap<String, String>,
    /// The last token to go on with.
    pub(crate) next: String,
}

impl Normal {
    pub(crate) fn new(name: String, namespace: String, services: bool) -> Self {
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let (revisions, uids) = (HashMap::new(), HashMap::new());
        Self { name, namespace, services, today, revisions, uids, next: String::new() }
    }

    /// Puts back what `@r1` and `@u1` stand for.
    pub(crate) fn restore(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (real, mark) in self.revisions.iter().chain(&self.uids) {
            // None of them has ten.
            text = text.replace(mark, real);
        }
        text.replace("@continue", &self.next)
    }

    pub(crate) fn text(&mut self, text: &str) -> String {
        let text = text.replace(&self.namespace, "{ns}").replace(&self.name, "{n}");
        let text = text.replace("https://kubernetes.default.svc.cluster.local", ISSUER);
        let text = CHANCE.replace_all(&text, "{n}-@g");
        let text = MOUNT.replace_all(&text, "kube-api-access-@g");
        let uids = &mut self.uids;
        let text = UID.replace_all(&text, |found: &Captures<'_>| {
            if found[0].starts_with("00000000-") {
                return found[0].to_owned();
            }
            let next = format!("@u{}", uids.len() + 1);
            uids.entry(found[0].to_owned()).or_insert(next).clone()
        });
        let today = self.today;
        let near = |date: &str| {
            let date: Option<Date> = date.parse().ok();
            date.is_some_and(|date| (today - date).get_days().abs() <= 2)
        };
        let blank = |found: &Captures<'_>| {
            if near(&found[1]) { "@t".to_owned() } else { found[0].to_owned() }
        };
        TIME.replace_all(&text, blank).into_owned()
    }

    pub(crate) fn message(&mut self, text: &str) -> String {
        let text = self.text(text);
        let text = WHOLE.replace_all(&text, "@object");
        let text = ADDRESS.replace_all(&text, "@ip");
        let text = CURRENT.replace_all(&text, "${1}@now");
        let known = |found: &Captures<'_>| {
            self.revisions.get(&found[0]).map_or_else(|| found[0].to_owned(), String::clone)
        };
        // Enough to tell messages apart.
        NUMBER.replace_all(&text, known).chars().take(240).collect()
    }

    fn revision(&mut self, text: &str) -> Value {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return json!(text);
        }
        let next = format!("@r{}", self.revisions.len() + 1);
        json!(self.revisions.entry(text.to_owned()).or_insert(next))
    }

    /// An object, its managers by name.
    pub(crate) fn value(&mut self, value: &Value, key: &str) -> Value {
        match value {
            Value::Object(map) => self.map(map),
            Value::Array(list) => {
                // The recorded server was of a distribution that mounts one more certificate.
                let own = |item: &&Value| item["configMap"]["name"] != "openshift-service-ca.crt";
                let list = list.iter().filter(own);
                let mut list: Vec<_> = list.map(|item| self.value(item, key)).collect();
                if ["resourceRules", "nonResourceRules"].contains(&key) {
                    list.sort_by_cached_key(Value::to_string);
                }
                list.into()
            }
            Value::Null => json!("@null"),
            Value::String(text) if key == "resourceVersion" => self.revision(text),
            Value::String(text)
                if ["clusterIP", "clusterIPs"].contains(&key)
                    && DOTTED.is_match(text)
                    && text != "10.96.200.1" =>
            {
                json!("@ip")
            }
            Value::String(text) => json!(self.text(text)),
            Value::Number(number) if ["nodePort", "healthCheckNodePort"].contains(&key) => {
                match number.as_u64() {
                    Some(30_000..=32_767) => json!("@port"),
                    _ => value.clone(),
                }
            }
            other => other.clone(),
        }
    }

    fn map(&mut self, map: &Map<String, Value>) -> Value {
        let is_list = map.contains_key("items") || map.get("kind") == Some(&json!("Table"));
        let mut keys: Vec<_> = map.keys().collect();
        keys.sort_unstable();
        let mut all = Map::new();
        for key in keys {
            let value = &map[key];
            let normal = match (key.as_str(), value) {
                ("managedFields", Value::Array(entries)) => self.managers(entries),
                ("metadata", Value::Object(metadata)) if is_list => self.list_metadata(metadata),
                _ => self.value(value, key),
            };
            all.insert(self.text(key), normal);
        }
        Value::Object(all)
    }

    fn managers(&mut self, entries: &[Value]) -> Value {
        let mut all = Map::new();
        for entry in entries {
            let part = |field: &str| entry[field].as_str().unwrap_or_default();
            let parts = ["manager", "operation", "apiVersion", "subresource"].map(part).join("/");
            let mut name = self.text(parts.trim_end_matches('/'));
            if entry.get("time").is_none() {
                name.push_str("/timeless");
            }
            let fields = self.value(&entry["fieldsV1"], "");
            all.insert(name, fields);
        }
        Value::Object(all)
    }

    fn list_metadata(&mut self, metadata: &Map<String, Value>) -> Value {
        let mut metadata = metadata.clone();
        let has = |metadata: &Map<String, Value>, field: &str| {
            metadata.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
        };
        if has(&metadata, "resourceVersion") {
            metadata.insert("resourceVersion".into(), json!("@now"));
        }
        if has(&metadata, "continue") {
            let token = metadata.insert("continue".into(), json!("@continue"));
            self.next =
                token.as_ref().and_then(Value::as_str).unwrap_or_default().replace('=', "%3D");
        }
        Value::Object(metadata)
    }

    /// A list or table: which objects, in which order.
    pub(crate) fn list(&mut self, list: &Value) -> Value {
        let metadata = self.value(list, "")["metadata"].clone();
        let items = |field: &str| list[field].as_array().cloned().unwrap_or_default();
        if list["kind"] == "Table" {
            let rows: Vec<_> = items("rows").iter().map(|row| self.row(row)).collect();
            let columns: Vec<_> = items("columnDefinitions").iter().map(column).collect();
            return json!({"columns": columns, "rows": rows, "metadata": metadata,
                "apiVersion": list["apiVersion"]});
        }
        let all: Vec<_> = items("items").iter().map(|item| self.identity(item)).collect();
        json!({"kind": list["kind"], "apiVersion": list["apiVersion"], "metadata": metadata,
            "items": all, "null": list["items"].is_null()})
    }

    fn row(&mut self, row: &Value) -> Value {
        let cells = row["cells"].as_array().cloned().unwrap_or_default();
        let cells: Vec<_> = cells.iter().map(|cell| self.cell(cell)).collect();
        json!({"cells": cells, "object": self.identity(&row["object"])})
    }

    fn cell(&mut self, cell: &Value) -> Value {
        match cell {
            Value::Null => json!("@null"),
            Value::String(text) if AGE.is_match(text) => json!("@age"),
            Value::String(text) if self.services && is_address(text) => json!("@ip"),
            Value::String(text) if self.services && PORTS.is_match(text) => json!("@ports"),
            Value::String(text) => json!(self.text(text)),
            other => other.clone(),
        }
    }

    /// Kind, name and revision.
    pub(crate) fn identity(&mut self, object: &Value) -> Value {
        if object.as_object().is_none_or(Map::is_empty) {
            return json!("@none");
        }
        let metadata = &object["metadata"];
        let kind = object["kind"].as_str().unwrap_or_default();
        let name = self.text(metadata["name"].as_str().unwrap_or_default());
        let Some(revision) = metadata["resourceVersion"].as_str() else {
            return json!([kind, name]);
        };
        let last = metadata["annotations"]["k8s.io/initial-events-end"].is_string();
        let revision = if last { json!("@now") } else { self.revision(revision) };
        json!([kind, name, revision])
    }

    /// A failure.
    pub(crate) fn failure(&mut self, status: &Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut all = Map::new();
        all.insert("reason".into(), json!(text(&status["reason"])));
        all.insert("message".into(), json!(self.message(&text(&status["message"]))));
        let mut details = status["details"].as_object().cloned().unwrap_or_default();
        let causes = details.remove("causes");
        let causes = causes.as_ref().and_then(Value::as_array).into_iter().flatten();
        let mut causes: Vec<_> =
            causes.map(|cause| [text(&cause["field"]), text(&cause["reason"])]).collect();
        causes.sort();
        if !causes.is_empty() {
            all.insert("causes".into(), json!(causes));
        }
        if !details.is_empty() {
            all.insert("details".into(), self.map(&details));
        }
        if let Some(code) = status["code"].as_u64().filter(|code| *code != 0) {
            all.insert("code".into(), json!(code));
        }
        Value::Object(all)
    }
}

fn is_address(text: &str) -> bool {
    DOTTED.is_match(text) && text.matches('.').count() == 3
}

fn column(column: &Value) -> String {
    let part = |field: &str| match &column[field] {
        Value::String(text) => Cow::Borrowed(text.as_str()),
        Value::Null => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    };
    ["name", "type", "format", "priority"].map(part).join(":")
}
