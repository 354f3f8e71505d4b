//! Documents of the API machinery in JSON, with their fields in the order of the original's types: a JSON value knows the names
//! of its fields only. Whoever reads them by name sees no difference; people do, and those who compare texts.

use serde::{Serialize, Serializer};
use serde_json::Value;

/// The kinds that are written so, wherever they are answered.
const KINDS: [&str; 5] = ["Status", "APIVersions", "APIGroupList", "APIGroup", "APIResourceList"];

/// The fields of a whole document: of those kinds, and of what `/version` and `/statusz` tell.
const TOP: [&str; 30] = [
    "kind",
    "apiVersion",
    "groupVersion",
    "metadata",
    "status",
    "message",
    "reason",
    "details",
    "code",
    "name",
    "groups",
    "versions",
    "preferredVersion",
    "serverAddressByClientCIDRs",
    "major",
    "minor",
    "emulationMajor",
    "emulationMinor",
    "minCompatibilityMajor",
    "minCompatibilityMinor",
    "gitVersion",
    "gitCommit",
    "gitTreeState",
    "buildDate",
    "startTime",
    "uptimeSeconds",
    "goVersion",
    "compiler",
    "binaryVersion",
    "emulationVersion",
];

/// The fields of what stands in a field of this name; others follow by name.
fn fields(within: &str) -> &'static [&'static str] {
    match within {
        "" => &TOP,
        "details" => &["name", "group", "kind", "uid", "causes", "retryAfterSeconds"],
        "causes" => &["reason", "message", "field"],
        "groups" => &["name", "versions", "preferredVersion"],
        "resources" => &[
            "name",
            "singularName",
            "namespaced",
            "group",
            "version",
            "kind",
            "verbs",
            "shortNames",
            "categories",
            "storageVersionHash",
        ],
        _ => &[],
    }
}

/// A value whose fields are written in that order.
#[derive(Debug, Clone, Copy)]
struct Ordered<'a> {
    value: &'a Value,
    within: &'a str,
}

impl<'a> Ordered<'a> {
    /// A whole document.
    fn new(value: &'a Value) -> Self {
        Self { value, within: "" }
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(map) => {
                let order = fields(self.within);
                let mut sorted: Vec<(&str, &Value)> =
                    map.iter().map(|(name, value)| (name.as_str(), value)).collect();
                sorted.sort_by_key(|(name, _)| {
                    order.iter().position(|known| known == name).unwrap_or(order.len())
                });
                let inner = |(name, value)| (name, Ordered { value, within: name });
                serializer.collect_map(sorted.into_iter().map(inner))
            }
            Value::Array(items) => serializer
                .collect_seq(items.iter().map(|value| Ordered { value, within: self.within })),
            plain => plain.serialize(serializer),
        }
    }
}

/// The JSON text of a value, on one line.
pub(crate) fn text(value: &Value) -> String {
    match is_ordered(value) {
        true => serde_json::to_string(&Ordered::new(value)).unwrap_or_else(|_| value.to_string()),
        false => value.to_string(),
    }
}

/// The same as bytes, on many lines for people.
pub(super) fn bytes(value: &Value, pretty: bool) -> serde_json::Result<Vec<u8>> {
    match (is_ordered(value), pretty) {
        (true, _) => document(value, pretty),
        (false, true) => serde_json::to_vec_pretty(value),
        (false, false) => serde_json::to_vec(value),
    }
}

/// The same of what is in this order whatever its kind.
pub(crate) fn document(value: &Value, pretty: bool) -> serde_json::Result<Vec<u8>> {
    let ordered = Ordered::new(value);
    if pretty { serde_json::to_vec_pretty(&ordered) } else { serde_json::to_vec(&ordered) }
}

fn is_ordered(value: &Value) -> bool {
    let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or("v1");
    let kind = value.get("kind").and_then(Value::as_str);
    version == "v1" && kind.is_some_and(|kind| KINDS.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_of_the_machinery_has_the_order_of_its_types() {
        let status = json!({
            "apiVersion": "v1", "code": 404, "kind": "Status", "message": "m", "metadata": {}, "status": "Failure",
            "reason": "NotFound",
            "details": {"causes": [{"field": "f", "message": "m", "reason": "r"}], "kind": "pods", "name": "a", "group": "g"},
        });
        assert_eq!(
            text(&status),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"m","reason":"NotFound","details":{"name":"a","group":"g","kind":"pods","causes":[{"reason":"r","message":"m","field":"f"}]},"code":404}"#
        );
        let groups = json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": [{"name": "apps", "preferredVersion": {"version": "v1", "groupVersion": "apps/v1"}, "versions": []}],
        });
        assert_eq!(
            String::from_utf8(bytes(&groups, false).unwrap()).unwrap(),
            r#"{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"apps","versions":[],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}]}"#
        );
        let own = json!({"kind": "Status", "apiVersion": "example.com/v1", "data": 1});
        assert_eq!(text(&own), own.to_string());
    }
}
