//! A kind in two versions: what is `spec.replicas` in one is `spec.count` in the other.

use super::*;

#[derive(Debug)]
struct Both {
    v1: SchemaRef,
    v2: SchemaRef,
    /// Objects with this text cannot be converted.
    stubborn: &'static str,
}

impl Both {
    fn new() -> Self {
        let spec = object(vec![("count", number()), ("text", scalar()), ("labels", map(scalar()))]);
        let metadata = object(vec![("name", scalar()), ("uid", scalar())]);
        let v2 = object(vec![
            ("apiVersion", scalar()),
            ("kind", scalar()),
            ("metadata", metadata),
            ("spec", spec),
        ]);
        Self { v1: custom(), v2: v2.into(), stubborn: "stubborn" }
    }

    fn schema(&self, version: &str) -> &SchemaRef {
        if version == "v1" { &self.v1 } else { &self.v2 }
    }
}

impl Versions for Both {
    fn form(&self, version: &str) -> Option<Form> {
        let name = version.strip_prefix("test.io/").filter(|name| matches!(*name, "v1" | "v2"))?;
        Some(Form { schema: self.schema(name).clone(), reset: Filter::None })
    }

    fn convert(&self, object: &Object, version: &str) -> Result<Object, String> {
        if object.text(&["spec", "text"]) == self.stubborn {
            return Err("it does not want to".to_owned());
        }
        let mut object = object.clone();
        let (from, to) =
            if version.ends_with("v1") { ("count", "replicas") } else { ("replicas", "count") };
        if let Some(value) = object.remove(&["spec", from]) {
            object.set(&["spec", to], value);
        }
        object.set(&["apiVersion"], version);
        Ok(object)
    }
}

/// A stored object, always in the first version, whom clients of both versions write.
struct Store {
    both: Both,
    live: Option<Object>,
    second: i64,
}

impl Store {
    fn new() -> Self {
        Self { both: Both::new(), live: None, second: 0 }
    }

    fn write(
        &mut self,
        version: &'static str,
        manager: &str,
        spec: Value,
        run: impl FnOnce(Option<&Object>, Object, &Request<'_>) -> ApiResult<Object>,
    ) -> ApiResult<()> {
        self.second += 1;
        let kind = GroupVersionKind::new("test.io", version, "Thing");
        let api_version = kind.group_version().to_string();
        let request = Request {
            manager,
            subresource: "",
            kind: &kind,
            schema: self.both.schema(version),
            reset: &Filter::None,
            now: at(self.second),
            versions: Some(&self.both),
        };
        let live = self.live.as_ref().map(|live| self.both.convert(live, &api_version).unwrap());
        let sent = json!({"apiVersion": api_version, "kind": "Thing", "metadata": {"name": "x"},
            "spec": spec});
        let mut written = run(live.as_ref(), Object::from_value(sent).unwrap(), &request)?;
        written.set(&["metadata", "uid"], "u");
        self.live = Some(self.both.convert(&written, "test.io/v1").unwrap_or(written));
        Ok(())
    }

    fn update(&mut self, version: &'static str, manager: &str, spec: Value) {
        self.write(version, manager, spec, |live, mut sent, request| {
            sent.set(&["metadata", "uid"], "u");
            Ok(update(live, sent, request))
        })
        .unwrap();
    }

    fn apply(&mut self, version: &'static str, manager: &str, spec: Value) -> ApiResult<()> {
        self.write(version, manager, spec, |live, sent, request| apply(live, sent, false, request))
    }

    fn spec(&self) -> Value {
        self.live.as_ref().unwrap().at(&["spec"]).cloned().unwrap_or_default()
    }

    /// Version and fields of a manager.
    fn owner(&self, manager: &str) -> Option<(String, Value)> {
        let list = self.live.as_ref().unwrap().at(&["metadata", "managedFields"])?.as_array()?;
        let entry = list.iter().find(|entry| entry["manager"] == manager)?;
        Some((entry["apiVersion"].as_str()?.to_owned(), entry["fieldsV1"].clone()))
    }
}

fn owns(version: &str, fields: Value) -> Option<(String, Value)> {
    Some((format!("test.io/{version}"), json!({"f:spec": fields})))
}

#[test]
fn a_field_that_another_version_names_otherwise_stays_owned_until_it_changes() {
    let mut store = Store::new();
    store.apply("v1", "one", json!({"replicas": 1})).unwrap();
    store.update("v2", "two", json!({"count": 1, "text": "a"}));
    assert_eq!(store.owner("one"), owns("v1", json!({"f:replicas": {}})));
    assert_eq!(store.owner("two"), owns("v2", json!({"f:text": {}})));
    store.update("v2", "two", json!({"count": 2, "text": "a"}));
    assert_eq!(store.owner("one"), None);
    assert_eq!(store.owner("two"), owns("v2", json!({"f:count": {}, "f:text": {}})));
}

#[test]
fn a_conflict_is_told_where_the_other_manager_has_the_field() {
    let mut store = Store::new();
    store.apply("v1", "one", json!({"replicas": 1})).unwrap();
    let refused = store.apply("v2", "two", json!({"count": 2})).unwrap_err();
    let causes = &refused.details().unwrap().causes;
    assert_eq!(causes[0].field, ".spec.replicas");
    assert_eq!(causes[0].message, "conflict with \"one\"");
    store.apply("v2", "two", json!({"count": 1})).unwrap();
    assert_eq!(store.owner("one"), owns("v1", json!({"f:replicas": {}})));
    assert_eq!(store.owner("two"), owns("v2", json!({"f:count": {}})));
}

#[test]
fn who_applies_in_another_version_gives_up_what_it_applied_before() {
    let mut store = Store::new();
    store.apply("v1", "one", json!({"replicas": 1, "text": "a", "labels": {"k": "v"}})).unwrap();
    store.apply("v2", "two", json!({"count": 1})).unwrap();
    store.apply("v2", "one", json!({"text": "a"})).unwrap();
    assert_eq!(store.spec(), json!({"replicas": 1, "text": "a"}), "the other still owns the count");
    assert_eq!(store.owner("one"), owns("v2", json!({"f:text": {}})));
    store.apply("v1", "two", json!({})).unwrap();
    assert_eq!(store.spec(), json!({"text": "a"}));
}

#[test]
fn managers_of_a_version_that_is_no_more_are_forgotten() {
    let mut store = Store::new();
    store.apply("v1", "one", json!({"replicas": 1})).unwrap();
    let live = store.live.as_mut().unwrap();
    let mut entries = live.remove(&["metadata", "managedFields"]).unwrap();
    entries[0]["apiVersion"] = "test.io/v0".into();
    live.set(&["metadata", "managedFields"], entries);
    store.update("v1", "two", json!({"replicas": 1, "text": "a"}));
    assert_eq!(store.owner("one"), None);
    assert_eq!(store.owner("two"), owns("v1", json!({"f:text": {}})));
}

#[test]
fn what_cannot_be_converted_fails_an_apply_and_leaves_an_update_without_managers() {
    let mut store = Store::new();
    store.apply("v1", "one", json!({"replicas": 1})).unwrap();
    store.apply("v2", "two", json!({"text": "a"})).unwrap();
    let refused = store.apply("v1", "one", json!({"replicas": 1, "text": "stubborn"})).unwrap_err();
    assert!(refused.message().ends_with("it does not want to"), "{}", refused.message());
    assert_eq!(refused.code().as_u16(), 500);
    store.update("v1", "one", json!({"replicas": 1, "text": "stubborn"}));
    assert_eq!((store.owner("one"), store.owner("two")), (None, None));
}
