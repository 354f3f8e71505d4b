use super::*;
use kubeplane_core::schema::builtin;

/// A length-delimited field.
fn bytes(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2, u8::try_from(content.len()).unwrap()];
    out.extend(content);
    out
}

fn varint(tag: u8, value: u8) -> Vec<u8> {
    vec![tag << 3, value]
}

fn envelope(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let meta = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
    [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw), bytes(3, b""), bytes(4, b"")].concat()
}

fn tag(name: &str, field: &str) -> u8 {
    u8::try_from(builtin(name).unwrap().field(field).unwrap().tag).unwrap()
}

#[test]
fn a_config_map_is_read_by_its_tags() {
    let name = "io.k8s.api.core.v1.ConfigMap";
    let entry = [bytes(1, b"a"), bytes(2, b"1")].concat();
    // As Go writes it: empty texts and an empty creation time are there too.
    let metadata = [bytes(1, b"web"), bytes(2, b""), bytes(8, b"")].concat();
    let raw = [bytes(1, &metadata), bytes(tag(name, "data"), &entry)].concat();
    let value = to_json(&envelope("v1", "ConfigMap", &raw), &builtin(name).unwrap()).unwrap();
    assert_eq!((&value["kind"], &value["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    assert_eq!(value["metadata"]["name"], "web");
    assert_eq!(value["metadata"]["creationTimestamp"], Value::Null);
    assert_eq!(value["data"], json!({"a": "1"}));
}

#[test]
fn special_shapes_become_what_json_has_for_them() {
    let port = "io.k8s.api.core.v1.ServicePort";
    let text = [varint(1, 1), varint(2, 0), bytes(3, b"http")].concat();
    let message = [bytes(tag(port, "targetPort"), &text), varint(tag(port, "port"), 80)].concat();
    let value = object(&message, &builtin(port).unwrap(), 0).unwrap();
    assert_eq!(value, json!({"port": 80, "targetPort": "http"}));

    let volume = "io.k8s.api.core.v1.Volume";
    let source = bytes(2, &bytes(1, b"Memory"));
    let message = [bytes(1, b"tmp"), bytes(2, &source)].concat();
    let value = object(&message, &builtin(volume).unwrap(), 0).unwrap();
    assert_eq!(value, json!({"name": "tmp", "emptyDir": {"medium": "Memory"}}));

    let secret = "io.k8s.api.core.v1.Secret";
    let entry = [bytes(1, b"k"), bytes(2, b"\x00\xff")].concat();
    let value = object(&bytes(tag(secret, "data"), &entry), &builtin(secret).unwrap(), 0).unwrap();
    assert_eq!(value, json!({"data": {"k": "AP8="}}));
}

#[test]
fn damaged_bodies_are_refused() {
    let schema = builtin("io.k8s.api.core.v1.ConfigMap").unwrap();
    assert!(to_json(b"{}", &schema).is_err());
    assert!(to_json(b"k8s\0\x12\xff", &schema).is_err());
    let mut cut = envelope("v1", "ConfigMap", &bytes(1, b"\x0a\x09ab"));
    assert!(to_json(&cut, &schema).is_err());
    cut.truncate(9);
    assert!(to_json(&cut, &schema).is_err());
}
