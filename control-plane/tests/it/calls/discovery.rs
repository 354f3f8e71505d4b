//! What the server says of itself and its kinds, and the kubeconfig.

use super::World;
use crate::kubectl::has_row;

pub(super) fn all(world: &World<'_>) {
    kinds(world);
    versions(world);
    components(world);
    contexts(world);
}

fn kinds(world: &World<'_>) {
    let table = world.kubectl.ok(&["api-resources"]);
    for row in [
        ["pods", "po", "v1", "true", "Pod"],
        ["namespaces", "ns", "v1", "false", "Namespace"],
        ["deployments", "deploy", "apps/v1", "true", "Deployment"],
        [
            "customresourcedefinitions",
            "crd,crds",
            "apiextensions.k8s.io/v1",
            "false",
            "CustomResourceDefinition",
        ],
    ] {
        assert!(has_row(&table, &row), "{row:?} in\n{table}");
    }
    let named = world.kubectl.ok(&["api-resources", "--api-group=apps", "-o", "name"]);
    assert!(named.lines().any(|line| line == "replicasets.apps"), "{named}");

    let versions = world.kubectl.ok(&["api-versions"]);
    for version in [
        "v1",
        "apps/v1",
        "coordination.k8s.io/v1",
        "discovery.k8s.io/v1",
        "rbac.authorization.k8s.io/v1",
    ] {
        assert!(versions.lines().any(|line| line == version), "{version} in\n{versions}");
    }

    let text = world.kubectl.ok(&["explain", "deployment.spec.strategy"]);
    for part in
        ["KIND:       Deployment", "strategy <DeploymentStrategy>", "rollingUpdate", "Default is"]
    {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
    let text = world.kubectl.ok(&["explain", "pod", "--recursive"]);
    assert!(text.contains("terminationGracePeriodSeconds"), "{text}");
}

fn versions(world: &World<'_>) {
    let said = world.kubectl.ok(&["version"]);
    assert!(said.contains("Server Version") && said.contains("v1.36."), "{said}");
    let json = world.kubectl.json(&["version"]);
    assert_eq!(
        (&json["serverVersion"]["major"], &json["serverVersion"]["minor"]),
        (&"1".into(), &"36".into())
    );
}

fn components(world: &World<'_>) {
    let said = world.kubectl.ok(&["cluster-info"]);
    assert!(said.contains("is running at"), "{said}");
    assert!(said.contains(&world.cluster.url), "{said}");
    let table = world.kubectl.until(&["get", "componentstatuses"], "all healthy", |table| {
        has_row(table, &["scheduler", "Healthy"])
            && has_row(table, &["controller-manager", "Healthy"])
    });
    assert!(has_row(&table, &["NAME", "STATUS", "MESSAGE", "ERROR"]), "{table}");
    assert!(has_row(&table, &["etcd-0", "Healthy"]), "{table}");
}

fn contexts(world: &World<'_>) {
    let context = "kubernetes-admin@kubeplane";
    let table = world.kubectl.ok(&["config", "get-contexts"]);
    assert!(has_row(&table, &["*", context, "kubeplane", "kubernetes-admin"]), "{table}");
    assert_eq!(world.kubectl.ok(&["config", "current-context"]), format!("{context}\n"));

    // Another one, of the same user in another namespace, says where calls go that name none.
    let parts = ["--cluster=kubeplane", "--user=kubernetes-admin", "--namespace=kube-system"];
    let said = world.kubectl.ok(&[&["config", "set-context", "other"], &parts[..]].concat());
    assert_eq!(said, "Context \"other\" created.\n");
    let path = "jsonpath={.metadata.namespace}";
    let asked = ["get", "serviceaccount", "default", "-o", path];
    for (context, namespace) in [("other", "kube-system"), (context, "default")] {
        let said = world.kubectl.ok(&["config", "use-context", context]);
        assert_eq!(said, format!("Switched to context \"{context}\".\n"));
        assert_eq!(world.kubectl.ok(&asked), namespace);
    }
    world.kubectl.ok(&["config", "delete-context", "other"]);
}
