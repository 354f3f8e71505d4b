//! All group versions as one Swagger 2 document.

use serde_json::{Map, Value, json};

/// What Swagger 2 knows no word for.
const UNKNOWN: &[&str] = &["nullable", "oneOf", "anyOf", "not", "allOf"];

/// One document from those of the group versions.
pub(crate) fn joined(parts: impl Iterator<Item = Value>, version: &str) -> Value {
    let (mut paths, mut definitions) = (Map::new(), Map::new());
    for mut part in parts {
        if let Value::Object(schemas) = part["components"]["schemas"].take() {
            for (name, mut schema) in schemas {
                loosen_kind(&mut schema);
                simplify(&mut schema);
                definitions.entry(name).or_insert(schema);
            }
        }
        if let Value::Object(items) = part["paths"].take() {
            paths.extend(items.into_iter().map(|(path, item)| (path, path_item(item))));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": paths,
        "definitions": definitions,
        "securityDefinitions": {"BearerToken": {
            "type": "apiKey", "name": "authorization", "in": "header",
            "description": "Bearer Token authentication",
        }},
        "security": [{"BearerToken": []}],
    })
}

/// Adds what another says of its own group version; a definition that is there stays as it is.
pub(crate) fn add(joined: &mut Value, other: &Value) {
    for part in ["paths", "definitions"] {
        let Some(Value::Object(all)) = joined.get_mut(part) else { continue };
        for (name, value) in other[part].as_object().into_iter().flatten() {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

const GROUP_VERSION_KIND: &str = "x-kubernetes-group-version-kind";
const SELECTABLE: &str = "x-kubernetes-selectable-fields";
const PRESERVED: &str = "x-kubernetes-preserve-unknown-fields";

/// Makes of a kind what clients take that know Swagger 2 only. They refuse fields that are not listed, whatever is said of
/// unknown ones, and nulls: where either may come, nothing is listed, and nothing said of the type.
fn loosen_kind(kind: &mut Value) {
    let Some(map) = kind.as_object_mut().filter(|map| map.contains_key(GROUP_VERSION_KIND)) else {
        return;
    };
    if map.get(PRESERVED) == Some(&Value::Bool(true)) {
        map.retain(|word, _| [GROUP_VERSION_KIND, SELECTABLE].contains(&word.as_str()));
        map.insert("type".into(), "object".into());
    }
    loosen(kind);
}

fn loosen(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let is = |map: &Map<String, Value>, word: &str| map.get(word) == Some(&Value::Bool(true));
    let (nullable, preserved) = (is(map, "nullable"), is(map, PRESERVED));
    if nullable || preserved {
        map.remove("items");
        map.remove("properties");
    }
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    let endless = kind == "array" && !map.contains_key("items");
    if nullable || endless || (preserved && kind == "object") {
        map.remove("type");
    }
    let properties = map.get("properties").and_then(Value::as_object);
    let nulls: Vec<_> = properties
        .into_iter()
        .flatten()
        .filter(|(_, own)| own["nullable"] == true)
        .map(|(name, _)| name.clone())
        .collect();
    let all = map.get("additionalProperties").is_some_and(|values| values["nullable"] == true);
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !all && !nulls.iter().any(|null| name == null));
        if required.is_empty() {
            map.remove("required");
        }
    }
    for word in ["items", "additionalProperties"] {
        map.get_mut(word).into_iter().for_each(loosen);
    }
    let properties = map.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(loosen);
}

/// Brings a schema into the words of Swagger 2.
fn simplify(schema: &mut Value) {
    match schema {
        Value::Object(map) => simplify_map(map),
        Value::Array(items) => items.iter_mut().for_each(simplify),
        _ => {}
    }
}

fn simplify_map(map: &mut Map<String, Value>) {
    if let Some(Value::Array(all)) = map.get("allOf")
        && let [Value::Object(one)] = &all[..]
        && let Some(target) = one.get("$ref").cloned()
    {
        map.insert("$ref".into(), target);
        map.remove("default");
    }
    let mixed = map.get("oneOf").is_some_and(Value::is_array) && !map.contains_key("type");
    if mixed && map.get("properties").is_none() {
        map.insert("type".into(), "string".into());
    }
    for word in UNKNOWN {
        if map
            .get(*word)
            .is_some_and(|value| value.is_array() || value.is_boolean() || *word == "not")
        {
            map.remove(*word);
        }
    }
    if let Some(Value::String(target)) = map.get_mut("$ref") {
        *target = target.replace("#/components/schemas/", "#/definitions/");
    }
    for (name, value) in map {
        match name.as_str() {
            "default" | "enum" | "example" | "required" => {}
            // The names of properties are no words of the schema language.
            "properties" => {
                value.as_object_mut().into_iter().flat_map(Map::values_mut).for_each(simplify)
            }
            _ => simplify(value),
        }
    }
}

fn path_item(item: Value) -> Value {
    let Value::Object(item) = item else { return item };
    let convert = |(name, value): (String, Value)| match name.as_str() {
        "parameters" => (name, parameters(value)),
        _ => (name, operation(value)),
    };
    item.into_iter().map(convert).collect::<Map<_, _>>().into()
}

fn parameters(value: Value) -> Value {
    let Value::Array(list) = value else { return value };
    list.into_iter()
        .map(|mut parameter| {
            if let (Value::Object(schema), Some(own)) =
                (parameter["schema"].take(), parameter.as_object_mut())
            {
                own.remove("schema");
                own.extend(schema);
            }
            parameter
        })
        .collect()
}

fn operation(mut operation: Value) -> Value {
    let mut listed = match parameters(operation["parameters"].take()) {
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    let body = operation["requestBody"].take();
    let (consumes, schema) = content(&body["content"]);
    if let Some(schema) = schema {
        let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
        if body["required"] == true {
            parameter["required"] = true.into();
        }
        listed.push(parameter);
    }
    let mut produces = Vec::new();
    if let Some(responses) = operation["responses"].as_object_mut() {
        for response in responses.values_mut() {
            let (types, schema) = content(&response["content"].take());
            if let Some(own) = response.as_object_mut() {
                own.remove("content");
                own.extend(schema.map(|schema| ("schema".to_owned(), schema)));
            }
            if produces.is_empty() {
                produces = types;
            }
        }
    }
    let Some(own) = operation.as_object_mut() else { return operation };
    own.remove("requestBody");
    own.remove("parameters");
    if !listed.is_empty() {
        own.insert("parameters".into(), listed.into());
    }
    // What is no resource is said to take what it gives, and what is a mere text nothing.
    let resource = own.contains_key("x-kubernetes-action");
    let text = own.get("responses").is_some_and(|all| all["200"]["schema"]["type"] == "string");
    let consumes = match consumes.is_empty() {
        true if resource => vec!["*/*".to_owned()],
        true if text => Vec::new(),
        true => produces.clone(),
        false => consumes,
    };
    if !consumes.is_empty() {
        own.insert("consumes".into(), consumes.into());
    }
    own.insert("produces".into(), produces.into());
    own.insert("schemes".into(), json!(["https"]));
    operation
}

/// The media types of a content, and the schema they share.
fn content(content: &Value) -> (Vec<String>, Option<Value>) {
    let Some(types) = content.as_object() else { return (Vec::new(), None) };
    let mut schema = types.values().next().map(|one| one["schema"].clone());
    if let Some(schema) = &mut schema {
        simplify(schema);
    }
    (types.keys().cloned().collect(), schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_loose_where_old_clients_would_refuse_what_fits() {
        let kind = json!([{"group": "example.com", "version": "v1", "kind": "Any"}]);
        let any = json!({"type": "object", "description": "d", PRESERVED: true, GROUP_VERSION_KIND: kind,
            "properties": {"kind": {"type": "string"}}});
        let some = json!({"type": "object", GROUP_VERSION_KIND: kind, "required": ["null", "list"], "properties": {
            "null": {"type": "object", "nullable": true, "description": "d", "properties": {"a": {"type": "string"}}},
            "open": {"type": "object", PRESERVED: true, "properties": {"a": {"type": "string"}}},
            "list": {"type": "array", "items": {"type": "string", "nullable": true}},
            "map": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}},
        }});
        let part = json!({"components": {"schemas": {"any": any, "some": some}}, "paths": {}});
        let all = joined([part].into_iter(), "v");
        assert_eq!(all["definitions"]["any"], json!({"type": "object", GROUP_VERSION_KIND: kind}));
        let properties = json!({
            "null": {"description": "d"},
            "open": {PRESERVED: true},
            "list": {"type": "array", "items": {}},
            "map": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}},
        });
        let some = json!({"type": "object", GROUP_VERSION_KIND: kind, "required": ["list"], "properties": properties});
        assert_eq!(all["definitions"]["some"], some);
    }
}
