//! What the server refuses, warns of, or does not bring about in time.

use super::{Helm, ground, has};
use kubeplane::testing::run;
use serde_json::json;

/// A name and a template that is refused, whole or while it is created, and what Helm has to say of it.
const REFUSED: [(&str, &str, &str); 8] = [
    (
        "unserved",
        "apiVersion: nowhere.example.com/v1\nkind: Plane\nmetadata: {name: own}\n",
        "resource mapping not found for name: \"own\" namespace: \"\" from \"\": no matches for kind \
            \"Plane\" in version \"nowhere.example.com/v1\"\nensure CRDs are installed first",
    ),
    (
        "removed",
        "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: own}\n",
        "no matches for kind \"PodDisruptionBudget\" in version \"policy/v1beta1\"",
    ),
    (
        "invalid",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: own}\nspec: {containers: [{name: a, image: ''}]}\n",
        "* Pod \"own\" is invalid: spec.containers[0].image: Required value",
    ),
    (
        "misfit",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\ndata: {a: [b]}\n",
        "* ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal array into \
            Go struct field ConfigMap.data of type string",
    ),
    (
        "elsewhere",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own, namespace: absent}\n",
        "* namespaces \"absent\" not found",
    ),
    (
        "nameless",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: own-}\n",
        "could not get information about the resource ConfigMap \"\" in namespace \"default\": \
            resource name may not be empty",
    ),
    (
        "twice",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n---\n\
            apiVersion: v1\nkind: ConfigMap\nmetadata: {name: two}\n",
        "* configmaps \"two\" already exists",
    ),
    (
        "hooked",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: own, annotations: {helm.sh/hook: pre-install}}\n\
            spec: {restartPolicy: Never, containers: [{name: a, image: ''}]}\n",
        "failed pre-install: warning: Hook pre-install hooked/templates/all.yaml failed: 1 error occurred:\n\t\
            * Pod \"own\" is invalid: spec.containers[0].image: Required value",
    ),
];

/// A name and a template that the server takes, and of what it warns.
const WARNED_OF: [(&str, &str, &str); 3] = [
    (
        "unknown",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: warned}\ndatum: {a: b}\n",
        "unknown field \"datum\"",
    ),
    (
        "hidden",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: warned}\nspec:\n  containers: \
            [{name: a, image: b, env: [{name: X, value: a}, {name: X, value: b}]}]\n",
        "spec.containers[0].env[1]: hides previous definition of \"X\", which may be dropped when using apply",
    ),
    (
        "deprecated",
        "apiVersion: v1\nkind: Endpoints\nmetadata: {name: warned}\n",
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    ),
];

#[test]
fn what_the_server_refuses_or_warns_of_is_told() {
    run(ground(), async |cluster| {
        let helm = Helm::new(&cluster);
        for (name, template, why) in REFUSED {
            let said = helm.fails(&["install", name, &helm.chart(name, template)]);
            has(&said, "Error: INSTALLATION FAILED: ");
            has(&said, why);
        }
        let states = helm.json(&["list", "--all"]);
        let states = states.as_array().unwrap().iter();
        let failed: Vec<_> = states.map(|own| (&own["name"], &own["status"])).collect();
        // Of those that were refused whole nothing is kept.
        let names = ["elsewhere", "hooked", "invalid", "misfit", "twice"].map(|name| json!(name));
        let state = json!("failed");
        assert_eq!(failed, names.iter().map(|name| (name, &state)).collect::<Vec<_>>());
        for (name, template, what) in WARNED_OF {
            let (said, warnings) = helm.both(&["install", name, &helm.chart(name, template)]);
            has(&said, "STATUS: deployed");
            has(&warnings, what);
        }
    });
}

const BEFORE: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: fixed}
immutable: true
data: {a: '1'}
---
apiVersion: v1
kind: Service
metadata: {name: fixed}
spec: {selector: {app: fixed}, ports: [{port: 80, name: a}, {port: 81, name: b}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: fixed}
spec:
  selector: {matchLabels: {app: fixed}}
  template:
    metadata: {labels: {app: fixed}}
    spec: {containers: [{name: a, image: i}]}
";

/// Each object is changed where it may not be, and the Service also where it may.
const AFTER: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: fixed}
immutable: true
data: {a: '2'}
---
apiVersion: v1
kind: Service
metadata: {name: fixed}
spec: {clusterIP: 10.96.7.7, selector: {app: fixed}, ports: [{port: 82, name: b}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: fixed}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec: {containers: [{name: a, image: i}]}
";

#[test]
fn what_cannot_be_changed_is_told_by_patch_and_by_replacement_and_undone() {
    run(ground(), async |cluster| {
        let helm = Helm::new(&cluster);
        let chart = helm.chart("fixed", BEFORE);
        helm.ok(&["install", "fixed", &chart, "--wait", "--timeout=60s"]);
        helm.chart("fixed", AFTER);
        let whys = [
            (
                "ConfigMap",
                "ConfigMap",
                "data: Forbidden: field is immutable when `immutable` is set",
            ),
            (
                "Service",
                "Service",
                "spec.clusterIPs[0]: Invalid value: [\"10.96.7.7\"]: may not change once set",
            ),
            (
                "Deployment",
                "Deployment.apps",
                "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"other\"}}: field is immutable",
            ),
        ];
        let patched = helm.fails(&["upgrade", "fixed", &chart]);
        let replaced = helm.fails(&["upgrade", "fixed", &chart, "--force"]);
        for (kind, full, why) in whys {
            let own = format!("{full} \"fixed\" is invalid: {why}");
            has(&patched, &format!("cannot patch \"fixed\" with kind {kind}: {own}"));
            has(&replaced, &format!("failed to replace object: {own}"));
        }
        helm.ok(&["rollback", "fixed", "1", "--wait", "--timeout=60s"]);
        let history = helm.history("fixed", "default").into_iter();
        let states: Vec<_> = history.map(|(_, state, _)| state).collect();
        assert_eq!(states, ["superseded", "failed", "failed", "deployed"]);
        let service = helm.get("/api/v1/namespaces/default/services/fixed").await;
        let ports = service["spec"]["ports"].as_array().unwrap().iter().map(|own| &own["port"]);
        assert_eq!(ports.collect::<Vec<_>>(), [80, 81]);
    });
}

#[test]
fn a_quota_is_told_and_what_is_not_ready_in_time_fails() {
    run(ground(), async |cluster| {
        let helm = Helm::new(&cluster);
        let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight"},
            "spec": {"hard": {"services": "0"}}});
        helm.make("/api/v1/namespaces/default/resourcequotas", &quota).await;
        let template =
            "apiVersion: v1\nkind: Service\nmetadata: {name: own}\nspec: {ports: [{port: 80}]}\n";
        let chart = helm.chart("more", template);
        let counted = "/api/v1/namespaces/default/resourcequotas/tight";
        helm.until(counted, |quota| !quota["status"]["used"].is_null()).await;
        has(
            &helm.fails(&["install", "more", &chart]),
            "* services \"own\" is forbidden: exceeded quota: tight, requested: services=1, used: services=1, limited: services=0",
        );
        let template = "apiVersion: v1\nkind: Pod\nmetadata: {name: own}\n\
            spec: {nodeSelector: {none: such}, containers: [{name: a, image: i}]}\n";
        let chart = helm.chart("slow", template);
        let late = helm.fails(&["install", "slow", &chart, "--wait", "--timeout=1s"]);
        has(&late, "Error: INSTALLATION FAILED: ");
        has(&late, "context deadline exceeded");
        let pod = "/api/v1/namespaces/default/pods/own";
        assert_eq!(helm.get(pod).await["status"]["phase"], "Pending");
        helm.ok(&["uninstall", "slow", "--wait", "--timeout=60s"]);
        let late = helm.fails(&["install", "slow", &chart, "--atomic", "--timeout=1s"]);
        has(&late, "release slow failed, and has been uninstalled due to atomic being set: ");
        assert_eq!(helm.find(pod).await, None);
        let kept = helm.json(&["list", "--all"]);
        assert!(kept.as_array().unwrap().iter().all(|own| own["name"] == "more"), "{kept}");
    });
}
