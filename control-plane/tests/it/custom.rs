//! Kinds made at run time, with an unmodified kubectl.

use crate::{
    cluster::Ground,
    kubectl::{SOON, has_row},
    raw::Raw,
};
use serde_json::{Value, json};
use std::time::Duration;

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: boats.harbour.example.com
spec:
  group: harbour.example.com
  scope: Namespaced
  names: {plural: boats, singular: boat, kind: Boat, listKind: BoatList, shortNames: [bt], categories: [all]}
  versions:
    - name: v1
      served: true
      storage: true
      additionalPrinterColumns:
        - {name: Masts, type: integer, jsonPath: .spec.masts}
        - {name: Afloat, type: boolean, jsonPath: .status.afloat}
      subresources:
        status: {}
        scale: {specReplicasPath: .spec.masts, statusReplicasPath: .status.masts}
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [masts]
              properties:
                masts: {type: integer, minimum: 1, description: How many there are.}
                flag: {type: string, default: red, enum: [red, green]}
            status:
              type: object
              properties:
                afloat: {type: boolean}
                masts: {type: integer}
"#;

fn boat(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: harbour.example.com/v1\nkind: Boat\nmetadata: {{name: {name}}}\nspec: {spec}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_made_at_run_time_is_like_any_other() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    let kubectl = cluster.kubectl();
    let said = kubectl.ok_with(&["apply", "-f", "-"], DEFINITION);
    assert_eq!(
        said,
        "customresourcedefinition.apiextensions.k8s.io/boats.harbour.example.com created\n"
    );
    kubectl.wait_for_kind("boats.harbour.example.com");
    let said = kubectl.ok_with(&["apply", "-f", "-"], &boat("ketch", "{masts: 2}"));
    assert_eq!(said, "boat.harbour.example.com/ketch created\n");
    let table = kubectl.ok(&["get", "boats"]);
    assert!(
        has_row(&table, &["NAME", "MASTS", "AFLOAT"]) && has_row(&table, &["ketch", "2"]),
        "{table}"
    );
    assert_eq!(kubectl.ok(&["get", "bt", "ketch", "-o", "jsonpath={.spec.flag}"]), "red");
    assert!(kubectl.ok(&["get", "all"]).contains("boat.harbour.example.com/ketch"));
    let text = kubectl.ok(&["explain", "boat.spec.masts"]);
    assert!(text.contains("How many there are."), "{text}");
    // What the original's conformance tests look for in what comes with every kind.
    let text = kubectl.ok(&["explain", "boat"]);
    assert!(text.contains("APIVersion defines"), "{text}");
    let text = kubectl.ok(&["explain", "boat.metadata"]);
    assert!(text.contains("Standard object's metadata"), "{text}");
    assert!(text.contains("CreationTimestamp is a timestamp"), "{text}");

    kubectl.ok(&["scale", "boat/ketch", "--replicas=3"]);
    assert_eq!(kubectl.ok(&["get", "bt", "ketch", "-o", "jsonpath={.spec.masts}"]), "3");
    kubectl.ok(&[
        "patch",
        "boat/ketch",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"afloat":true},"spec":{"masts":9}}"#,
    ]);
    assert!(has_row(&kubectl.ok(&["get", "boats"]), &["ketch", "3", "true"]));
    let (_, said) =
        kubectl.fails(&["patch", "boat/ketch", "--type=merge", "-p", r#"{"spec":{"masts":0}}"#]);
    assert!(
        said.contains(
            "spec.masts: Invalid value: 0: spec.masts in body should be greater than or equal to 1"
        ),
        "{said}"
    );
    let (_, said) = kubectl.fails(&[
        "patch",
        "boat/ketch",
        "--type=merge",
        "-p",
        r#"{"spec":{"flag":"blue"}}"#,
    ]);
    assert!(
        said.contains(
            "spec.flag: Unsupported value: \"blue\": supported values: \"red\", \"green\""
        ),
        "{said}"
    );

    assert!(cluster.process.interrupt().success());
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.until(&["get", "boats"], "the kind is there after a start", |table| {
        has_row(table, &["ketch", "3", "true"])
    });
    let hull = r#"[{"op": "add", "value": {"type": "string", "default": "oak"},
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/hull"}]"#;
    kubectl.ok(&["patch", "crd", "boats.harbour.example.com", "--type=json", "-p", hull]);
    let said = "a default that came later is that of older objects";
    kubectl.until(&["get", "boats", "-o", "jsonpath={.items[0].spec.hull}"], said, |hull| {
        hull == "oak"
    });
    kubectl.ok(&["delete", "crd", "boats.harbour.example.com"]);
    let raw = Raw::admin(&cluster).await;
    let deadline = tokio::time::Instant::now() + SOON;
    // The kind goes a moment after its definition.
    loop {
        let answer = raw.get("/apis/harbour.example.com/v1/boats").await;
        if answer.code == 404 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{} {}", answer.code, answer.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fields as generated definitions have them: each with a long description, half of them with more below.
fn generated(depth: usize) -> Value {
    let description =
        "What this is for, in as many words as generated definitions have for a field. ".repeat(7);
    let field = |index: usize| {
        let mut field = match (index % 4, depth) {
            (0, 1..) => json!({"type": "object", "properties": generated(depth - 1)}),
            (1, 1..) => {
                let items = json!({"type": "object", "properties": generated(depth - 1)});
                json!({"type": "array", "items": items})
            }
            (3, _) => {
                let any = json!([{"type": "integer"}, {"type": "string"}]);
                json!({"x-kubernetes-int-or-string": true, "anyOf": any})
            }
            _ => json!({"type": "string"}),
        };
        field["description"] = description.as_str().into();
        (format!("field{index}"), field)
    };
    (0..12).map(field).collect()
}

/// A definition as those of operators are: conditions, a column that looks into them, and hundreds of KiB of schema.
fn fleets() -> String {
    let condition = json!({"type": "object", "required": ["type", "status"], "properties": {
        "type": {"type": "string"}, "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
        "reason": {"type": "string"}, "message": {"type": "string"},
        "lastTransitionTime": {"type": "string", "format": "date-time"}}});
    let spec = json!({"type": "object", "required": ["replicas"],
        "x-kubernetes-validations": [
            {"rule": "self.replicas <= self.most", "message": "more than there may be"}],
        "properties": {"replicas": {"type": "integer", "minimum": 0},
            "most": {"type": "integer", "default": 5},
            "template": {"type": "object", "properties": generated(2)}}});
    let status = json!({"type": "object", "properties": {"replicas": {"type": "integer"},
        "conditions": {"type": "array", "items": condition, "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"]}}});
    let ready = r#".status.conditions[?(@.type=="Ready")].status"#;
    let version = json!({"name": "v1", "served": true, "storage": true,
        "subresources": {"status": {}, "scale": {
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        "additionalPrinterColumns": [
            {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
            {"name": "Ready", "type": "string", "jsonPath": ready}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}}});
    let names =
        json!({"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "fleets.harbour.example.com"},
        "spec": {"group": "harbour.example.com", "scope": "Namespaced", "names": names,
            "versions": [version]}})
    .to_string()
}

#[test]
fn a_definition_as_large_as_those_of_operators_is_like_any_other() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    let text = fleets();
    assert!(text.len() > 300 << 10, "{}", text.len());
    let file = |name: &str, text: &str| {
        let path = kubectl.home().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let definition = file("fleets.json", &text);
    // What kubectl keeps of it in an annotation is too much for one.
    let (_, said) = kubectl.fails(&["apply", "-f", &definition]);
    let why = "metadata.annotations: Too long: may not be more than 262144 bytes";
    assert!(said.contains(why), "{said}");
    let said = kubectl.ok(&["apply", "--server-side", "-f", &definition]);
    assert_eq!(
        said,
        "customresourcedefinition.apiextensions.k8s.io/fleets.harbour.example.com serverside-applied\n"
    );
    kubectl.wait_for_kind("fleets.harbour.example.com");

    let fleet = |spec: &str| {
        format!(
            "apiVersion: harbour.example.com/v1\nkind: Fleet\nmetadata: {{name: one}}\nspec: {spec}\n"
        )
    };
    let unknown = file("unknown.yaml", &fleet("{replicas: 2, template: {other: x}}"));
    let (_, said) = kubectl.fails(&["create", "-f", &unknown]);
    assert!(said.contains(r#"unknown field "spec.template.other""#), "{said}");
    let deep = fleet("{replicas: 2, template: {field0: {field1: [{field2: x, field3: 80}]}}}");
    let said = kubectl.ok_with(&["apply", "-f", "-"], &deep);
    assert_eq!(said, "fleet.harbour.example.com/one created\n");
    for (patch, why) in [
        (r#"{"spec":{"replicas":9}}"#, "spec: Invalid value: more than there may be"),
        (
            r#"{"spec":{"template":{"field0":{"field1":[{"field2":7}]}}}}"#,
            "spec.template.field0.field1[0].field2 in body must be of type string",
        ),
    ] {
        let (_, said) = kubectl.fails(&["patch", "fleet/one", "--type=merge", "-p", patch]);
        assert!(said.contains(why), "{said}");
    }
    let text = kubectl.ok(&["explain", "fleet.spec.template.field0.field1.field2"]);
    assert!(text.contains("What this is for"), "{text}");

    let ready = |status: &str| {
        let condition = json!({"type": "Ready", "status": status, "reason": "Told", "message": "",
            "lastTransitionTime": "2026-01-02T03:04:05Z"});
        let patch = json!({"status": {"conditions": [condition]}}).to_string();
        kubectl.ok(&["patch", "fleet/one", "--subresource=status", "--type=merge", "-p", &patch]);
    };
    ready("False");
    assert!(has_row(&kubectl.ok(&["get", "fleets"]), &["one", "2", "False"]));
    let mut waiting =
        kubectl.start(&["wait", "--for=condition=Ready", "fleet/one", "--timeout=30s"]);
    ready("True");
    let said = waiting.wait_for_end();
    assert!(said.contains("fleet.harbour.example.com/one condition met"), "{said}");
    assert!(has_row(&kubectl.ok(&["get", "fleets"]), &["one", "2", "True"]));
    kubectl.ok(&["scale", "fleet/one", "--replicas=4"]);
    assert_eq!(kubectl.ok(&["get", "fleet/one", "-o", "jsonpath={.spec.replicas}"]), "4");
}
