//! Discovery documents in protobuf. No shape of a kind is among them, so that their tags stand here.

use kubeplane_core::protobuf;
use serde_json::Value;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
enum Holds {
    /// A text, written also when it is empty.
    Text,
    /// A truth value.
    Flag,
    Texts,
    /// Texts in a message of their own.
    Wrapped,
    /// A message; `true` writes it also when there is none.
    One(&'static [Field], bool),
    Many(&'static [Field]),
    /// Metadata of which nothing but the name is said.
    Metadata,
    /// Metadata of a list of which nothing is said.
    ListMetadata,
}

#[derive(Debug, Clone, Copy)]
struct Field(u32, &'static str, Holds);

const RANGE: &[Field] =
    &[Field(1, "clientCIDR", Holds::Text), Field(2, "serverAddress", Holds::Text)];
const VERSIONS: &[Field] = &[
    Field(1, "versions", Holds::Texts),
    Field(2, "serverAddressByClientCIDRs", Holds::Many(RANGE)),
];
const VERSION: &[Field] =
    &[Field(1, "groupVersion", Holds::Text), Field(2, "version", Holds::Text)];
const GROUP: &[Field] = &[
    Field(1, "name", Holds::Text),
    Field(2, "versions", Holds::Many(VERSION)),
    Field(3, "preferredVersion", Holds::One(VERSION, true)),
    Field(4, "serverAddressByClientCIDRs", Holds::Many(RANGE)),
];
const GROUPS: &[Field] = &[Field(1, "groups", Holds::Many(GROUP))];
const RESOURCE: &[Field] = &[
    Field(1, "name", Holds::Text),
    Field(2, "namespaced", Holds::Flag),
    Field(3, "kind", Holds::Text),
    Field(4, "verbs", Holds::Wrapped),
    Field(5, "shortNames", Holds::Texts),
    Field(6, "singularName", Holds::Text),
    Field(7, "categories", Holds::Texts),
    Field(8, "group", Holds::Text),
    Field(9, "version", Holds::Text),
    Field(10, "storageVersionHash", Holds::Text),
];
const RESOURCES: &[Field] =
    &[Field(1, "groupVersion", Holds::Text), Field(2, "resources", Holds::Many(RESOURCE))];

const KIND: &[Field] = &[
    Field(1, "group", Holds::Text),
    Field(2, "version", Holds::Text),
    Field(3, "kind", Holds::Text),
];
const PART: &[Field] = &[
    Field(1, "subresource", Holds::Text),
    Field(2, "responseKind", Holds::One(KIND, false)),
    Field(3, "acceptedTypes", Holds::Many(KIND)),
    Field(4, "verbs", Holds::Texts),
];
const DISCOVERED: &[Field] = &[
    Field(1, "resource", Holds::Text),
    Field(2, "responseKind", Holds::One(KIND, false)),
    Field(3, "scope", Holds::Text),
    Field(4, "singularResource", Holds::Text),
    Field(5, "verbs", Holds::Texts),
    Field(6, "shortNames", Holds::Texts),
    Field(7, "categories", Holds::Texts),
    Field(8, "subresources", Holds::Many(PART)),
];
const DISCOVERED_VERSION: &[Field] = &[
    Field(1, "version", Holds::Text),
    Field(2, "resources", Holds::Many(DISCOVERED)),
    Field(3, "freshness", Holds::Text),
];
const DISCOVERED_GROUP: &[Field] =
    &[Field(1, "metadata", Holds::Metadata), Field(2, "versions", Holds::Many(DISCOVERED_VERSION))];
const DISCOVERED_GROUPS: &[Field] =
    &[Field(1, "metadata", Holds::ListMetadata), Field(2, "items", Holds::Many(DISCOVERED_GROUP))];

/// A discovery document as a body; `None` for what is none.
pub(super) fn body(document: &Value) -> Option<Vec<u8>> {
    let text = |key: &str| document[key].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let fields = match kind {
        "APIVersions" => VERSIONS,
        "APIGroup" => GROUP,
        "APIGroupList" => GROUPS,
        "APIResourceList" => RESOURCES,
        "APIGroupDiscoveryList" => DISCOVERED_GROUPS,
        _ => return None,
    };
    Some(protobuf::wrap(version, kind, &message(document, fields)))
}

fn message(value: &Value, fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for Field(tag, name, holds) in fields {
        put(&mut out, *tag, &value[*name], *holds);
    }
    out
}

fn put(out: &mut Vec<u8>, tag: u32, value: &Value, holds: Holds) {
    let list = || value.as_array().map_or(&[][..], Vec::as_slice);
    let text = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
    match holds {
        Holds::Text => bytes(out, tag, &text(value)),
        Holds::Flag => {
            number(out, u64::from(tag) << 3);
            out.push(u8::from(value.as_bool().unwrap_or_default()));
        }
        Holds::Texts => list().iter().for_each(|item| bytes(out, tag, &text(item))),
        Holds::Wrapped if value.is_null() => {}
        Holds::Wrapped => {
            let mut inner = Vec::new();
            list().iter().for_each(|item| bytes(&mut inner, 1, &text(item)));
            bytes(out, tag, &inner);
        }
        Holds::One(_, false) if value.is_null() => {}
        Holds::One(fields, _) => bytes(out, tag, &message(value, fields)),
        Holds::Many(fields) => {
            list().iter().for_each(|item| bytes(out, tag, &message(item, fields)));
        }
        Holds::Metadata => bytes(out, tag, &metadata(value)),
        Holds::ListMetadata => {
            let mut inner = Vec::new();
            [1, 2, 3].into_iter().for_each(|tag| bytes(&mut inner, tag, &[]));
            bytes(out, tag, &inner);
        }
    }
}

/// The fields of metadata that are no pointers in Go.
fn metadata(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, value["name"].as_str().unwrap_or_default().as_bytes());
    (2..=6).for_each(|tag| bytes(&mut out, tag, &[]));
    out.extend([7 << 3, 0]);
    bytes(&mut out, 8, &[]);
    out
}

fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    number(out, u64::from(tag) << 3 | 2);
    number(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What the original answers for `/apis/apps`.
    const APPS: &[u8] =
        b"k8s\0\n\x0e\n\x02v1\x12\x08APIGroup\x12$\n\x04apps\x12\r\n\x07apps/v1\x12\x02v1\
        \x1a\r\n\x07apps/v1\x12\x02v1\x1a\0\"\0";

    #[test]
    fn a_group_is_written_byte_for_byte_as_the_original_writes_it() {
        let version = json!({"groupVersion": "apps/v1", "version": "v1"});
        let group = json!({"kind": "APIGroup", "apiVersion": "v1", "name": "apps",
            "versions": [version], "preferredVersion": version});
        assert_eq!(body(&group).unwrap(), APPS);
        assert_eq!(body(&json!({"kind": "Pod", "apiVersion": "v1"})), None);
    }
}
