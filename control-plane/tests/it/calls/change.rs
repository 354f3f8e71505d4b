//! Everything that changes an object: `scale`, `edit`, `label`, `annotate`, `patch`, `apply` in its forms.

use super::{MANIFEST, World};
use crate::kubectl::SOON;
use crate::parts::eventually;
use std::os::unix::fs::PermissionsExt;

pub(super) fn all(world: &World<'_>) {
    scale(world);
    labels_and_annotations(world);
    edit(world);
    patch(world);
    apply_again(world);
    apply_on_the_server(world);
}

fn scale(world: &World<'_>) {
    let said = world.kubectl.ok(&["scale", "-n", "web", "deployment/web", "--replicas=5"]);
    assert_eq!(said, "deployment.apps/web scaled\n");
    world.wait_for_ready_pods(5);
    let line = ["scale", "-n", "web", "deployment/web", "--current-replicas=2", "--replicas=1"];
    let (_, said) = world.kubectl.fails(&line);
    assert!(said.contains("Expected replicas to be 2, was 5"), "{said}");
    world.kubectl.ok(&["scale", "-n", "web", "deployment/web", "--replicas=3"]);
    world.wait_for_ready_pods(3);
}

fn labels_and_annotations(world: &World<'_>) {
    let pod = world.pods().remove(0);
    let said = world.kubectl.ok(&["label", "-n", "web", "pod", &pod, "tier=front"]);
    assert_eq!(said, format!("pod/{pod} labeled\n"));
    let named = world.kubectl.ok(&[
        "get",
        "pods",
        "-n",
        "web",
        "-l",
        "tier in (front, back)",
        "-o",
        "name",
    ]);
    assert_eq!(named, format!("pod/{pod}\n"));
    let (_, said) = world.kubectl.fails(&["label", "-n", "web", "pod", &pod, "tier=back"]);
    assert!(
        said.contains("'tier' already has a value (front), and --overwrite is false"),
        "{said}"
    );
    let said = world.kubectl.ok(&["label", "-n", "web", "pod", &pod, "tier-"]);
    assert_eq!(said, format!("pod/{pod} unlabeled\n"));
    let named = world.kubectl.ok(&["get", "pods", "-n", "web", "-l", "tier", "-o", "name"]);
    assert_eq!(named, "");

    let said = world.kubectl.ok(&["annotate", "-n", "web", "deployment/web", "note=looked at"]);
    assert!(said.starts_with("deployment.apps/web annotate"), "{said}");
    let path = "jsonpath={.metadata.annotations.note}";
    assert_eq!(world.kubectl.ok(&["get", "-n", "web", "deployment/web", "-o", path]), "looked at");
    world.kubectl.ok(&["annotate", "-n", "web", "deployment/web", "note-"]);
}

/// With an editor that is a script.
fn edit(world: &World<'_>) {
    let editor = |text: &str| {
        let path = world.kubectl.home().join("editor");
        std::fs::write(&path, format!("#!/bin/sh\nexec sed -i '{text}' \"$1\"\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let line = ["edit", "-n", "web", "deployment/web"];
    let run = |text: &str| {
        let output = world.kubectl.command(&line).env("EDITOR", editor(text)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(run("s/replicas: 3/replicas: 4/").1, "deployment.apps/web edited\n");
    world.wait_for_ready_pods(4);
    assert!(run("s/nothing like this/x/").2.contains("Edit cancelled, no changes made."));
    let (done, _, said) = run("s/app: web/app: other/");
    assert!(!done && said.contains("deployments.apps \"web\" is invalid"), "{said}");
}

fn patch(world: &World<'_>) {
    let patch = |form: &str, text: &str| {
        world.kubectl.ok(&["patch", "-n", "web", "deployment/web", "--type", form, "-p", text])
    };
    let strategic = r#"{"spec":{"template":{"spec":{"containers":[{"name":"web","env":[{"name":"EXTRA","value":"1"}]}]}}}}"#;
    assert_eq!(patch("strategic", strategic), "deployment.apps/web patched\n");
    let path = "jsonpath={.spec.template.spec.containers[0].env[*].name}";
    let names = world.kubectl.ok(&["get", "-n", "web", "deployment/web", "-o", path]);
    assert_eq!(names, "EXTRA GREETING AUDIENCE POD_NAME");
    // While the update goes on the status is a change.
    world.kubectl.ok(&["rollout", "status", "-n", "web", "deployment/web", "--timeout=60s"]);
    world.wait_for_ready_pods(4);
    assert_eq!(patch("strategic", strategic), "deployment.apps/web patched (no change)\n");
    let json = r#"[{"op":"test","path":"/spec/template/spec/containers/0/env/0/name","value":"EXTRA"},
                   {"op":"remove","path":"/spec/template/spec/containers/0/env/0"}]"#;
    assert_eq!(patch("json", json), "deployment.apps/web patched\n");
    let names = world.kubectl.ok(&["get", "-n", "web", "deployment/web", "-o", path]);
    assert_eq!(names, "GREETING AUDIENCE POD_NAME");
    assert_eq!(patch("merge", r#"{"spec":{"replicas":2}}"#), "deployment.apps/web patched\n");
    world.wait_for_ready_pods(2);
    let line = [
        "patch",
        "-n",
        "web",
        "deployment/web",
        "--type=merge",
        "-p",
        r#"{"spec":{"replicas":-1}}"#,
    ];
    let (_, said) = world.kubectl.fails(&line);
    assert!(
        said.contains("spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        "{said}"
    );
}

fn apply_again(world: &World<'_>) {
    let said = world.kubectl.ok(&["apply", "-f", MANIFEST]);
    let expected = [
        "namespace/web unchanged",
        "configmap/web unchanged",
        "deployment.apps/web configured",
        "service/web unchanged",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "the manifest asks for three replicas");
    world.wait_for_ready_pods(3);
    let said = world.kubectl.ok(&["apply", "-f", MANIFEST]);
    assert!(said.lines().all(|line| line.ends_with(" unchanged")), "{said}");

    let changed =
        std::fs::read_to_string(MANIFEST).unwrap().replace("greeting: hello", "greeting: good day");
    let said = world.kubectl.ok_with(&["apply", "-f", "-"], &changed);
    let expected = [
        "namespace/web unchanged",
        "configmap/web configured",
        "deployment.apps/web unchanged",
        "service/web unchanged",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let path = "jsonpath={.data}";
    let data = world.kubectl.ok(&["get", "-n", "web", "configmap/web", "-o", path]);
    assert_eq!(data, r#"{"audience":"world","greeting":"good day"}"#);
    let less = changed.replace("  audience: world\n", "");
    world.kubectl.ok_with(&["apply", "-f", "-"], &less);
    let data = world.kubectl.ok(&["get", "-n", "web", "configmap/web", "-o", path]);
    assert_eq!(data, r#"{"greeting":"good day"}"#, "what is no longer applied is taken away");
    world.kubectl.ok(&["apply", "-f", MANIFEST]);
    let difference = world.kubectl.output(&["diff", "-f", MANIFEST]);
    assert!(difference.status.success(), "{}", String::from_utf8_lossy(&difference.stdout));
}

fn apply_on_the_server(world: &World<'_>) {
    let manifest = |greeting: &str, more: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: shared, namespace: web}}\n\
             data:\n  greeting: {greeting}\n{more}"
        )
    };
    let apply = |more: &[&str], text: &str| {
        let line: Vec<&str> =
            ["apply", "--server-side", "-f", "-"].iter().chain(more).copied().collect();
        world.kubectl.ok_with(&line, text)
    };
    let first = manifest("hello", "  first: \"1\"\n");
    assert_eq!(apply(&[], &first), "configmap/shared serverside-applied\n");
    apply(&["--field-manager=other"], &manifest("hello", "  second: \"2\"\n"));
    let read = |path: &str| world.kubectl.ok(&["get", "-n", "web", "configmap/shared", "-o", path]);
    assert_eq!(read("jsonpath={.data}"), r#"{"first":"1","greeting":"hello","second":"2"}"#);
    let file = world.kubectl.home().join("shared.yaml");
    std::fs::write(&file, manifest("bye", "")).unwrap();
    let file = file.to_str().unwrap();
    let line = ["apply", "--server-side", "--field-manager=other", "-f", file];
    let (_, said) = world.kubectl.fails(&line);
    assert!(said.contains("conflict with \"kubectl\": .data.greeting"), "{said}");
    world.kubectl.ok(&[&line[..], &["--force-conflicts"]].concat());
    assert_eq!(read("jsonpath={.data}"), r#"{"first":"1","greeting":"bye"}"#);
    let managers = world.kubectl.ok(&[
        "get",
        "-n",
        "web",
        "configmap/shared",
        "--show-managed-fields",
        "-o",
        "jsonpath={.metadata.managedFields[*].manager}",
    ]);
    assert_eq!(
        managers.split(' ').collect::<std::collections::BTreeSet<_>>(),
        ["kubectl", "other"].into()
    );
    world.kubectl.ok(&["delete", "-n", "web", "configmap/shared"]);
    eventually("its end", SOON, || {
        let output = world.kubectl.output(&["get", "-n", "web", "configmap/shared"]);
        if output.status.success() { Err("still there".to_owned()) } else { Ok(()) }
    });
}
