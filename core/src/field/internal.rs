//! Values in errors as the original prints them.
//!
//! It validates types of its own, made before there were versions, so that a struct in an error has other names than the
//! JSON that was sent: every field, in the order of its declaration, with a capital letter. Types of the metadata (labels'
//! selectors, owners) are the same in all versions and look as sent, in their own order.

use super::{Error, ErrorKind, Path, go_json, order::ORDERS, verbatim};
use crate::schema::{Field, Kind, Presence, Schema};
use serde_json::{Map, Value};

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
            _ if absent && is_meant(error, shape) => continue,
            // A text that is empty, not absent.
            (true, Kind::String | Kind::Time { .. } | Kind::Quantity) => continue,
            (true, Kind::IntOrString) => continue,
            (true, Kind::Object { .. }) if !may_be_null(presence) => continue,
            (true, _) => zero(&mut text, shape, presence, false),
            (false, _) => value(&mut text, &error.value, shape, false),
        }
        error.value = verbatim(&text);
    }
}

/// Whether an empty text is what was found, and not the absence of what the path leads to.
fn is_meant(error: &Error, shape: &Schema) -> bool {
    let of_texts = shape.items().is_some_and(|items| matches!(items.kind, Kind::String));
    let item =
        error.kind == ErrorKind::NotSupported || error.path.as_str() == "metadata.finalizers";
    error.detail.starts_with("must specify one of") || (of_texts && item)
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

const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";

/// What inside begins a pod's security context.
const OF_HOST: [&str; 5] =
    ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"];

/// Whether a field of a type has no place of its own inside.
fn is_elsewhere(schema: &Schema, field: &Field) -> bool {
    schema.name == POD_SPEC && (field.name == "serviceAccount" || OF_HOST.contains(&&*field.name))
}

/// The fields in the order of their declaration, which is nearly always that of their tags.
fn ordered(schema: &Schema) -> Vec<&Field> {
    let mut fields: Vec<_> = schema.fields().iter().collect();
    match ORDERS.iter().find(|(name, _)| *name == schema.name) {
        Some((_, order)) => fields.sort_by_key(|field| {
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
    let fields = ordered(schema).into_iter().filter(|field| !is_elsewhere(schema, field));
    for field in fields.filter(|field| only(field)) {
        let found = map.get(&*field.name).filter(|value| !value.is_null());
        let mut part = String::new();
        match &*field.name {
            "apiVersion" | "kind" if field.tag == 0 => continue,
            // Metadata have no name of their own inside.
            "metadata" => {
                let Some(Value::Object(metadata)) = found else { continue };
                let mut inner = String::new();
                as_sent(&mut inner, metadata, &field.schema);
                let inside = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
                part.push_str(inside.unwrap_or_default());
                if part.is_empty() {
                    continue;
                }
            }
            "securityContext" if schema.name == POD_SPEC && found.is_some() => {
                member(&mut part, field, found);
                let of_host = OF_HOST.iter().filter_map(|name| schema.field(name));
                with_first(&mut part, of_host.map(|field| (field, map.get(&*field.name))));
            }
            _ => member(&mut part, field, found),
        }
        parts.push(part);
    }
    braces(out, '{', '}', parts, |out, part| out.push_str(&part));
}

/// A field with its name and its value.
fn member(out: &mut String, field: &Field, found: Option<&Value>) {
    text(out, &internal_name(&field.name));
    out.push(':');
    match found.filter(|value| !value.is_null()) {
        Some(found) => value(out, found, &field.schema, false),
        None => zero(out, &field.schema, field.presence, false),
    }
}

/// Puts further fields before the first of the object that a member ends with.
fn with_first<'v>(
    member_text: &mut String,
    fields: impl Iterator<Item = (&'v Field, Option<&'v Value>)>,
) {
    let Some(start) = member_text.find('{') else { return };
    let own = member_text.split_off(start + 1);
    for (field, found) in fields {
        member(member_text, field, found);
        member_text.push(',');
    }
    member_text.push_str(&own);
}

/// The Go name of a field.
fn internal_name(name: &str) -> String {
    const INITIALS: [&str; 32] = [
        "api", "aws", "ca", "cel", "cidr", "csi", "dns", "fc", "fs", "gce", "gid", "gmsa", "grpc",
        "http", "id", "ip", "iqn", "iscsi", "json", "nfs", "os", "pd", "qos", "rbd", "se", "ssl",
        "tcp", "tls", "ttl", "tty", "uid", "url",
    ];
    const WORDS: [(&str, &str); 10] = [
        ("cephfs", "CephFS"),
        ("chapAuthDiscovery", "DiscoveryCHAPAuth"),
        ("chapAuthSession", "SessionCHAPAuth"),
        ("cidrs", "CIDRs"),
        ("diskURI", "DataDiskURI"),
        ("ips", "IPs"),
        ("lastState", "LastTerminationState"),
        ("pdID", "PdID"),
        ("storageos", "StorageOS"),
        ("wwids", "WWIDs"),
    ];
    if let Some((_, word)) = WORDS.iter().find(|(own, _)| *own == name) {
        return (*word).to_owned();
    }
    let head = name.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(name.len());
    let (head, tail) = name.split_at(head);
    if INITIALS.contains(&head) {
        return head.to_ascii_uppercase() + tail;
    }
    let mut letters = head.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(tail.chars()).collect()
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
    fn pods_look_as_inside_the_original() {
        let pod = json!({"hostNetwork": true, "dnsPolicy": "Default", "serviceAccount": "s",
            "securityContext": {"fsGroup": 2}, "volumes": [{"name": "v"}],
            "containers": [{"name": "c", "tty": true, "livenessProbe": {"httpGet": {"port": 80}}}]});
        let text = shown("io.k8s.api.core.v1.Pod", "spec", pod);
        let mut rest = text.as_str();
        for part in [
            r#"{"Volumes":[{"Name":"v","HostPath":null,"EmptyDir":null,"#,
            r#""RBD":null,"Quobyte":null,"FlexVolume":null,"#,
            r#"}],"InitContainers":null,"Containers":[{"Name":"c","Image":"","#,
            r#""Ports":null,"EnvFrom":null,"Env":null,"Resources":"#,
            r#""LivenessProbe":{"Exec":null,"HTTPGet":{"Path":"","Port":80,"Host":"","Scheme":"","HTTPHeaders":null},"TCPSocket":null,"GRPC":null,"#,
            r#""Stdin":false,"StdinOnce":false,"TTY":true}],"EphemeralContainers":null,"RestartPolicy":"#,
            r#""DNSPolicy":"Default","NodeSelector":null,"ServiceAccountName":"","AutomountServiceAccountToken":null,"NodeName":"","#,
            r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"HostIPC":false,"ShareProcessNamespace":null,"HostUsers":null,"SELinuxOptions":null,"#,
            r#""FSGroup":2,"FSGroupChangePolicy":null,"#,
            r#""ImagePullSecrets":null,"Hostname":"","#,
        ] {
            let at = rest.find(part).unwrap_or_else(|| panic!("{part} is not in {rest}"));
            rest = &rest[at + part.len()..];
        }
        assert!(!text.contains("ServiceAccount\":"), "{text}");
        for (type_name, fields) in ORDERS {
            let schema = builtin(type_name).unwrap();
            for field in fields {
                assert!(schema.field(field).is_some(), "{type_name} {field}");
            }
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
            ("metadata.finalizers", "\"\""),
            ("spec.strategy.type", "\"\""),
            ("spec.nonsense", "\"\""),
        ] {
            let found = shown("io.k8s.api.apps.v1.Deployment", path, json!(""));
            assert_eq!(found, format!("Invalid value: {want}: x"), "{path}");
        }
        let request = shown(
            "io.k8s.api.certificates.v1.CertificateSigningRequest",
            "spec.request",
            json!(""),
        );
        assert_eq!(request, "Invalid value: null: x");
    }
}
