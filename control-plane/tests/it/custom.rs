//! Kinds made at run time, with an unmodified kubectl.

use crate::{
    cluster::Ground,
    kubectl::{SOON, has_row},
    raw::Raw,
};
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
