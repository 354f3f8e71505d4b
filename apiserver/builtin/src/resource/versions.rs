//! The older versions of the group: shapes of their own, the rules of v1.

use crate::row;
use jiff::Timestamp;
use kubeplane_core::{
    Definition, GroupVersion, GroupVersionKind, Object, Strategy,
    apply::Filter,
    decode::conform,
    definition::{Context, Deletion, NameRule},
    field::Errors,
    schema::SchemaRef,
};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, sync::Arc};

const GROUP: &str = "resource.k8s.io";
const V1: &str = "v1";
/// Its requests are flat, its devices are not.
const V1BETA1: &str = "v1beta1";
const V1BETA2: &str = "v1beta2";

/// What a request of v1 has under `exactly`.
const EXACTLY: [&str; 7] = [
    "deviceClassName",
    "selectors",
    "allocationMode",
    "count",
    "adminAccess",
    "tolerations",
    "capacity",
];

/// A kind of v1 that converts from and to its older versions.
pub(super) fn current(v1: Definition) -> Definition {
    versioned(&v1, V1)
}

/// The older versions of a kind of v1.
pub(super) fn older(v1: &Definition) -> [Definition; 2] {
    [versioned(v1, V1BETA1), versioned(v1, V1BETA2)]
}

fn versioned(v1: &Definition, version: &'static str) -> Definition {
    let kind = |kind: &str| GroupVersionKind::new(GROUP, version, kind.to_owned());
    let mut definition = v1.clone();
    definition.kind = kind(&v1.kind.kind);
    definition.schema = row::schema(&definition.kind);
    for part in &mut definition.subresources {
        part.kind = kind(&part.kind.kind);
    }
    let shapes = [V1, V1BETA1, V1BETA2].map(|version| {
        let kind = GroupVersionKind::new(GROUP, version, v1.kind.kind.clone());
        (version, row::schema(&kind))
    });
    let rules = v1.strategy.clone();
    definition.strategy = Arc::new(Versioned { version, shapes, rules });
    definition
}

/// One version of a kind.
#[derive(Debug)]
struct Versioned {
    version: &'static str,
    shapes: [(&'static str, SchemaRef); 3],
    /// Those of v1.
    rules: Arc<dyn Strategy>,
}

impl Versioned {
    fn is_v1(&self) -> bool {
        self.version == V1
    }

    fn in_v1<'a>(&self, object: &'a Object) -> Cow<'a, Object> {
        let own = object.group_version().is_some_and(|own| own.version == V1);
        if own { Cow::Borrowed(object) } else { Cow::Owned(self.to(object.clone(), V1)) }
    }

    /// The object in a version, from whichever it has.
    fn to(&self, mut object: Object, version: &str) -> Object {
        let api_version = format!("{GROUP}/{version}");
        let from = object.group_version().map(|own| own.version.to_string()).unwrap_or_default();
        if from == version {
            return object;
        }
        if from == V1BETA1 {
            change_lists(&mut object, nested, flattened);
        }
        if version == V1BETA1 {
            change_lists(&mut object, flat, boxed);
        }
        object.set(&["apiVersion"], api_version);
        let shape = self.shapes.iter().find(|(known, _)| *known == version);
        let mut shaped = object.clone();
        match shape.map(|(_, schema)| conform(&mut shaped, schema)) {
            Some(Ok(_)) => shaped,
            _ => object,
        }
    }

    /// Lets the rules of v1 change an object of this version.
    fn change(&self, object: &mut Object, work: impl FnOnce(&mut Object)) {
        if self.is_v1() {
            return work(object);
        }
        let mut inner = self.in_v1(object).into_owned();
        work(&mut inner);
        *object = self.to(inner, self.version);
    }
}

impl Strategy for Versioned {
    fn default(&self, object: &mut Object) {
        self.change(object, |object| self.rules.default(object));
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        self.change(object, |object| self.rules.prepare_create(context, object));
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        let old = self.in_v1(old);
        self.change(object, |object| self.rules.prepare_update(context, object, &old));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        self.rules.validate(context, &self.in_v1(object))
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        self.rules.validate_update(context, &self.in_v1(object), &self.in_v1(old))
    }

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        self.rules.reset_fields(subresource)
    }

    fn name_rule(&self) -> NameRule {
        self.rules.name_rule()
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        self.rules.table_row(&self.in_v1(object), now)
    }

    /// Selectable fields stand where they stand in v1.
    fn field(&self, object: &Object, path: &str) -> String {
        self.rules.field(object, path)
    }

    fn deletion(&self, object: &Object, grace: Option<i64>) -> Deletion {
        self.rules.deletion(&self.in_v1(object), grace)
    }

    fn convert(&self, object: Object, to: &GroupVersion) -> Object {
        self.to(object, &to.version)
    }
}

type Change = fn(&mut Map<String, Value>);

/// Changes every request of a claim, and every device of a slice with the slice's own fields.
fn change_lists(object: &mut Object, request: Change, device: Change) {
    let spec = if object.kind() == "ResourceClaimTemplate" {
        &["spec", "spec", "devices"][..]
    } else {
        &["spec", "devices"][..]
    };
    match object.kind() {
        "ResourceClaim" | "ResourceClaimTemplate" if object.at(spec).is_some() => {
            each(object.map_at_mut(spec).get_mut("requests"), request);
        }
        "ResourceSlice" if object.at(&["spec"]).is_some() => {
            let spec = object.map_at_mut(&["spec"]);
            // No pointers in the older version.
            spec.retain(|key, value| !(key == "nodeName" && *value == ""));
            spec.retain(|key, value| !(key == "allNodes" && *value == false));
            each(spec.get_mut("devices"), device);
        }
        _ => {}
    }
}

fn each(list: Option<&mut Value>, change: Change) {
    let items = list.and_then(Value::as_array_mut).into_iter().flatten();
    items.filter_map(Value::as_object_mut).for_each(change);
}

/// A flat request in the shape of v1.
fn nested(request: &mut Map<String, Value>) {
    let mut exactly = take(request, &EXACTLY);
    exactly.retain(|_, value| *value != "" && *value != 0 && !value.is_null());
    if !exactly.is_empty() {
        exactly.entry("deviceClassName").or_insert_with(|| "".into());
        request.insert("exactly".to_owned(), Value::Object(exactly));
    }
}

/// A request of v1, flat.
fn flat(request: &mut Map<String, Value>) {
    if let Some(Value::Object(exactly)) = request.remove("exactly") {
        request.extend(exactly);
    }
}

/// A device in the shape of v1.
fn flattened(device: &mut Map<String, Value>) {
    if let Some(Value::Object(basic)) = device.remove("basic") {
        device.extend(basic);
    }
}

/// A device of v1 with all but its name in a box.
fn boxed(device: &mut Map<String, Value>) {
    let name = json!(device.remove("name").unwrap_or_default().as_str().unwrap_or_default());
    let basic = std::mem::take(device);
    device.insert("name".to_owned(), name);
    device.insert("basic".to_owned(), Value::Object(basic));
}

fn take(map: &mut Map<String, Value>, keys: &[&str]) -> Map<String, Value> {
    keys.iter().filter_map(|key| map.remove_entry(*key)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::Look;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    fn there_and_back(kind: &str, spec: &Value, version: &str) -> (Value, Value) {
        let definitions = crate::resource::definitions();
        let v1 = definitions.iter().find(|known| *known.kind.kind == *kind).unwrap();
        let made = object(json!({"apiVersion": "resource.k8s.io/v1", "kind": kind,
            "metadata": {"name": "a"}, "spec": spec}));
        let to = |version: &str| GroupVersion::new(GROUP, version.to_owned());
        let there = v1.strategy.convert(made, &to(version));
        let back = v1.strategy.convert(there.clone(), &to("v1"));
        (there.into_value()["spec"].clone(), back.into_value()["spec"].clone())
    }

    #[test]
    fn a_request_is_flat_in_the_oldest_version() {
        let spec = json!({"devices": {"requests": [
            {"name": "one", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
            {"name": "any", "firstAvailable": [{"name": "x", "deviceClassName": "gpu",
                "allocationMode": "All"}]},
        ]}});
        let (there, back) = there_and_back("ResourceClaim", &spec, "v1beta1");
        assert_eq!(back, spec);
        let requests = there["devices"].list("requests");
        assert_eq!(
            requests[0],
            json!({"name": "one", "deviceClassName": "gpu",
            "allocationMode": "ExactCount", "count": 2})
        );
        assert_eq!(requests[1].text("deviceClassName"), "");
        assert_eq!(there_and_back("ResourceClaim", &spec, "v1beta2"), (spec.clone(), spec.clone()));
        let template = json!({"spec": spec});
        let (there, back) = there_and_back("ResourceClaimTemplate", &template, "v1beta1");
        assert_eq!(back["spec"], spec);
        assert_eq!(there["spec"]["devices"]["requests"][0]["deviceClassName"], "gpu");
    }

    #[test]
    fn a_device_is_boxed_in_the_oldest_version() {
        let spec = json!({"driver": "d", "nodeName": "n", "pool":
            {"name": "p", "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "one", "capacity": {"memory": {"value": "1Gi"}}}]});
        let (there, back) = there_and_back("ResourceSlice", &spec, "v1beta1");
        assert_eq!(back, spec);
        let device = json!({"name": "one", "basic": {"capacity": {"memory": {"value": "1Gi"}}}});
        assert_eq!(there["devices"][0], device);
    }
}
