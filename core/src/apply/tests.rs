use super::fields::{field_set, full_set, reconcile};
use super::shape::Type;
use super::*;
use crate::schema::{self, Field, Kind, ListType, PatchStrategy, Presence, SchemaRef};
use crate::status::ApiResult;
use serde_json::{Value, json};
use std::borrow::Cow;

mod managers;
mod merging;
mod properties;
mod scenarios;
mod versions;
mod whole;

pub(super) fn scalar() -> Schema {
    Schema::anonymous(Kind::String)
}

pub(super) fn number() -> Schema {
    Schema::anonymous(Kind::Number)
}

pub(super) fn object(fields: Vec<(&'static str, Schema)>) -> Schema {
    let field = |(name, schema): (&'static str, Schema)| Field {
        name: name.into(),
        schema: schema.into(),
        required: false,
        nullable: false,
        presence: Presence::Optional,
        default: (name == "protocol").then_some("\"TCP\"".into()),
        patch: PatchStrategy::default(),
        tag: 0,
    };
    let mut fields: Vec<_> = fields.into_iter().map(field).collect();
    fields.sort_by(|left, right| left.name.cmp(&right.name));
    Schema::anonymous(Kind::Object {
        fields: Cow::Owned(fields),
        preserve_unknown: false,
        atomic: false,
    })
}

pub(super) fn map(values: Schema) -> Schema {
    Schema::anonymous(Kind::Map { values: values.into(), atomic: false })
}

pub(super) fn set(items: Schema) -> Schema {
    Schema::anonymous(Kind::List { items: items.into(), list: ListType::Set })
}

pub(super) fn atomic(items: Schema) -> Schema {
    Schema::anonymous(Kind::List { items: items.into(), list: ListType::Atomic })
}

pub(super) fn keyed(keys: &[&'static str], items: Schema) -> Schema {
    let keys = keys.iter().map(|key| Cow::Borrowed(*key)).collect();
    Schema::anonymous(Kind::List { items: items.into(), list: ListType::Map(Cow::Owned(keys)) })
}

/// A custom kind with every way to merge.
pub(super) fn custom() -> SchemaRef {
    let item = || object(vec![("name", scalar()), ("value", number()), ("tags", set(scalar()))]);
    let port = object(vec![("port", number()), ("protocol", scalar()), ("name", scalar())]);
    let spec = object(vec![
        ("replicas", number()),
        ("text", scalar()),
        ("labels", map(scalar())),
        ("set", set(scalar())),
        ("atomic", atomic(scalar())),
        ("items", keyed(&["name"], item())),
        ("ports", keyed(&["port", "protocol"], port)),
        ("nested", object(vec![("a", scalar()), ("b", scalar())])),
        ("any", Schema::anonymous(Kind::Any)),
    ]);
    let metadata = object(vec![
        ("name", scalar()),
        ("namespace", scalar()),
        ("uid", scalar()),
        ("resourceVersion", scalar()),
        ("labels", map(scalar())),
        ("annotations", map(scalar())),
        ("managedFields", atomic(Schema::anonymous(Kind::Any))),
    ]);
    object(vec![
        ("apiVersion", scalar()),
        ("kind", scalar()),
        ("metadata", metadata),
        ("spec", spec),
        ("status", object(vec![("count", number())])),
    ])
    .into()
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

/// A server for one object, as clients see it.
pub(super) struct Server {
    pub(super) kind: GroupVersionKind,
    schema: SchemaRef,
    pub(super) live: Option<Object>,
    pub(super) subresource: &'static str,
    pub(super) reset: Filter,
    pub(super) second: i64,
}

impl Server {
    pub(super) fn of(kind: GroupVersionKind, schema: SchemaRef) -> Self {
        Self { kind, schema, live: None, subresource: "", reset: Filter::None, second: 0 }
    }

    pub(super) fn custom() -> Self {
        Self::of(GroupVersionKind::new("test.io", "v1", "Thing"), custom())
    }

    pub(super) fn deployments() -> Self {
        let schema = schema::builtin("io.k8s.api.apps.v1.Deployment").unwrap();
        Self::of(GroupVersionKind::new("apps", "v1", "Deployment"), schema)
    }

    fn object(&self, mut body: Value) -> Object {
        body["apiVersion"] = self.kind.group_version().to_string().into();
        body["kind"] = self.kind.kind.clone().into();
        body["metadata"]["name"] = "x".into();
        Object::from_value(body).unwrap()
    }

    fn request<R>(&mut self, manager: &str, run: impl FnOnce(&Self, &Request<'_>) -> R) -> R {
        self.second += 1;
        let request = Request {
            manager,
            subresource: self.subresource,
            kind: &self.kind,
            schema: &self.schema,
            reset: &self.reset,
            now: at(self.second),
            versions: None,
        };
        run(self, &request)
    }

    fn store(&mut self, mut object: Object) {
        object.set(&["metadata", "uid"], "u");
        self.live = Some(object);
    }

    pub(super) fn update(&mut self, manager: &str, body: Value) {
        let mut new = self.object(body);
        if let Some(live) = &self.live {
            new.set(&["metadata", "uid"], live.uid());
        }
        let result =
            self.request(manager, |this, request| update(this.live.as_ref(), new, request));
        self.store(result);
    }

    pub(super) fn apply(&mut self, manager: &str, body: Value) -> ApiResult<()> {
        self.apply_with(manager, body, false)
    }

    pub(super) fn force(&mut self, manager: &str, body: Value) {
        self.apply_with(manager, body, true).unwrap();
    }

    pub(super) fn apply_with(&mut self, manager: &str, body: Value, force: bool) -> ApiResult<()> {
        let applied = self.object(body);
        let result = self
            .request(manager, |this, request| apply(this.live.as_ref(), applied, force, request))?;
        self.store(result);
        Ok(())
    }

    pub(super) fn spec(&self) -> Value {
        self.live.as_ref().unwrap().at(&["spec"]).cloned().unwrap_or_default()
    }

    /// The managers in order: name, operation, fields.
    pub(super) fn owners(&self) -> Vec<(String, String, Value)> {
        let list = self.live.as_ref().unwrap().at(&["metadata", "managedFields"]);
        let list = list.and_then(Value::as_array).cloned().unwrap_or_default();
        let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        list.iter()
            .map(|entry| {
                (text(entry, "manager"), text(entry, "operation"), entry["fieldsV1"].clone())
            })
            .collect()
    }

    pub(super) fn fields(&self, manager: &str) -> Value {
        let owners = self.owners();
        let found = owners.into_iter().find(|(name, ..)| name == manager);
        found.map_or(Value::Null, |(.., fields)| fields)
    }

    pub(super) fn time(&self, manager: &str) -> String {
        let list = self.live.as_ref().unwrap().at(&["metadata", "managedFields"]).unwrap();
        let entries = list.as_array().unwrap();
        let entry = entries.iter().find(|entry| entry["manager"] == manager).unwrap();
        entry["time"].as_str().unwrap_or_default().to_owned()
    }
}
