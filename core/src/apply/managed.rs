//! `metadata.managedFields`: who owns which fields.

use super::{
    Request,
    packed::{packed_set, set_of, text_of},
    set::FieldSet,
};
use crate::Object;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// How many managers may own fields by updates before the oldest are thrown together.
pub(super) const MAX_UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

/// What tells managers apart. One manager applies in any version, but updates in one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    pub(super) name: String,
    pub(super) operation: Operation,
    /// Empty for appliers.
    api_version: String,
    pub(super) subresource: String,
}

impl Manager {
    pub(super) fn new(name: &str, operation: Operation, version: &str, subresource: &str) -> Self {
        Self {
            name: name.to_owned(),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => version.to_owned(),
            },
            subresource: subresource.to_owned(),
        }
    }

    /// As in messages about conflicts.
    pub(super) fn describe(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// What a manager owns.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    pub(super) time: Option<Timestamp>,
}

impl Owned {
    pub(super) fn none(api_version: String) -> Self {
        Self { set: FieldSet::new(), api_version, time: None }
    }
}

/// All managers of an object; none with an empty set, but for entries read as such.
#[derive(Debug, Clone, Default)]
pub(super) struct Managed {
    pub(super) owners: BTreeMap<Manager, Owned>,
}

impl Managed {
    /// Reads the list of an object.
    ///
    /// # Errors
    /// What is wrong, in the original's words.
    pub(super) fn decode(object: &Object) -> Result<Self, String> {
        let mut managed = Self::default();
        let list = object.at(&["metadata", "managedFields"]).and_then(Value::as_array);
        for (index, entry) in list.into_iter().flatten().enumerate() {
            let (manager, owned) = decode_entry(index, entry)?;
            managed.owners.insert(manager, owned);
        }
        Ok(managed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owners.is_empty()
    }

    /// Drops managers that own nothing.
    pub(super) fn tidy(&mut self) {
        self.owners.retain(|_, owned| !owned.set.is_empty());
    }

    /// Writes the list into an object, its sets packed, or takes it out when there is nobody.
    pub(super) fn encode_into(self, object: &mut Object) {
        if self.owners.is_empty() {
            strip(object);
            return;
        }
        let mut owners: Vec<_> = self.owners.into_iter().collect();
        owners.sort_by(|(left, owns), (right, other)| {
            (left.operation.cmp(&right.operation))
                .then_with(|| seconds(owns.time).cmp(&seconds(other.time)))
                .then_with(|| left.name.cmp(&right.name))
                .then_with(|| owns.api_version.cmp(&other.api_version))
                .then_with(|| left.subresource.cmp(&right.subresource))
        });
        let list: Vec<Value> =
            owners.iter().map(|(manager, owned)| encode_entry(manager, owned)).collect();
        object.set(&["metadata", "managedFields"], list);
    }

    /// Throws the oldest updaters of a version together until few enough are left.
    pub(super) fn cap(&mut self) {
        let updaters = self.owners.iter().filter(|(key, _)| key.operation == Operation::Update);
        if updaters.clone().count() <= MAX_UPDATERS {
            return;
        }
        let mut updaters: Vec<_> =
            updaters.map(|(key, owned)| (seconds(owned.time), key.clone())).collect();
        let mut excess = updaters.len().saturating_sub(MAX_UPDATERS);
        updaters.sort();
        let mut first: BTreeMap<String, Manager> = BTreeMap::new();
        for (_, manager) in updaters {
            if excess == 0 {
                return;
            }
            let Some(version) = self.owners.get(&manager).map(|owned| owned.api_version.clone())
            else {
                continue;
            };
            let Some(oldest) = first.get(&version) else {
                first.insert(version, manager);
                continue;
            };
            let bucket = Manager::new(ANCIENT, Operation::Update, &version, "");
            if let Some(merged) = self.owners.remove(&manager) {
                let mut whole = self.owners.remove(&bucket).or_else(|| self.owners.remove(oldest));
                let mut set = whole.take().map(|owned| owned.set).unwrap_or_default();
                set.extend(merged.set);
                self.owners.insert(bucket, Owned { set, ..merged });
                excess -= 1;
            }
        }
    }
}

fn seconds(time: Option<Timestamp>) -> i64 {
    time.map_or(0, Timestamp::as_second)
}

/// Takes the list out of an object.
pub(super) fn strip(object: &mut Object) {
    object.remove(&["metadata", "managedFields"]);
}

/// Whether the client asks to forget all managers: an empty list, or one empty entry.
pub(super) fn is_reset(object: &Object) -> bool {
    match object.at(&["metadata", "managedFields"]).and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(only)]) => only.values().all(|value| match value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            _ => false,
        }),
        _ => false,
    }
}

fn decode_entry(index: usize, entry: &Value) -> Result<(Manager, Owned), String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    let api_version = text("apiVersion");
    if api_version.is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => {
            return Err(format!("missing fieldsType in managed fields entry {index}"));
        }
        other => {
            return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}"));
        }
    }
    let set = match entry.get("fieldsV1") {
        None => Ok(FieldSet::new()),
        Some(fields) => packed_set(fields).map_or_else(|| FieldSet::from_json(fields), set_of),
    };
    let set = set.map_err(|why| {
        format!("error decoding versioned set from {entry}: error decoding set: {why}")
    })?;
    let manager = Manager::new(text("manager"), operation, api_version, text("subresource"));
    let time = text("time").parse().ok();
    Ok((manager, Owned { set, api_version: api_version.to_owned(), time }))
}

/// The entry of a manager that did not own anything before.
pub(super) fn updater(request: &Request<'_>, set: FieldSet) -> Value {
    let manager = request.manager(request.manager, Operation::Update);
    let owned = Owned { set, time: Some(request.now), ..Owned::none(request.version()) };
    encode_entry(&manager, &owned)
}

fn encode_entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::new();
    let operation = match manager.operation {
        Operation::Apply => "Apply",
        Operation::Update => "Update",
    };
    if !manager.name.is_empty() {
        entry.insert("manager".into(), manager.name.clone().into());
    }
    entry.insert("operation".into(), operation.into());
    entry.insert("apiVersion".into(), owned.api_version.clone().into());
    if let Some(time) = owned.time {
        entry.insert("time".into(), crate::decode::time(time).into());
    }
    entry.insert("fieldsType".into(), "FieldsV1".into());
    entry.insert("fieldsV1".into(), text_of(&owned.set).into());
    if !manager.subresource.is_empty() {
        entry.insert("subresource".into(), manager.subresource.clone().into());
    }
    Value::Object(entry)
}
