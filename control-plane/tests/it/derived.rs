//! Definitions as kube and schemars derive them, sent as they are.

use crate::kubectl::SOON;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResource, CustomResourceExt, KubeSchema,
    api::{ApiResource, DynamicObject, PostParams},
    runtime::wait::{await_condition, conditions},
};
use kubeplane::testing::TestCluster;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "harbour.example.com",
    version = "v1",
    kind = "Freight",
    plural = "freights",
    namespaced,
    derive = "PartialEq",
    shortname = "fr",
    category = "all",
    selectable = ".spec.owner",
    status = "FreightStatus",
    printcolumn(json_path = ".spec.owner", name = "Owner", type_ = "string"),
    scale(
        spec_replicas_path = ".spec.crates",
        status_replicas_path = ".status.crates",
        label_selector_path = ".status.labelSelector"
    )
)]
#[x_kube(validation = "self.crates <= 100")]
#[serde(rename_all = "camelCase")]
struct FreightSpec {
    owner: String,
    crates: u32,
    #[serde(default = "berth")]
    berth: u16,
    note: Option<String>,
    /// How it gets there.
    #[x_kube(validation = "!has(self.sail) || self.sail.masts > 1")]
    drive: Drive,
    captain: Captain,
    #[validate(length(min = 1))]
    ports: Vec<String>,
    #[x_kube(merge_strategy = ListMerge::Set)]
    tags: Vec<String>,
    ranks: BTreeMap<String, Rank>,
    weights: BTreeMap<String, f64>,
    seen: BTreeSet<String>,
    flag: Option<Rank>,
}

fn berth() -> u16 {
    7
}

/// One of several, each with a name and fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum Drive {
    /// By wind.
    Sail { masts: i32 },
    /// By fire.
    Steam { boilers: i32 },
    /// By others.
    Tow {},
}

/// One of several without a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Captain {
    Named(Named),
    Numbered(Numbered),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Named {
    rank: Rank,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Numbered {
    rank: Rank,
    number: i32,
}

/// One of several words.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
enum Rank {
    Mate,
    Master,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct FreightStatus {
    crates: usize,
    label_selector: String,
}

fn freight() -> FreightSpec {
    FreightSpec {
        owner: "ann".to_owned(),
        crates: 3,
        berth: 9,
        note: None,
        drive: Drive::Sail { masts: 2 },
        captain: Captain::Numbered(Numbered { rank: Rank::Mate, number: 4 }),
        ports: vec!["north".to_owned()],
        tags: vec!["heavy".to_owned(), "dry".to_owned()],
        ranks: BTreeMap::from([("first".to_owned(), Rank::Master)]),
        weights: BTreeMap::from([("one".to_owned(), 1.5)]),
        seen: BTreeSet::from(["south".to_owned()]),
        flag: Some(Rank::Mate),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn derived_definitions_are_accepted_as_they_are() {
    let cluster = TestCluster::start().await.unwrap();
    let client = cluster.client();
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let sent = Freight::crd();
    let made = definitions.create(&PostParams::default(), &sent).await.unwrap();
    assert_eq!(made.spec.versions, sent.spec.versions);
    let established =
        await_condition(definitions, Freight::crd_name(), conditions::is_crd_established());
    tokio::time::timeout(SOON, established).await.unwrap().unwrap();

    let freights: Api<Freight> = Api::default_namespaced(client.clone());
    let spec = freight();
    let one = Freight::new("one", spec.clone());
    let made = freights.create(&PostParams::default(), &one).await.unwrap();
    assert_eq!(made.spec, spec);

    // As text, for what the types cannot say.
    let any: Api<DynamicObject> =
        Api::default_namespaced_with(client, &ApiResource::erase::<Freight>(&()));
    let with = async |field: &str, value: Value| {
        let mut object = serde_json::to_value(Freight::new("two", freight())).unwrap();
        object["spec"][field] = value;
        let object: DynamicObject = serde_json::from_value(object).unwrap();
        any.create(&PostParams { dry_run: true, ..PostParams::default() }, &object).await
    };
    let made = with("berth", Value::Null).await.unwrap();
    assert_eq!(made.data["spec"]["berth"], 7);
    for (field, value, why) in [
        ("crates", json!(-1), "spec.crates in body should be greater than or equal to 0"),
        ("crates", json!(101), "failed rule: self.crates <= 100"),
        ("drive", json!({"sail": {"masts": 1}}), "failed rule: !has(self.sail)"),
        (
            "drive",
            json!({"sail": {"masts": 2}, "tow": {}}),
            "must validate one and only one schema (oneOf)",
        ),
        ("captain", json!({"rank": "Mate"}), "must validate at least one schema (anyOf)"),
        ("ports", json!([]), "spec.ports in body should have at least 1 items"),
        ("tags", json!(["a", "a"]), "Duplicate value: \"a\""),
        ("ranks", json!({"first": "Cook"}), "supported values: \"Mate\", \"Master\""),
        ("weights", json!({"one": "heavy"}), "must be of type number"),
    ] {
        let said = with(field, value).await.unwrap_err().to_string();
        assert!(said.contains(why), "{field}: {said}");
    }
}
