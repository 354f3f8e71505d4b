//! Users of few rights, objects that others made, and releases that are kept in ConfigMaps.

use super::{Helm, ground, has};
use kubeplane::testing::run;
use serde_json::json;

const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/few/roles";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/few/rolebindings";
const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\n";

/// Jane may do all with ConfigMaps and Secrets of one namespace.
async fn let_jane_in(helm: &Helm) {
    let space = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "few"}});
    helm.make("/api/v1/namespaces", &space).await;
    let rule = json!({"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["*"]});
    let (name, api) = (json!({"name": "few"}), "rbac.authorization.k8s.io");
    let role = json!({"apiVersion": format!("{api}/v1"), "kind": "Role", "metadata": name, "rules": [rule]});
    helm.make(ROLES, &role).await;
    let binding = json!({"apiVersion": format!("{api}/v1"), "kind": "RoleBinding", "metadata": name,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "few"},
        "subjects": [{"apiGroup": api, "kind": "User", "name": "jane"}]});
    helm.make(BINDINGS, &binding).await;
}

#[test]
fn a_user_of_few_rights_is_told_what_he_may_not() {
    run(ground(), async |cluster| {
        let helm = Helm::new(&cluster);
        let_jane_in(&helm).await;
        let (jane, space) = ("--kube-as-user=jane", "--namespace=few");
        let chart = helm.chart("few", CONFIG);
        helm.ok(&["install", "few", &chart, space, jane]);
        assert_eq!(helm.json(&["list", space, jane])[0]["status"], "deployed");
        let cannot = |what: &str| format!("is forbidden: User \"jane\" cannot {what}");
        let everywhere = helm.fails(&["list", "--all-namespaces", jane]);
        let secrets = "list resource \"secrets\" in API group \"\" at the cluster scope";
        has(&everywhere, &format!("failed to list: secrets {}", cannot(secrets)));

        let service =
            "apiVersion: v1\nkind: Service\nmetadata: {name: own}\nspec: {ports: [{port: 80}]}\n";
        helm.chart("few", &format!("{CONFIG}---\n{service}"));
        let refused = helm.fails(&["upgrade", "few", &chart, space, jane]);
        let services = "get resource \"services\" in API group \"\" in the namespace \"few\"";
        has(&refused, &format!("services \"own\" {}", cannot(services)));

        let template = "data: {nodes: '{{ len (lookup \"v1\" \"Node\" \"\" \"\").items }}'}\n";
        helm.chart("few", &format!("{CONFIG}{template}"));
        let refused = helm.fails(&["upgrade", "few", &chart, space, jane]);
        let nodes = "list resource \"nodes\" in API group \"\" at the cluster scope";
        has(&refused, &format!("error calling lookup: nodes {}", cannot(nodes)));
        helm.ok(&["upgrade", "few", &chart, space, jane, "--kube-as-group=system:masters"]);
        let own = "/api/v1/namespaces/few/configmaps/own";
        assert_eq!(helm.get(own).await["data"]["nodes"], "2");
        helm.ok(&["uninstall", "few", space, jane]);
        assert_eq!(helm.find(own).await, None);
    });
}

#[test]
fn what_others_made_is_taken_only_when_that_is_wanted() {
    run(ground(), async |cluster| {
        let helm = Helm::new(&cluster);
        let made = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}, "data": {"a": "b"}});
        helm.make("/api/v1/namespaces/default/configmaps", &made).await;
        let chart = helm.chart("taker", &format!("{CONFIG}data: {{a: c}}\n"));
        let refused = helm.fails(&["install", "taker", &chart]);
        has(
            &refused,
            "ConfigMap \"own\" in namespace \"default\" exists and cannot be imported into the current release",
        );
        helm.ok(&["install", "taker", &chart, "--take-ownership"]);
        let taken = helm.get("/api/v1/namespaces/default/configmaps/own").await;
        assert_eq!(taken["data"], json!({"a": "c"}));
        assert_eq!(taken["metadata"]["annotations"]["meta.helm.sh/release-name"], "taker");
        helm.ok(&["uninstall", "taker", "--cascade=foreground", "--wait", "--timeout=60s"]);
        assert_eq!(helm.find("/api/v1/namespaces/default/configmaps/own").await, None);
    });
}

#[test]
fn releases_can_be_kept_in_config_maps() {
    run(ground(), async |cluster| {
        let helm = Helm { driver: "configmap", ..Helm::new(&cluster) };
        let chart = helm.chart("kept", CONFIG);
        helm.ok(&["install", "kept", &chart]);
        helm.ok(&["upgrade", "kept", &chart, "--description=again"]);
        let expected = [(1_u64, "superseded", "Install complete"), (2, "deployed", "again")];
        let expected =
            expected.map(|(number, state, what)| (number, state.to_owned(), what.to_owned()));
        assert_eq!(helm.history("kept", "default"), expected);
        let kept = "/api/v1/namespaces/default/configmaps?labelSelector=owner%3Dhelm";
        assert_eq!(helm.get(kept).await["items"].as_array().unwrap().len(), 2);
        assert_eq!(helm.json(&["list"])[0]["revision"], "2");
        helm.ok(&["uninstall", "kept"]);
        assert_eq!(helm.get(kept).await["items"], json!([]));
    });
}
