//! An object of the API as untyped JSON, with access to its metadata.

use crate::identity::GroupVersion;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, OwnerReference};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// An object: a JSON map with `apiVersion`, `kind` and `metadata`.
///
/// Untyped on purpose: typed decoding drops unknown fields and invents missing ones, so it is good for
/// hooks to look at, never for what is stored.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object(Map<String, Value>);

impl Object {
    /// The object of this JSON; `None` when it is no map.
    #[must_use]
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(map) => Some(Self(map)),
            _ => None,
        }
    }

    /// Encodes a typed object.
    ///
    /// # Errors
    /// When it does not encode to a JSON map.
    pub fn encode<T: Serialize>(typed: &T) -> serde_json::Result<Self> {
        // By way of text, as clients write it: code for values as well would be there for each type.
        Self::parse(&serde_json::to_vec(typed)?)
    }

    /// Decodes into a typed object, dropping what the type does not know.
    ///
    /// # Errors
    /// When a value has the wrong type.
    pub fn decode<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        T::deserialize(&self.0)
    }

    /// Parses JSON bytes.
    ///
    /// # Errors
    /// When they are no JSON map.
    pub fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        match std::str::from_utf8(bytes) {
            // Looked at once as a whole, and not text by text.
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(bytes),
        }
        .map(Self)
    }

    /// As compact JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// The JSON map.
    #[must_use]
    pub fn map(&self) -> &Map<String, Value> {
        &self.0
    }

    /// The JSON map, to change.
    pub fn map_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.0
    }

    /// As a JSON value.
    #[must_use]
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// The value at a path of map keys.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.0.get(*first)?, |value, key| value.get(key))
    }

    /// The text at a path, or the empty one.
    #[must_use]
    pub fn text(&self, path: &[&str]) -> &str {
        self.at(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// Sets the value at a path, making maps on the way.
    pub fn set(&mut self, path: &[&str], value: impl Into<Value>) {
        let Some((last, above)) = path.split_last() else { return };
        let (map, value) = (self.map_at_mut(above), value.into());
        match map.get_mut(*last) {
            Some(slot) => *slot = value,
            None => drop(map.insert((*last).to_owned(), value)),
        }
    }

    /// Removes and returns the value at a path.
    pub fn remove(&mut self, path: &[&str]) -> Option<Value> {
        let (last, above) = path.split_last()?;
        let mut map = &mut self.0;
        for key in above {
            map = map.get_mut(*key)?.as_object_mut()?;
        }
        map.remove(*last)
    }

    /// The map at a path, made (over anything that is no map) if missing.
    pub fn map_at_mut(&mut self, path: &[&str]) -> &mut Map<String, Value> {
        let mut map = &mut self.0;
        for key in path {
            if !map.get(*key).is_some_and(Value::is_object) {
                map.insert((*key).to_owned(), Value::Object(Map::new()));
            }
            map = match map.get_mut(*key) {
                Some(Value::Object(inner)) => inner,
                _ => unreachable!("the map is there, or was just made"),
            };
        }
        map
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.text(&["kind"])
    }

    /// The `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.text(&["apiVersion"])
    }

    /// The parsed `apiVersion`.
    #[must_use]
    pub fn group_version(&self) -> Option<GroupVersion> {
        GroupVersion::parse(self.api_version())
    }

    /// The name, or the empty text.
    #[must_use]
    pub fn name(&self) -> &str {
        self.text(&["metadata", "name"])
    }

    /// The namespace, or the empty text.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.text(&["metadata", "namespace"])
    }

    /// The uid, or the empty text.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.text(&["metadata", "uid"])
    }

    /// The `resourceVersion`, or the empty text.
    #[must_use]
    pub fn resource_version(&self) -> &str {
        self.text(&["metadata", "resourceVersion"])
    }

    /// The generation, or zero.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.at(&["metadata", "generation"]).and_then(Value::as_i64).unwrap_or_default()
    }

    /// When deletion was asked for or is due.
    #[must_use]
    pub fn deletion_timestamp(&self) -> Option<Timestamp> {
        self.text(&["metadata", "deletionTimestamp"]).parse().ok()
    }

    /// Whether deletion was asked for.
    #[must_use]
    pub fn is_deleting(&self) -> bool {
        !self.text(&["metadata", "deletionTimestamp"]).is_empty()
    }

    /// The seconds between the request to delete and the deletion.
    #[must_use]
    pub fn deletion_grace_period(&self) -> Option<i64> {
        self.at(&["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64)
    }

    /// The finalizers.
    #[must_use]
    pub fn finalizers(&self) -> Vec<&str> {
        let list = self.at(&["metadata", "finalizers"]).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The labels.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts(&["metadata", "labels"])
    }

    /// One label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.at(&["metadata", "labels", key]).and_then(Value::as_str)
    }

    /// The annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts(&["metadata", "annotations"])
    }

    /// One annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.at(&["metadata", "annotations", key]).and_then(Value::as_str)
    }

    fn texts(&self, path: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        let map = self.at(path).and_then(Value::as_object);
        map.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    /// The owners; entries that do not decode are left out.
    #[must_use]
    pub fn owner_references(&self) -> Vec<OwnerReference> {
        self.decoded_list(&["metadata", "ownerReferences"])
    }

    /// Who manages which fields; entries that do not decode are left out.
    #[must_use]
    pub fn managed_fields(&self) -> Vec<ManagedFieldsEntry> {
        self.decoded_list(&["metadata", "managedFields"])
    }

    fn decoded_list<T: DeserializeOwned>(&self, path: &[&str]) -> Vec<T> {
        let list = self.at(path).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|item| T::deserialize(item).ok()).collect()
    }
}
