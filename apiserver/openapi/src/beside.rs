//! What leads to the group versions: lists of versions, groups and resources, and the server's own version.

use crate::{
    operations::{META, content, reference},
    overlay,
    paths::{group_tag, words},
    schemas::IDENTITY,
};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1 as meta, version::Info};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const TYPES: [&str; 3] =
    ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// A path that is only read.
pub(crate) struct Get<'a> {
    /// The tag.
    pub(crate) tag: &'a str,
    /// The operation id.
    pub(crate) id: &'a str,
    /// What is read.
    pub(crate) text: &'a str,
    /// The name of what is answered, of those of the machinery.
    pub(crate) schema: &'a str,
}

impl Get<'_> {
    /// The path's item.
    pub(crate) fn item(&self) -> Value {
        item(self, &TYPES, &reference(&format!("{META}.{}", self.schema)))
    }
}

fn item(get: &Get<'_>, types: &[&str], schema: &Value) -> Value {
    json!({"get": {
        "description": format!("read {}", get.text),
        "operationId": get.id,
        "tags": [get.tag],
        "responses": {
            "200": {"description": "OK", "content": content(types, schema)},
            "401": {"description": "Unauthorized"},
        },
    }})
}

/// Paths, and the schemas they refer to.
pub(crate) struct Part {
    pub(crate) paths: Map<String, Value>,
    pub(crate) schemas: Map<String, Value>,
}

/// What tells how to check tokens of service accounts: path, tag, operation, what is read, media type.
const DISCOVERY: [[&str; 5]; 2] = [
    [
        "/.well-known/openid-configuration",
        "WellKnown",
        "getServiceAccountIssuerOpenIDConfiguration",
        "the OpenID Connect configuration of who issues tokens of service accounts",
        "application/json",
    ],
    [
        "/openid/v1/jwks",
        "openid",
        "getServiceAccountIssuerOpenIDKeyset",
        "the public keys that tokens of service accounts are checked with",
        "application/jwk-set+json",
    ],
];

/// The documents of further paths, as far as they are served.
pub(crate) fn of_routes(served: impl Fn(&str) -> bool) -> Vec<(String, Part)> {
    let served = DISCOVERY.iter().filter(|[path, ..]| served(path));
    let part = |[path, tag, id, text, media_type]: &[&str; 5]| {
        let get = Get { tag, id, text, schema: "" };
        let item = item(&get, &[*media_type], &json!({"type": "string"}));
        let paths = Map::from_iter([(format!("{path}/"), item)]);
        (path.trim_start_matches('/').to_owned(), Part { paths, schemas: Map::new() })
    };
    served.map(part).collect()
}

/// The documents beside those of the group versions, by their path below `/openapi/v3/`.
pub(crate) fn of_groups(groups: &BTreeSet<String>) -> Vec<(String, Part)> {
    let mut all = vec![(
        "apis".to_owned(),
        part(
            "/apis/",
            &Get { tag: "apis", id: "getAPIVersions", text: "all groups", schema: "APIGroupList" },
            |generator| drop(generator.subschema_for::<meta::APIGroupList>()),
        ),
    )];
    for group in groups {
        let (tag, words) = (group_tag(group), words(group));
        all.push(match group.as_str() {
            "" => {
                let id = format!("get{words}APIVersions");
                let text = "the versions without a group";
                let get = Get { tag: &tag, id: &id, text, schema: "APIVersions" };
                let add =
                    |made: &mut SchemaGenerator| drop(made.subschema_for::<meta::APIVersions>());
                ("api".to_owned(), part("/api/", &get, add))
            }
            group => {
                let id = format!("get{words}APIGroup");
                let get =
                    Get { tag: &tag, id: &id, text: "the versions of a group", schema: "APIGroup" };
                let add = |made: &mut SchemaGenerator| drop(made.subschema_for::<meta::APIGroup>());
                (format!("apis/{group}"), part(&format!("/apis/{group}/"), &get, add))
            }
        });
    }
    all.push(("version".to_owned(), version()));
    all
}

fn part(path: &str, get: &Get<'_>, add: impl FnOnce(&mut SchemaGenerator)) -> Part {
    let mut schemas = named(add);
    if let Some(schema) = schemas.get_mut(&format!("{META}.{}", get.schema)) {
        schema[IDENTITY] = json!([{"group": "", "version": "v1", "kind": get.schema}]);
    }
    Part { paths: Map::from_iter([(path.to_owned(), get.item())]), schemas }
}

fn version() -> Part {
    let get =
        Get { tag: "version", id: "getCodeVersion", text: "the server's version", schema: "" };
    let answered = reference("io.k8s.apimachinery.pkg.version.Info");
    Part {
        paths: Map::from_iter([("/version/".to_owned(), item(&get, &TYPES[..1], &answered))]),
        schemas: named(|generator| drop(generator.subschema_for::<Info>())),
    }
}

/// The schemas that `add` asks for, with all they refer to.
fn named(add: impl FnOnce(&mut SchemaGenerator)) -> Map<String, Value> {
    let mut generator = SchemaSettings::openapi3().into_generator();
    add(&mut generator);
    let mut schemas = generator.take_definitions(true);
    for (name, schema) in &mut schemas {
        overlay::complete(name, schema, true);
    }
    schemas
}
