//! A Swagger 2 document in the words of OpenAPI v3, for extension API servers that have no other.

use serde_json::{Map, Value, json};

const DEFINITIONS: &str = "#/definitions/";
const SCHEMAS: &str = "#/components/schemas/";

/// What both forms of an operation have, with the same meaning.
const OPERATION: [&str; 6] =
    ["description", "externalDocs", "tags", "summary", "deprecated", "operationId"];
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// The document in the words of OpenAPI v3. What only Swagger says (hosts, base paths, headers of answers) is lost.
pub(crate) fn document(swagger: Value) -> Value {
    let Value::Object(mut swagger) = swagger else { return Value::Null };
    let mut raised = Map::from_iter([("openapi".to_owned(), "3.0.0".into())]);
    for word in ["info", "externalDocs"] {
        raised.extend(swagger.remove(word).map(|value| (word.to_owned(), value)));
    }
    if let Some(Value::Object(paths)) = swagger.remove("paths") {
        let paths = paths.into_iter().map(|(path, item)| match path.starts_with('/') {
            true => (path, path_item(item)),
            false => (path, item),
        });
        raised.insert("paths".to_owned(), Value::Object(paths.collect()));
    }
    raised.insert("components".to_owned(), components(&mut swagger));
    raised.into()
}

fn components(swagger: &mut Map<String, Value>) -> Value {
    let produced = texts(swagger.remove("produces"));
    let mut part = |name: &str, convert: &dyn Fn(Value) -> Value| match swagger.remove(name) {
        Some(Value::Object(all)) => {
            Some(all.into_iter().map(|(name, one)| (name, convert(one))).collect::<Value>())
        }
        _ => None,
    };
    let parts = [
        ("schemas", part("definitions", &schema)),
        ("securitySchemes", part("securityDefinitions", &security_scheme)),
        ("responses", part("responses", &|one| response(one, &produced))),
        ("parameters", part("parameters", &parameter)),
    ];
    parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?))).collect()
}

/// The texts of a list.
fn texts(list: Option<Value>) -> Vec<String> {
    let Some(Value::Array(list)) = list else { return Vec::new() };
    let text = |one| match one {
        Value::String(text) => Some(text),
        _ => None,
    };
    list.into_iter().filter_map(text).collect()
}

/// Takes what is to stay as it is: the named words, and those of vendors.
fn taken(from: &mut Map<String, Value>, words: &[&str]) -> Map<String, Value> {
    let own = |key: &str| words.contains(&key) || key.starts_with("x-") || key.starts_with("X-");
    let (stay, rest): (Map<_, _>, Map<_, _>) =
        std::mem::take(from).into_iter().partition(|(key, _)| own(key));
    *from = rest;
    stay
}

/// A reference to another place of the document, in the words of v3.
fn moved(target: &str) -> String {
    let shared = target.replacen("#/parameters/", "#/components/parameters/", 1).replacen(
        "#/responses/",
        "#/components/responses/",
        1,
    );
    match shared.find(DEFINITIONS) {
        Some(at) => format!("{SCHEMAS}{}", &shared[at + DEFINITIONS.len()..]),
        None => shared,
    }
}

fn schema(mut schema: Value) -> Value {
    raise(&mut schema);
    schema
}

fn raise(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for (word, value) in map.iter_mut() {
        match (word.as_str(), value) {
            ("properties" | "patternProperties" | "definitions", Value::Object(all)) => {
                all.values_mut().for_each(raise);
            }
            ("items" | "allOf" | "oneOf" | "anyOf", Value::Array(all)) => {
                all.iter_mut().for_each(raise);
            }
            ("items" | "additionalProperties" | "additionalItems" | "not", below) => raise(below),
            ("$ref", Value::String(target)) => *target = moved(target),
            _ => {}
        }
    }
    // In v3 a reference stands alone: what is said beside it would not be heard.
    if map.len() > 1
        && map.get("$ref").is_some_and(Value::is_string)
        && let Some(target) = map.remove("$ref")
    {
        map.insert("allOf".to_owned(), json!([{"$ref": target}]));
    }
}

fn security_scheme(scheme: Value) -> Value {
    let Value::Object(mut scheme) = scheme else { return scheme };
    let mut raised = taken(&mut scheme, &["type", "description", "name", "in"]);
    if let Some(Value::String(flow)) = scheme.remove("flow") {
        let said = taken(&mut scheme, &["authorizationUrl", "tokenUrl", "scopes"]);
        raised.insert("flows".to_owned(), json!({flow: said}));
    }
    raised.into()
}

fn path_item(item: Value) -> Value {
    let Value::Object(mut item) = item else { return item };
    let mut raised = taken(&mut item, &["$ref"]);
    for (word, value) in item {
        match word.as_str() {
            "parameters" => {
                raised.insert(word, parameters(value).into());
            }
            method if METHODS.contains(&method) && value.is_object() => {
                raised.insert(word, operation(value));
            }
            _ => {}
        }
    }
    raised.into()
}

fn parameters(list: Value) -> Vec<Value> {
    let Value::Array(list) = list else { return Vec::new() };
    list.into_iter().map(parameter).collect()
}

fn parameter(parameter: Value) -> Value {
    let Value::Object(mut own) = parameter else { return parameter };
    if let Some(Value::String(target)) = own.get("$ref") {
        return json!({"$ref": moved(target)});
    }
    let mut raised = taken(&mut own, &["name", "in", "description", "required", "allowEmptyValue"]);
    let typed = match own.remove("schema") {
        Some(typed) => schema(typed),
        // What is not in the body has its type beside its name.
        None => taken(&mut own, &["type", "format", "uniqueItems"]).into(),
    };
    raised.insert("schema".to_owned(), typed);
    raised.into()
}

fn operation(operation: Value) -> Value {
    let Value::Object(mut own) = operation else { return operation };
    let mut raised = taken(&mut own, &OPERATION);
    let (consumed, produced) = (texts(own.remove("consumes")), texts(own.remove("produces")));
    let mut listed = Vec::new();
    if let Some(Value::Array(all)) = own.remove("parameters") {
        for mut one in all {
            let is_body = one["name"] == "body" && one["schema"].is_object();
            match is_body {
                true => {
                    let content = content(schema(one["schema"].take()), &consumed);
                    raised.insert("requestBody".to_owned(), content);
                }
                false => listed.push(parameter(one)),
            }
        }
    }
    if !listed.is_empty() {
        raised.insert("parameters".to_owned(), listed.into());
    }
    let mut responses = Map::new();
    if let Some(Value::Object(all)) = own.remove("responses") {
        for (code, one) in all {
            let vendor = code.starts_with("x-") || code.starts_with("X-");
            responses.insert(code, if vendor { one } else { response(one, &produced) });
        }
    }
    raised.insert("responses".to_owned(), responses.into());
    raised.into()
}

fn response(response: Value, produced: &[String]) -> Value {
    let Value::Object(mut own) = response else { return response };
    if let Some(Value::String(target)) = own.get("$ref") {
        return json!({"$ref": moved(target)});
    }
    let mut raised = taken(&mut own, &["description"]);
    if let Some(answered) = own.remove("schema")
        && let Value::Object(content) = content(schema(answered), produced)
    {
        raised.extend(content);
    }
    raised.into()
}

/// The same schema for every media type; nothing without one.
fn content(schema: Value, types: &[String]) -> Value {
    if types.is_empty() {
        return json!({});
    }
    let all = types.iter().map(|name| (name.clone(), json!({"schema": schema})));
    json!({"content": all.collect::<Value>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_of_swagger_becomes_one_of_openapi_3() {
        let swagger = json!({
            "swagger": "2.0", "host": "lost", "info": {"title": "Old", "version": "v0"},
            "paths": {"/apis/g/v1/things": {
                "parameters": [{"$ref": "#/parameters/pretty"}],
                "post": {
                    "operationId": "createThing", "consumes": ["application/json", "application/yaml"],
                    "produces": ["application/json"], "schemes": ["https"], "x-kubernetes-action": "post",
                    "parameters": [
                        {"name": "body", "in": "body", "required": true, "schema": {"$ref": "#/definitions/g.Thing"}},
                        {"name": "limit", "in": "query", "type": "integer", "format": "int32", "uniqueItems": true},
                    ],
                    "responses": {
                        "200": {"description": "OK", "schema": {"$ref": "#/definitions/g.Thing"}},
                        "401": {"description": "Unauthorized"},
                    },
                },
            }},
            "parameters": {"pretty": {"name": "pretty", "in": "query", "type": "string"}},
            "definitions": {"g.Thing": {
                "type": "object", "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Thing"}],
                "properties": {
                    "spec": {"$ref": "#/definitions/g.Spec", "description": "what is wanted", "default": {}},
                    "all": {"type": "array", "items": {"$ref": "#/definitions/g.Spec"}},
                    "$ref": {"type": "string"},
                },
            }},
            "securityDefinitions": {
                "BearerToken": {"type": "apiKey", "in": "header", "name": "authorization"},
                "o": {"type": "oauth2", "flow": "implicit", "authorizationUrl": "https://a", "scopes": {"r": "read"}},
            },
        });
        let thing = json!({"schema": {"$ref": "#/components/schemas/g.Thing"}});
        let wanted = json!({
            "openapi": "3.0.0", "info": {"title": "Old", "version": "v0"},
            "paths": {"/apis/g/v1/things": {
                "parameters": [{"$ref": "#/components/parameters/pretty"}],
                "post": {
                    "operationId": "createThing", "x-kubernetes-action": "post",
                    "requestBody": {"content": {"application/json": thing, "application/yaml": thing}},
                    "parameters": [{"name": "limit", "in": "query",
                        "schema": {"type": "integer", "format": "int32", "uniqueItems": true}}],
                    "responses": {
                        "200": {"description": "OK", "content": {"application/json": thing}},
                        "401": {"description": "Unauthorized"},
                    },
                },
            }},
            "components": {
                "schemas": {"g.Thing": {
                    "type": "object",
                    "x-kubernetes-group-version-kind": [{"group": "g", "version": "v1", "kind": "Thing"}],
                    "properties": {
                        "spec": {"allOf": [{"$ref": "#/components/schemas/g.Spec"}],
                            "description": "what is wanted", "default": {}},
                        "all": {"type": "array", "items": {"$ref": "#/components/schemas/g.Spec"}},
                        "$ref": {"type": "string"},
                    },
                }},
                "securitySchemes": {
                    "BearerToken": {"type": "apiKey", "in": "header", "name": "authorization"},
                    "o": {"type": "oauth2",
                        "flows": {"implicit": {"authorizationUrl": "https://a", "scopes": {"r": "read"}}}},
                },
                "parameters": {"pretty": {"name": "pretty", "in": "query", "schema": {"type": "string"}}},
            },
        });
        assert_eq!(document(swagger), wanted);
    }

    #[test]
    fn what_says_nothing_becomes_what_says_nothing() {
        let swagger =
            json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "unversioned"}});
        let wanted = json!({"openapi": "3.0.0", "components": {},
            "info": {"title": "Kubernetes", "version": "unversioned"}});
        assert_eq!(document(swagger), wanted);
    }
}
