//! Closed from the first start.

use crate::{cluster::Ground, kubectl::SOON, raw::Raw};
use serde_json::{Value, json};
use std::{os::unix::fs::MetadataExt, path::Path, time::Duration};

/// What says nothing of the cluster: all that whoever is not known may see.
const OPEN: [&str; 12] = [
    "/healthz",
    "/livez",
    "/readyz",
    "/version",
    "/ui/",
    "/ui/style.css",
    "/ui/icon.svg",
    "/ui/main.js",
    "/ui/cluster.js",
    "/ui/draw.js",
    "/ui/overview.js",
    "/ui/object.js",
];

/// Whether or not there is something to see.
const CLOSED: [&str; 28] = [
    "/",
    "/api",
    "/api/v1",
    "/apis",
    "/apis/apps/v1",
    "/openapi/v2",
    "/openapi/v3",
    "/metrics",
    "/logs",
    "/debug/pprof/",
    "/snapshot",
    "/.well-known/openid-configuration",
    "/openid/v1/jwks",
    // One check is not the answer of all.
    "/healthz/ping",
    "/livez/ping",
    "/readyz/etcd",
    "/readyz/poststarthook/rbac/bootstrap-roles",
    "/ui/other",
    "/ui/index.html",
    "/ui/main.js/x",
    "/ui/trace/",
    "/ui/trace/default/web",
    "/ui/../api/v1/nodes",
    "/api/v1/nodes",
    "/api/v1/pods?watch=true",
    "/api/v1/namespaces/kube-system/secrets",
    "/api/v1/namespaces/default/pods/web/exec?command=id",
    "/apis/none.example.com/v1/namespaces/default/things",
];

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_more_than_health_version_and_the_files_of_the_pages() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let nobody = Raw::anonymous(&cluster).await;
    for open in OPEN {
        assert_eq!(nobody.get(open).await.code, 200, "{open}");
    }
    for closed in CLOSED {
        nobody.get(closed).await.refused(403, "Forbidden", &["system:anonymous"]);
    }
    for verb in ["POST", "PUT", "PATCH", "DELETE"] {
        let answer = nobody.send(verb, "/ui/", Some("application/json"), b"{}".to_vec()).await;
        assert_eq!(answer.code, 405, "{verb} {}", answer.text);
        let answer = nobody.send(verb, "/version", Some("application/json"), Vec::new()).await;
        answer.refused(403, "Forbidden", &["system:anonymous"]);
    }
    let stranger = Raw::with_token(&cluster, "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.").await;
    stranger.get("/version").await.refused(401, "Unauthorized", &[]);

    // Whoever is known, and has no rights, sees what there is and nothing in it.
    let kubectl = cluster.kubectl();
    kubectl.ok(&["create", "serviceaccount", "guest"]);
    let token = kubectl.ok(&["create", "token", "guest"]);
    let guest = Raw::with_token(&cluster, token.trim()).await;
    assert_eq!(guest.get("/apis").await.code, 200);
    for closed in ["/ui/trace/default/web", "/metrics", "/snapshot", "/api/v1/nodes"] {
        let who = "system:serviceaccount:default:guest";
        guest.get(closed).await.refused(403, "Forbidden", &[who]);
    }
}

/// Services outside the cluster check tokens with what the issuer tells, to those who may ask.
#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_of_tokens_tells_its_keys() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.until(&["get", "serviceaccount", "default"], "it", |row| row.contains("default"));
    let token = kubectl.ok(&["create", "token", "default"]);
    let account = Raw::with_token(&cluster, token.trim()).await;
    let told = account.get("/.well-known/openid-configuration").await.json();
    assert_eq!(told["id_token_signing_alg_values_supported"], json!(["ES256"]));
    assert!(told["jwks_uri"].as_str().unwrap().ends_with("/openid/v1/jwks"), "{told}");
    let path = "/openid/v1/jwks";
    assert_eq!(account.get(path).await.code, 406, "it is no plain JSON");
    let accept = [("accept", "application/jwk-set+json")];
    let keys = account.exchange("GET", path, &accept, Vec::new()).await;
    let keys: Value = serde_json::from_slice(&keys.body).unwrap();
    let part = |number: usize| -> Value {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let part = token.trim().split('.').nth(number).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    };
    assert_eq!(part(1)["iss"], told["issuer"]);
    let key = &keys["keys"][0];
    assert_eq!(
        (&key["kid"], &key["kty"], &key["use"]),
        (&part(0)["kid"], &"EC".into(), &"sig".into())
    );
    assert!(key["d"].is_null() && key["x"].is_string(), "the public half alone: {key}");
}

/// A WebSocket into a pod begins as a GET; whoever may only look opens none.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_by_websocket_needs_the_right_to_create() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.until(&["get", "serviceaccount", "default"], "it", |row| row.contains("default"));
    kubectl.ok(&["run", "web", "--image=busybox:1.36", "--restart=Never", "--", "sleep", "600"]);
    kubectl.ok(&["wait", "pod/web", "--for=condition=Ready", "--timeout=60s"]);
    kubectl.ok(&["create", "serviceaccount", "looker"]);
    let grant = |name: &str, verb: &str, resources: &str| {
        let (verb, resources) = (format!("--verb={verb}"), format!("--resource={resources}"));
        kubectl.ok(&["create", "role", name, &verb, &resources]);
        let role = format!("--role={name}");
        let whom = "--serviceaccount=default:looker";
        kubectl.ok(&["create", "rolebinding", name, &role, whom]);
    };
    grant("look", "get", "pods/exec,pods/attach,pods/portforward");
    let token = kubectl.ok(&["create", "token", "looker"]);
    let looker = Raw::with_token(&cluster, token.trim()).await;
    let begin = async |what: &str| {
        let headers = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "v4.channel.k8s.io"),
        ];
        let path = format!("/api/v1/namespaces/default/pods/web/{what}");
        let answer = looker.exchange("GET", &path, &headers, Vec::new()).await;
        (answer.code, String::from_utf8_lossy(&answer.body).into_owned())
    };
    let exec = "exec?command=echo&command=hi&stdout=true";
    // By now the role is known; what is refused else says so in other words.
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (code, said) = begin(exec).await;
        assert_eq!(code, 403, "{said}");
        if said.contains("pods \\\"web\\\" is forbidden: \"") {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for other in ["attach?stdout=true", "portforward?ports=80"] {
        let (code, said) = begin(other).await;
        assert_eq!(code, 403, "{other}: {said}");
    }

    grant("open", "create", "pods/exec");
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let (code, said) = begin(exec).await;
        if code != 403 {
            assert_eq!(code, 101, "{said}");
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{said}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, said) = begin("attach?stdout=true").await;
    assert_eq!(code, 403, "the right to one is none to another: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_private_and_tokens_are_bound() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    assert_eq!(std::fs::metadata(&cluster.kubeconfig).unwrap().mode() & 0o777, 0o600);
    assert_no_open_keys(ground.data.path());

    let kubectl = cluster.kubectl();
    let said = kubectl.ok(&["create", "serviceaccount", "reader"]);
    assert_eq!(said, "serviceaccount/reader created\n");
    kubectl.ok(&["create", "role", "reader", "--verb=get,list", "--resource=configmaps"]);
    kubectl.ok(&[
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        "--serviceaccount=default:reader",
    ]);
    let token = kubectl.ok(&["create", "token", "reader", "--duration=10m"]);
    let reader = Raw::with_token(&cluster, token.trim()).await;
    let deadline = tokio::time::Instant::now() + SOON;
    // Authorization follows what was written a moment later.
    loop {
        let answer = reader.get("/api/v1/namespaces/default/configmaps").await;
        if answer.code == 200 {
            break;
        }
        assert_eq!(answer.code, 403, "{}", answer.text);
        assert!(tokio::time::Instant::now() < deadline, "not as its role says: {}", answer.text);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    reader.get("/api/v1/namespaces/default/secrets").await.refused(
        403,
        "Forbidden",
        &["cannot list resource \"secrets\""],
    );
    reader.get("/api/v1/namespaces/kube-system/configmaps").await.refused(
        403,
        "Forbidden",
        &["kube-system"],
    );

    let other = kubectl.ok(&["create", "token", "reader", "--audience=elsewhere"]);
    let other = Raw::with_token(&cluster, other.trim()).await;
    other.get("/api/v1/namespaces/default/configmaps").await.refused(401, "Unauthorized", &[]);
    let mut forged = token.trim().to_owned();
    forged.truncate(forged.len() - 4);
    let forged = Raw::with_token(&cluster, &format!("{forged}AAAA")).await;
    forged.get("/version").await.refused(401, "Unauthorized", &[]);
    kubectl.ok(&["delete", "serviceaccount", "reader"]);
    let deadline = tokio::time::Instant::now() + SOON;
    // So does authentication.
    let mut answer = reader.get("/api/v1/namespaces/default/configmaps").await;
    while answer.code == 200 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = reader.get("/api/v1/namespaces/default/configmaps").await;
    }
    answer.refused(401, "Unauthorized", &[]);
}

fn assert_no_open_keys(directory: &Path) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let (path, mode) = (entry.path(), entry.metadata().unwrap().mode() & 0o777);
        if path.is_dir() {
            assert_no_open_keys(&path);
        } else if ["key", "kubeconfig"]
            .iter()
            .any(|end| path.extension().is_some_and(|own| own == *end))
        {
            assert_eq!(mode, 0o600, "{}", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn components_have_no_more_than_their_rights() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let scheduler = ground.data.path().join("scheduler.kubeconfig");
    let scheduler = Raw::elsewhere(&scheduler, &cluster.url, true).await;
    assert_eq!(scheduler.get("/api/v1/pods").await.code, 200);
    scheduler.get("/api/v1/secrets").await.refused(
        403,
        "Forbidden",
        &["User \"system:kube-scheduler\" cannot list"],
    );
    let kubelet = ground.data.path().join("kubelet-node-1.kubeconfig");
    let kubelet = Raw::elsewhere(&kubelet, &cluster.url, true).await;
    assert_eq!(kubelet.get("/api/v1/nodes/node-1").await.code, 200);
    kubelet.get("/api/v1/secrets").await.refused(
        403,
        "Forbidden",
        &["User \"system:node:node-1\" cannot list"],
    );
    let foreign =
        serde_json::json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-2"}});
    let answer = kubelet.post("/api/v1/nodes", foreign.to_string()).await;
    answer.refused(403, "Forbidden", &["node \"node-1\" is not allowed to modify node \"node-2\""]);

    // A pod of the node's own making may refer to nothing, or the node could read any Secret.
    let mirror = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i",
            "envFrom": [{"secretRef": {"name": "s"}}]}]}});
    let answer = kubelet.post("/api/v1/namespaces/kube-system/pods", mirror.to_string()).await;
    answer.refused(
        403,
        "Forbidden",
        &["can only create pods with an owner reference set to itself"],
    );

    // A token is for a pod that runs on the node, and for nothing else.
    let admin = Raw::admin(&cluster).await;
    let kubectl = cluster.kubectl();
    kubectl
        .until(&["get", "serviceaccount", "default"], "the account", |row| row.contains("default"));
    let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "node-1", "containers": [{"name": "c", "image": "i"}]}});
    let answer = admin.post("/api/v1/namespaces/default/pods", pod.to_string()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    assert_eq!(admin.get("/api/v1/namespaces/default/pods/p").await.code, 200);
    let token = serde_json::json!({"apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest", "spec": {"audiences": []}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let answer = kubelet.post(path, token.to_string()).await;
    answer.refused(403, "Forbidden", &["node requested token not bound to a pod"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kubelet_asks_who_is_there() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let url = format!("https://127.0.0.1:{}", ground.kubelet_port());
    let nobody = Raw::elsewhere(&cluster.kubeconfig, &url, false).await;
    for path in ["/pods", "/metrics", "/containerLogs/a/b/c", "/run/a/b/c"] {
        assert_eq!(nobody.get(path).await.code, 401, "{path}");
    }
    let admin = Raw::elsewhere(&cluster.kubeconfig, &url, true).await;
    let pods = admin.get("/pods").await;
    assert_eq!(pods.code, 200, "{}", pods.text);
    assert_eq!(pods.json()["kind"], "PodList");
    // Through the API server, for those who may.
    let proxied = "/api/v1/nodes/node-1/proxy";
    let kubectl = cluster.kubectl();
    assert_eq!(kubectl.ok(&["get", "--raw", &format!("{proxied}/healthz")]), "ok");
    let through = Raw::admin(&cluster).await;
    assert_eq!(through.get(&format!("{proxied}/pods")).await.json()["kind"], "PodList");
    let stranger = Raw::anonymous(&cluster).await;
    let refused = stranger.get(&format!("{proxied}/pods")).await;
    refused.refused(403, "Forbidden", &["cannot get resource \"nodes/proxy\""]);

    let scheduler =
        Raw::elsewhere(&ground.data.path().join("scheduler.kubeconfig"), &url, true).await;
    let refused = scheduler.get("/pods").await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    assert!(refused.text.contains("system:kube-scheduler"), "{}", refused.text);
}
