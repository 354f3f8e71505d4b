//! Values in errors as the original prints them.
//!
//! It validates types of its own, made before there were versions, so that a struct in an error has other names than the
//! JSON that was sent: every field, in the order of its declaration, with a capital letter. Types of the metadata (labels'
//! selectors, owners) are the same in all versions and look as sent, in their own order.

mod names;

use super::{Error, ErrorKind, Path, go_json, verbatim};
use crate::schema::{Field, Kind, Presence, Schema};
use names::{OF_SECURITY_CONTEXT, internal_name};
use serde_json::{Map, Value};

const POD: &str = "io.k8s.api.core.v1.PodSpec";

/// Gives the values of errors about an object of this shape the look they have in the original.
pub fn show_as_internal(errors: &mut [Error], schema: &Schema) {
    for error in errors {
        let printed = !matches!(
            error.kind,
            ErrorKind::Required
                | ErrorKind::Forbidden
                | ErrorKind::TooLong
                | ErrorKind::InternalError
        );
        let absent = error.value == "";
        if !printed || !(absent || error.value.is_object() || error.value.is_array()) {
            continue;
        }
        let Some((shape, presence)) = find(schema, &error.path) else { continue };
        let shape = match (&error.value, shape.items()) {
            // The one item that is meant, at the path of its list.
            (Value::Object(_), Some(items)) => items,
            _ => shape,
        };
        if !absent && !fits(&error.value, shape) {
            continue;
        }
        let mut text = String::new();
        match (absent, &shape.kind) {
            // A text that is empty, not absent.
            (true, Kind::String | Kind::Bytes | Kind::Time { .. } | Kind::Quantity) => continue,
            (true, Kind::IntOrString) => continue,
            (true, Kind::Object { .. }) if !may_be_null(presence) => continue,
            (true, _) => zero(&mut text, shape, presence, false),
            (false, _) => value(&mut text, &error.value, shape, false),
        }
        error.value = verbatim(&text);
    }
}

/// Whether Go has a pointer there.
fn may_be_null(presence: Presence) -> bool {
    matches!(presence, Presence::Optional | Presence::Null)
}

fn fits(value: &Value, shape: &Schema) -> bool {
    match shape.kind {
        Kind::Object { .. } | Kind::Map { .. } => value.is_object(),
        Kind::List { .. } => value.is_array(),
        _ => false,
    }
}

/// The shape a path leads to, and whether there is always something. Lists may be passed without an index.
fn find<'s>(schema: &'s Schema, path: &Path) -> Option<(&'s Schema, Presence)> {
    let (mut shape, mut presence) = (schema, Presence::Always);
    let mut rest = path.as_str();
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let (_, after) = inner.split_once(']')?;
            shape = match &shape.kind {
                Kind::List { items, .. } => items,
                Kind::Map { values, .. } => values,
                _ => return None,
            };
            presence = Presence::Always;
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        shape = shape.items().unwrap_or(shape);
        let field = shape.field(name)?;
        (shape, presence) = (&field.schema, field.presence);
        rest = after.strip_prefix('.').unwrap_or(after);
    }
    Some((shape, presence))
}

/// Whether the type is the same in all versions.
fn is_shared(schema: &Schema) -> bool {
    schema.name.contains(".apimachinery.")
}

/// The fields in the order of their declaration, which is nearly always that of their tags.
fn ordered(schema: &Schema) -> Vec<&Field> {
    let mut fields: Vec<_> = schema.fields().iter().collect();
    match names::order(&schema.name) {
        Some(order) => fields.sort_by_key(|field| {
            order.iter().position(|name| *name == field.name).unwrap_or(order.len())
        }),
        // What JSON leaves out comes first.
        None => fields.sort_by_key(|field| {
            if field.tag > u32::from(u16::MAX) {
                (field.tag >> 16, field.tag & u32::from(u16::MAX))
            } else {
                (field.tag, 0)
            }
        }),
    }
    fields
}

fn value(out: &mut String, value: &Value, schema: &Schema, within_shared: bool) {
    let shared = within_shared || is_shared(schema);
    match (value, &schema.kind) {
        (Value::Object(map), Kind::Object { .. }) if shared => as_sent(out, map, schema),
        (Value::Object(map), Kind::Object { .. }) => as_internal(out, map, schema),
        (Value::Object(map), Kind::Map { values, .. }) => {
            braces(out, '{', '}', map, |out, (key, item)| {
                text(out, key);
                out.push(':');
                self::value(out, item, values, shared);
            });
        }
        (Value::Array(list), Kind::List { items, .. }) => {
            braces(out, '[', ']', list, |out, item| self::value(out, item, items, shared));
        }
        (other, _) => raw(out, other),
    }
}

fn braces<T>(
    out: &mut String,
    open: char,
    close: char,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(close);
}

fn as_sent(out: &mut String, map: &Map<String, Value>, schema: &Schema) {
    braces(out, '{', '}', sent_fields(map, schema), |out, (field, item)| {
        text(out, &field.name);
        out.push(':');
        value(out, item, &field.schema, true);
    });
}

fn sent_fields<'v>(
    map: &'v Map<String, Value>,
    schema: &'v Schema,
) -> impl Iterator<Item = (&'v Field, &'v Value)> {
    let found = |field: &'v Field| Some((field, map.get(&*field.name)?));
    ordered(schema).into_iter().filter_map(found)
}

/// An object of this shape as inside, with those of its fields that are wanted.
pub(super) fn write_fields(
    value: &Value,
    schema: &Schema,
    only: impl Fn(&Field) -> bool,
) -> String {
    let mut out = String::new();
    let none = Map::new();
    chosen(&mut out, value.as_object().unwrap_or(&none), schema, only);
    out
}

fn as_internal(out: &mut String, map: &Map<String, Value>, schema: &Schema) {
    chosen(out, map, schema, |_| true);
}

fn chosen(
    out: &mut String,
    map: &Map<String, Value>,
    schema: &Schema,
    only: impl Fn(&Field) -> bool,
) {
    let mut parts = Vec::new();
    for field in ordered(schema).into_iter().filter(|field| only(field)) {
        let mut part = String::new();
        match &*field.name {
            "apiVersion" | "kind" if field.tag == 0 => continue,
            name if schema.name == POD && is_elsewhere(name) => continue,
            "securityContext" if schema.name == POD => {
                security_context(&mut part, map, schema, field);
            }
            // Metadata have no name of their own inside.
            "metadata" => {
                let Some(Value::Object(metadata)) = map.get("metadata") else { continue };
                let mut inner = String::new();
                as_sent(&mut inner, metadata, &field.schema);
                let inside = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
                part.push_str(inside.unwrap_or_default());
                if part.is_empty() {
                    continue;
                }
            }
            _ => member(&mut part, field, map),
        }
        parts.push(part);
    }
    braces(out, '{', '}', parts, |out, part| out.push_str(&part));
}

fn member(out: &mut String, field: &Field, map: &Map<String, Value>) {
    text(out, &internal_name(&field.name));
    out.push(':');
    match map.get(&*field.name).filter(|found| !found.is_null()) {
        Some(found) => value(out, found, &field.schema, false),
        None => zero(out, &field.schema, field.presence, false),
    }
}

/// Fields of a pod that are none of its own inside: those of its security context, and the old name of the account's.
fn is_elsewhere(name: &str) -> bool {
    name == "serviceAccount" || OF_SECURITY_CONTEXT.contains(&name)
}

/// The security context of a pod, which is always there inside.
fn security_context(out: &mut String, pod: &Map<String, Value>, schema: &Schema, field: &Field) {
    let none = Map::new();
    let sent = pod.get("securityContext").and_then(Value::as_object).unwrap_or(&none);
    let of_pod = OF_SECURITY_CONTEXT.iter().filter_map(|name| schema.field(name));
    let own = ordered(&field.schema).into_iter().map(|own| (own, sent));
    text(out, &internal_name(&field.name));
    out.push(':');
    braces(out, '{', '}', of_pod.map(|own| (own, pod)).chain(own), |out, (own, map)| {
        member(out, own, map);
    });
}

/// What Go has where nothing is.
fn zero(out: &mut String, schema: &Schema, presence: Presence, shared: bool) {
    if may_be_null(presence) {
        return out.push_str("null");
    }
    match &schema.kind {
        Kind::String => out.push_str("\"\""),
        Kind::Quantity => out.push_str("\"0\""),
        Kind::Integer { .. } | Kind::Number | Kind::IntOrString => out.push('0'),
        Kind::Boolean => out.push_str("false"),
        Kind::Object { .. } if shared || is_shared(schema) => out.push_str("{}"),
        Kind::Object { .. } => as_internal(out, &Map::new(), schema),
        Kind::Any | Kind::Bytes | Kind::Time { .. } | Kind::Map { .. } | Kind::List { .. } => {
            out.push_str("null");
        }
    }
}

fn text(out: &mut String, text: &str) {
    raw(out, &Value::from(text));
}

fn raw(out: &mut String, value: &Value) {
    out.push_str(&go_json(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;
    use serde_json::json;

    fn shown(definition: &str, path: &str, value: Value) -> String {
        let schema = builtin(definition).unwrap();
        let mut errors = [Error::invalid(&Path::new(path), value, "x")];
        show_as_internal(&mut errors, &schema);
        errors[0].body()
    }

    #[test]
    fn structs_look_as_inside_the_original() {
        for (definition, path, value, want) in [
            (
                "io.k8s.api.rbac.v1.RoleBinding",
                "roleRef",
                json!({"apiGroup": "g", "kind": "Role", "name": "n"}),
                r#"{"APIGroup":"g","Kind":"Role","Name":"n"}"#,
            ),
            (
                "io.k8s.api.storage.v1.VolumeAttachment",
                "spec",
                json!({"attacher": "a", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}),
                r#"{"Attacher":"a","Source":{"PersistentVolumeName":"pv","InlineVolumeSpec":null},"NodeName":"n"}"#,
            ),
            (
                "io.k8s.api.resource.v1.ResourceClaimTemplate",
                "spec",
                json!({"metadata": {"labels": {"a": "b"}}, "spec": {"devices": {}}}),
                r#"{"labels":{"a":"b"},"Spec":{"Devices":{"Requests":null,"Constraints":null,"Config":null}}}"#,
            ),
            (
                "io.k8s.api.apps.v1.Deployment",
                "spec.selector",
                json!({"matchExpressions": [], "matchLabels": {"a": "b"}}),
                r#"{"matchLabels":{"a":"b"},"matchExpressions":[]}"#,
            ),
            (
                "io.k8s.api.core.v1.Pod",
                "metadata.ownerReferences",
                json!([{"name": "o", "controller": true, "kind": "K", "apiVersion": "v1"}]),
                r#"[{"apiVersion":"v1","kind":"K","name":"o","controller":true}]"#,
            ),
        ] {
            assert_eq!(shown(definition, path, value), format!("Invalid value: {want}: x"));
        }
    }

    #[test]
    fn a_pod_has_what_it_shares_with_its_node_in_its_security_context() {
        let container = json!({"name": "a", "image": "i:2", "imagePullPolicy": "IfNotPresent",
            "livenessProbe": {"failureThreshold": 3, "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1},
            "resources": {}, "securityContext": {"runAsGroup": 3}, "tty": true,
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": [{"mountPath": "/v", "name": "v", "readOnly": true}]});
        let pod = json!({"containers": [container], "dnsPolicy": "ClusterFirst", "hostNetwork": true,
            "restartPolicy": "Never", "schedulerName": "default-scheduler",
            "securityContext": {"fsGroup": 7, "runAsUser": 5}, "serviceAccount": "default",
            "serviceAccountName": "default", "terminationGracePeriodSeconds": 30,
            "volumes": [{"csi": {"driver": "d", "fsType": "ext4"}, "name": "v"}]});
        let found = shown("io.k8s.api.batch.v1.Job", "spec.template.spec", pod);
        // As the original showed it.
        let want = include_str!("internal/pod.json").trim_end();
        assert_eq!(found, format!("Invalid value: {want}: x"));
    }

    #[test]
    fn what_is_not_there_is_zero() {
        for (path, want) in [
            ("spec.selector", "null"),
            ("status.readyReplicas", "0"),
            ("spec.template.metadata.labels[a]", "\"\""),
            ("spec.strategy.type", "\"\""),
            ("spec.nonsense", "\"\""),
        ] {
            let found = shown("io.k8s.api.apps.v1.Deployment", path, json!(""));
            assert_eq!(found, format!("Invalid value: {want}: x"), "{path}");
        }
    }
}
