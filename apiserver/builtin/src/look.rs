//! Reading untyped JSON: plain look-ups on [`Value`], and [`At`], which knows the path it stands at.

use kubeplane_core::field::{Error, ErrorKind, Path};
use serde_json::{Map, Value};
use std::{cell::OnceCell, rc::Rc};

pub(crate) static NULL: Value = Value::Null;

/// Look-ups that answer with a zero value where nothing is, as Go's structs do.
pub(crate) trait Look {
    fn sub(&self, key: &str) -> &Value;
    fn text(&self, key: &str) -> &str;
    fn int(&self, key: &str) -> i64;
    fn flag(&self, key: &str) -> bool;
    fn list(&self, key: &str) -> &[Value];
    fn has(&self, key: &str) -> bool;
}

impl Look for Value {
    fn sub(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&NULL)
    }

    fn text(&self, key: &str) -> &str {
        self.sub(key).as_str().unwrap_or_default()
    }

    fn int(&self, key: &str) -> i64 {
        self.sub(key).as_i64().unwrap_or_default()
    }

    fn flag(&self, key: &str) -> bool {
        self.sub(key).as_bool().unwrap_or_default()
    }

    fn list(&self, key: &str) -> &[Value] {
        self.sub(key).as_array().map_or(&[], Vec::as_slice)
    }

    fn has(&self, key: &str) -> bool {
        !self.sub(key).is_null()
    }
}

/// The same look-ups on a map.
pub(crate) fn sub<'a>(map: &'a Map<String, Value>, key: &str) -> &'a Value {
    map.get(key).unwrap_or(&NULL)
}

/// A value and where it stands; absent values are null. Paths are only printed for errors, and most places have nothing
/// below them that is looked at: a place is put on the trail when something is.
#[derive(Debug, Clone)]
pub(crate) struct At<'a> {
    value: &'a Value,
    above: Option<Rc<Trail>>,
    step: Step,
    here: OnceCell<Rc<Trail>>,
}

#[derive(Debug)]
struct Trail {
    above: Option<Rc<Trail>>,
    step: Step,
}

#[derive(Debug, Clone)]
enum Step {
    Name(&'static str),
    Index(usize),
    Key(Rc<str>),
}

impl<'a> At<'a> {
    /// A top-level field of an object.
    pub(crate) fn top(map: &'a Map<String, Value>, name: &'static str) -> Self {
        Self { value: sub(map, name), above: None, step: Step::Name(name), here: OnceCell::new() }
    }

    fn trail(&self) -> &Rc<Trail> {
        self.here
            .get_or_init(|| Rc::new(Trail { above: self.above.clone(), step: self.step.clone() }))
    }

    fn step(&self, value: &'a Value, step: Step) -> Self {
        Self { value, above: Some(self.trail().clone()), step, here: OnceCell::new() }
    }

    /// A field.
    pub(crate) fn get(&self, name: &'static str) -> Self {
        self.step(self.value.sub(name), Step::Name(name))
    }

    /// A value of a map.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.step(self.value.sub(key), Step::Key(key.into()))
    }

    /// An item of a list.
    pub(crate) fn index(&self, index: usize) -> Self {
        self.step(self.value.get(index).unwrap_or(&NULL), Step::Index(index))
    }

    /// The same place with another value.
    pub(crate) fn with<'b>(&self, value: &'b Value) -> At<'b> {
        let Self { above, step, here, .. } = self;
        At { value, above: above.clone(), step: step.clone(), here: here.clone() }
    }

    /// The items of a list, or nothing.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'a>> + use<'a> {
        let here = self.clone();
        let list = self.value.as_array().map_or(&[][..], Vec::as_slice);
        list.iter().enumerate().map(move |(index, value)| here.step(value, Step::Index(index)))
    }

    /// The entries of a map, or nothing.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'a str, At<'a>)> + use<'a> {
        let here = self.clone();
        let map = self.value.as_object();
        map.into_iter().flatten().map(move |(key, value)| {
            (key.as_str(), here.step(value, Step::Key(key.as_str().into())))
        })
    }

    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    /// Whether there is a value.
    pub(crate) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// The text, or the empty one.
    pub(crate) fn str(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The whole number, if one is there.
    pub(crate) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// The truth value, or false.
    pub(crate) fn bool(&self) -> bool {
        self.value.as_bool().unwrap_or_default()
    }

    /// How many items or entries there are.
    pub(crate) fn len(&self) -> usize {
        match self.value {
            Value::Array(list) => list.len(),
            Value::Object(map) => map.len(),
            _ => 0,
        }
    }

    /// Whether there are no items or entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn path(&self) -> Path {
        fn walk(trail: Option<&Trail>) -> Path {
            let Some(trail) = trail else {
                return Path::root();
            };
            let above = walk(trail.above.as_deref());
            match &trail.step {
                Step::Name(name) => above.child(name),
                Step::Index(index) => above.index(*index),
                Step::Key(key) => above.key(key),
            }
        }
        walk(Some(self.trail()))
    }

    /// The value as an error prints it: Go's zero text where nothing is.
    fn shown(&self) -> Value {
        if self.value.is_null() { Value::from("") } else { self.value.clone() }
    }

    pub(crate) fn required(&self, detail: impl Into<String>) -> Error {
        Error::required(&self.path(), detail)
    }

    pub(crate) fn invalid(&self, detail: impl Into<String>) -> Error {
        Error::invalid(&self.path(), self.shown(), detail)
    }

    pub(crate) fn invalid_as(&self, value: impl Into<Value>, detail: impl Into<String>) -> Error {
        Error::invalid(&self.path(), value, detail)
    }

    pub(crate) fn duplicate(&self) -> Error {
        Error::duplicate(&self.path(), self.shown())
    }

    pub(crate) fn duplicate_as(&self, value: impl Into<Value>) -> Error {
        Error::duplicate(&self.path(), value)
    }

    pub(crate) fn not_found(&self) -> Error {
        Error::not_found(&self.path(), self.shown())
    }

    /// The supported values are printed in this order, as the original does where it has no set of them.
    pub(crate) fn not_supported(&self, supported: &[&str]) -> Error {
        let names: Vec<_> = supported.iter().map(|name| format!("{name:?}")).collect();
        let detail = format!("supported values: {}", names.join(", "));
        Error { kind: ErrorKind::NotSupported, path: self.path(), value: self.shown(), detail }
    }

    pub(crate) fn forbidden(&self, detail: impl Into<String>) -> Error {
        Error::forbidden(&self.path(), detail)
    }

    pub(crate) fn too_long(&self, limit: usize) -> Error {
        Error::too_long(&self.path(), limit)
    }

    pub(crate) fn too_many(&self, limit: usize) -> Error {
        Error::too_many(&self.path(), self.len(), limit)
    }
}
