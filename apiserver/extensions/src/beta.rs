//! CustomResourceDefinitions as the original keeps them in its store: in the form of `v1beta1`.

use kubeplane_core::Object;
use serde_json::{Map, Value, json};

/// The version of the stored form.
const BETA: &str = "apiextensions.k8s.io/v1beta1";
/// What stands once for all versions there, and in each version here.
const SHARED: [&str; 4] =
    ["validation", "subresources", "additionalPrinterColumns", "selectableFields"];

/// The definition in the form of `v1`; others stay as they are.
pub(crate) fn to_v1(mut object: Object) -> Object {
    if object.api_version() != BETA {
        return object;
    }
    if object.at(&["spec"]).is_some_and(Value::is_object) {
        spec(object.map_at_mut(&["spec"]));
    }
    object
}

fn spec(spec: &mut Map<String, Value>) {
    let version = spec.remove("version").filter(|version| *version != "");
    let shared = SHARED.map(|name| (name, spec.remove(name).filter(|value| !value.is_null())));
    let versions = spec.entry("versions").or_insert_with(|| json!([]));
    if let Value::Array(list) = versions {
        if let (true, Some(version)) = (list.is_empty(), version) {
            list.push(json!({"name": version, "served": true, "storage": true}));
        }
        for version in list.iter_mut().filter_map(Value::as_object_mut) {
            for (name, value) in &shared {
                let name = if *name == "validation" { "schema" } else { name };
                if let (Some(value), false) = (value, version.contains_key(name)) {
                    version.insert(name.to_owned(), value.clone());
                }
            }
            let columns = version.get_mut("additionalPrinterColumns").and_then(Value::as_array_mut);
            for column in columns.into_iter().flatten().filter_map(Value::as_object_mut) {
                if let Some(path) = column.remove("JSONPath") {
                    column.insert("jsonPath".to_owned(), path);
                }
            }
        }
    }
    // Unless it says otherwise, such a definition keeps fields it does not know.
    if spec.get("preserveUnknownFields").is_none_or(Value::is_null) {
        spec.insert("preserveUnknownFields".into(), true.into());
    } else if spec["preserveUnknownFields"] == false {
        spec.remove("preserveUnknownFields");
    }
    if let Some(Value::Object(conversion)) = spec.get_mut("conversion") {
        let client = conversion.remove("webhookClientConfig").filter(|client| !client.is_null());
        let reviews = conversion.remove("conversionReviewVersions");
        if let Some(client) = client {
            let mut webhook = json!({"clientConfig": client});
            if let Some(reviews) = reviews {
                webhook["conversionReviewVersions"] = reviews;
            }
            conversion.insert("webhook".into(), webhook);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stood_once_stands_in_each_version() {
        let stored = json!({
            "apiVersion": BETA, "kind": "CustomResourceDefinition", "metadata": {"name": "a.b"},
            "spec": {
                "group": "b", "version": "v1", "preserveUnknownFields": false,
                "validation": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "JSONPath": ".spec.size"}],
                "subresources": {"status": {}},
                "versions": [{"name": "v1", "served": true, "storage": true}],
                "conversion": {
                    "strategy": "Webhook", "conversionReviewVersions": ["v1"],
                    "webhookClientConfig": {"url": "https://x"},
                },
            },
        });
        let object = to_v1(Object::from_value(stored).unwrap());
        let want = json!({
            "group": "b",
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object"}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            }],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1"]},
            },
        });
        assert_eq!(object.at(&["spec"]), Some(&want));
    }

    #[test]
    fn old_definitions_without_versions_keep_unknown_fields() {
        let stored = json!({"apiVersion": BETA, "spec": {"version": "v1alpha1"}});
        let object = to_v1(Object::from_value(stored).unwrap());
        let versions = json!([{"name": "v1alpha1", "served": true, "storage": true}]);
        assert_eq!(object.at(&["spec", "versions"]), Some(&versions));
        assert_eq!(object.at(&["spec", "preserveUnknownFields"]), Some(&Value::Bool(true)));
    }
}
