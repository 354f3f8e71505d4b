use k8s_openapi::api::core::v1::PodTemplateSpec;
use kubeplane_workload::typed::untyped;
use serde_json::Value;

/// The label that tells the pods of a deployment's replica sets apart.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Digits that never spell a word.
const DIGITS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A name for a template, the same for equal templates; `collisions` leads to another one.
pub(in crate::builtin) fn of(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let text = canonical(template).to_string();
    let salt = collisions.map(i32::to_le_bytes);
    encoded(text.bytes().chain(salt.into_iter().flatten()))
}

/// The FNV-1a hash of 32 bits, in digits that never spell a word.
pub(in crate::builtin) fn encoded(bytes: impl Iterator<Item = u8>) -> String {
    let hash = bytes
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let encode = |digit: char| {
        char::from(DIGITS[usize::from(u8::try_from(digit).unwrap_or_default()) % DIGITS.len()])
    };
    hash.to_string().chars().map(encode).collect()
}

/// Whether both templates make the same pods, whatever their hash label.
pub(in crate::builtin) fn is_same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    canonical(a) == canonical(b)
}

/// The template without its hash label, and without what is as good as absent.
fn canonical(template: &PodTemplateSpec) -> Value {
    let mut value = untyped(template).unwrap_or_default();
    if let Some(labels) = value.pointer_mut("/metadata/labels").and_then(Value::as_object_mut) {
        labels.remove(HASH_LABEL);
    }
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                prune(value);
                // An empty map says nothing; an empty structure, as in `emptyDir: {}`, does.
                let empty_map =
                    matches!(name.as_str(), "labels" | "annotations" | "nodeSelector" | "metadata");
                match value {
                    Value::Null => false,
                    Value::Array(items) => !items.is_empty(),
                    Value::Object(fields) => !(empty_map && fields.is_empty()),
                    _ => true,
                }
            });
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(value: Value) -> PodTemplateSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_hash_is_stable_and_collisions_lead_elsewhere() {
        let one = template(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}),
        );
        let hash = of(&one, None);
        assert_eq!(hash, of(&one, None));
        assert_ne!(hash, of(&one, Some(1)));
        assert!(
            (1..=10).contains(&hash.len()) && hash.bytes().all(|byte| DIGITS.contains(&byte)),
            "{hash}"
        );
    }

    #[test]
    fn templates_differ_only_in_what_pods_see() {
        let plain = template(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c"}]}}),
        );
        let hashed = template(
            json!({"metadata": {"labels": {"a": "b", HASH_LABEL: "x"}, "annotations": {}},
            "spec": {"containers": [{"name": "c", "env": []}], "volumes": []}}),
        );
        assert!(is_same(&plain, &hashed));
        let other = template(
            json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "d"}]}}),
        );
        assert!(!is_same(&plain, &other));
        let volume =
            |source: Value| template(json!({"spec": {"containers": [], "volumes": [source]}}));
        assert!(!is_same(
            &volume(json!({"name": "v", "emptyDir": {}})),
            &volume(json!({"name": "v"}))
        ));
    }
}
