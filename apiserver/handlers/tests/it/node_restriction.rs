//! What a node may not do, although its rights would let it.

use crate::harness::Server;
use async_trait::async_trait;
use base64::Engine as _;
use kubeplane_auth::TokenIssuer;
use kubeplane_core::{
    Definition, GroupResource,
    admission::{Admission, Operation, Request},
    features::Features,
    status::{ApiError, ApiResult},
};
use kubeplane_handlers::{ServiceAccountToken, admission::NodeRestriction};
use serde_json::{Value, json};
use std::sync::Arc;

const PODS: &str = "/api/v1/namespaces/default/pods";
const ONE: &str = "system:node:one";

async fn server() -> Server {
    Server::with(|builder| builder.admit(NodeRestriction::default())).await
}

fn eviction(name: &str) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}})
}

#[tokio::test]
async fn a_node_evicts_its_own_pods_alone() {
    let server = server().await;
    server.pod("mine", "one").await;
    server.pod("theirs", "two").await;
    let path = |name: &str| format!("{PODS}/{name}/eviction");
    let refused = server.as_user(ONE, "POST", &path("theirs"), &eviction("theirs")).await;
    refused.forbidden("can only evict pods with spec.nodeName set to itself");
    let theirs = server.admin("GET", &format!("{PODS}/theirs"), &Value::Null).await.expect(200);
    assert!(theirs["metadata"]["deletionTimestamp"].is_null(), "{theirs}");
    server.as_user(ONE, "POST", &path("mine"), &eviction("mine")).await.expect(201);
    let refused = server.as_user(ONE, "DELETE", &format!("{PODS}/theirs"), &Value::Null).await;
    refused.forbidden("can only delete pods with spec.nodeName set to itself");
}

#[tokio::test]
async fn a_node_writes_the_status_of_its_own_pods_and_not_their_labels() {
    let server = server().await;
    server.pod("mine", "one").await;
    server.pod("theirs", "two").await;
    let path = |name: &str| format!("{PODS}/{name}/status");
    let running = json!({"status": {"phase": "Running"}});
    server.as_user(ONE, "PATCH", &path("mine"), &running).await.expect(200);
    let refused = server.as_user(ONE, "PATCH", &path("theirs"), &running).await;
    refused.forbidden("can only update pod status for pods with spec.nodeName set to itself");
    for labels in [json!({"app": "bank"}), json!({"app": null}), json!({"new": "one"})] {
        let patch = json!({"metadata": {"labels": labels}, "status": {"phase": "Failed"}});
        let refused = server.as_user(ONE, "PATCH", &path("mine"), &patch).await;
        refused.forbidden("cannot update labels through pod status");
    }
    let mine = server.admin("GET", &format!("{PODS}/mine"), &Value::Null).await.expect(200);
    assert_eq!(mine["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(mine["status"]["phase"], "Running");
    let whole = server.as_user(ONE, "PATCH", &format!("{PODS}/mine"), &running).await;
    whole.forbidden(
        "unexpected operation \"UPDATE\", node \"one\" can only create and delete mirror pods",
    );
    let claims =
        json!({"status": {"resourceClaimStatuses": [{"name": "a", "resourceClaimName": "b"}]}});
    let refused = server.as_user(ONE, "PATCH", &path("mine"), &claims).await;
    refused.forbidden("node \"one\" cannot update resource claim statues");
}

#[tokio::test]
async fn a_node_leaves_the_labels_of_operators_as_they_are() {
    const RESERVED: &str = "node-restriction.kubernetes.io/tier";
    let server = server().await;
    let nodes = "/api/v1/nodes";
    let named = |labels: Value| json!({"metadata": {"name": "one", "labels": labels}});
    let refused = server.as_user(ONE, "POST", nodes, &named(json!({RESERVED: "gold"}))).await;
    refused.forbidden(
        "node \"one\" is not allowed to set the following labels: node-restriction.kubernetes.io/tier",
    );
    let own = json!({"kubernetes.io/hostname": "one", "example.org/rack": "4"});
    server.as_user(ONE, "POST", nodes, &named(own)).await.expect(201);
    let path = "/api/v1/nodes/one";
    let label = |key: &str, value: Value| json!({"metadata": {"labels": {key: value}}});
    for key in [RESERVED, "kubernetes.io/role", "x.k8s.io/y"] {
        let refused = server.as_user(ONE, "PATCH", path, &label(key, "mine".into())).await;
        refused.forbidden(key);
        server.admin("PATCH", path, &label(key, "gold".into())).await.expect(200);
        for change in [json!("silver"), Value::Null] {
            for place in [path.to_owned(), format!("{path}/status")] {
                let refused =
                    server.as_user(ONE, "PATCH", &place, &label(key, change.clone())).await;
                refused.forbidden(key);
            }
        }
    }
    server.as_user(ONE, "PATCH", path, &label("example.org/rack", "5".into())).await.expect(200);
    let node = server.admin("GET", path, &Value::Null).await.expect(200);
    assert_eq!(node["metadata"]["labels"][RESERVED], "gold");
    let taints = json!({"spec": {"taints": []}});
    server
        .admin("PATCH", path, &json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}))
        .await
        .expect(200);
    server.as_user(ONE, "PATCH", path, &taints).await.forbidden("is not allowed to modify taints");
    let other = server.as_user("system:node:two", "PATCH", path, &label("a", "b".into())).await;
    other.forbidden("is not allowed to modify node");
}

/// Refuses what it has been told to, and so shows that it was asked.
#[derive(Debug)]
struct NoNodeTwo;

#[async_trait]
impl Admission for NoNodeTwo {
    fn name(&self) -> &'static str {
        "NoNodeTwo"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && &*definition.plural == "pods" && subresource == "binding"
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let target = request.object.as_deref().map(|object| object.text(&["target", "name"]));
        match target {
            Some("two") => Err(ApiError::bad_request("node two is closed")),
            _ => Ok(()),
        }
    }
}

#[tokio::test]
async fn bindings_pass_admission() {
    let server =
        Server::with(|builder| builder.admit(NodeRestriction::default()).admit(NoNodeTwo)).await;
    server.pod("free", "").await;
    let path = format!("{PODS}/free/binding");
    let binding = |node: &str| {
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "free"},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node}})
    };
    let refused = server.as_user(ONE, "POST", &path, &binding("one")).await;
    refused.forbidden(
        "unexpected pod subresource \"binding\", only 'status' and 'eviction' are allowed",
    );
    let refused = server.as_user("system:kube-scheduler", "POST", &path, &binding("two")).await;
    assert!(refused.expect(400)["message"].as_str().unwrap().contains("node two is closed"));
    let pod = server.admin("GET", &format!("{PODS}/free"), &Value::Null).await.expect(200);
    assert!(pod["spec"]["nodeName"].is_null(), "{pod}");
    server.as_user("system:kube-scheduler", "POST", &path, &binding("one")).await.expect(201);
    let pod = server.admin("GET", &format!("{PODS}/free"), &Value::Null).await.expect(200);
    assert_eq!(pod["spec"]["nodeName"], "one");
}

#[tokio::test]
async fn a_binding_that_is_only_tried_is_refused_as_a_real_one() {
    let server = server().await;
    server.pod("free", "").await;
    let binding = |pod: &str| {
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"kind": "Node", "name": "one"}})
    };
    let path = |pod: &str, query: &str| format!("{PODS}/{pod}/binding{query}");
    let dry = "?dryRun=All";
    server.admin("POST", &path("none", dry), &binding("none")).await.expect(404);
    server.admin("POST", &path("free", dry), &binding("free")).await.expect(201);
    let pod = server.admin("GET", &format!("{PODS}/free"), &Value::Null).await.expect(200);
    assert!(pod["spec"]["nodeName"].is_null(), "{pod}");
    server.admin("POST", &path("free", ""), &binding("free")).await.expect(201);
    server.admin("POST", &path("free", dry), &binding("free")).await.expect(409);
}

#[tokio::test]
async fn what_is_named_after_a_node_is_that_nodes() {
    let server = server().await;
    let named = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let csi = "/apis/storage.k8s.io/v1/csinodes";
    let drivers = || json!({"drivers": []});
    let refused = server.as_user(ONE, "POST", csi, &named("two", drivers())).await;
    refused.forbidden("can only access CSINode with the same name as the requesting node");
    server.as_user(ONE, "POST", csi, &named("one", drivers())).await.expect(201);
    server.admin("POST", csi, &named("two", drivers())).await.expect(201);
    let refused = server.as_user(ONE, "DELETE", &format!("{csi}/two"), &Value::Null).await;
    refused.forbidden("can only access CSINode with the same name as the requesting node");

    let slices = "/apis/resource.k8s.io/v1/resourceslices";
    let slice = |name: &str, node: &str| {
        let pool = json!({"name": node, "generation": 1, "resourceSliceCount": 1});
        named(
            name,
            json!({"driver": "d.example.com", "nodeName": node, "pool": pool, "devices": []}),
        )
    };
    let refused = server.as_user(ONE, "POST", slices, &slice("a", "two")).await;
    let why = "can only create ResourceSlice with the same NodeName as the requesting node";
    refused.forbidden(why);
    server.as_user(ONE, "POST", slices, &slice("a", "one")).await.expect(201);
    server.admin("POST", slices, &slice("b", "two")).await.expect(201);
    let refused = server.as_user(ONE, "DELETE", &format!("{slices}/b"), &Value::Null).await;
    refused
        .forbidden("can only delete ResourceSlice with the same NodeName as the requesting node");

    let leases =
        |namespace: &str| format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
    let refused = server.as_user(ONE, "POST", &leases("default"), &named("one", json!({}))).await;
    refused.forbidden("can only access leases in the \"kube-node-lease\" system namespace");
    let own = leases("kube-node-lease");
    let refused = server.as_user(ONE, "POST", &own, &named("two", json!({}))).await;
    refused.forbidden("can only access node lease with the same name as the requesting node");
    server.as_user(ONE, "POST", &own, &named("one", json!({}))).await.expect(201);
    let nobody = server.as_user("system:node:", "POST", &own, &named("one", json!({}))).await;
    nobody.forbidden("could not determine node from user \"system:node:\"");
}

#[tokio::test]
async fn a_node_reports_the_size_of_claims_and_nothing_else() {
    let server = server().await;
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = json!({"metadata": {"name": "c"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let refused = server.as_user(ONE, "POST", claims, &claim).await;
    refused.forbidden("may only update PVC status");
    server.admin("POST", claims, &claim).await.expect(201);
    let path = format!("{claims}/c/status");
    let resizing = json!({"status": {"conditions": [{"type": "Resizing", "status": "True"}]}});
    server.as_user(ONE, "PATCH", &path, &resizing).await.expect(200);
    for change in [
        json!({"status": {"phase": "Lost"}}),
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"finalizers": ["a.b/c"]}}),
    ] {
        let refused = server.as_user(ONE, "PATCH", &path, &change).await;
        refused.forbidden(
            "node \"one\" is not allowed to update fields other than status.quantity and status.conditions: ",
        );
    }
}

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn signing_request(name: &str, signer: &str, usage: &str) -> Value {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let key = rcgen::KeyPair::generate().unwrap();
    let text = params.serialize_request(&key).unwrap().pem().unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    json!({"metadata": {"generateName": "r-"}, "spec": {
        "request": text, "signerName": format!("kubernetes.io/{signer}"), "usages": [usage]}})
}

#[tokio::test]
async fn a_node_asks_for_more_where_gates_let_it() {
    let gates = "AllowInsecureKubeletCertificateSigningRequests=true,\
        ServiceAccountNodeAudienceRestriction=false";
    let server = with_tokens(NodeRestriction::new(&gates.parse().unwrap())).await;
    let other = signing_request("system:node:two", "kubelet-serving", "server auth");
    server.as_user(ONE, "POST", REQUESTS, &other).await.expect(201);
    let pod = server.admin("GET", &format!("{PODS}/plain"), &Value::Null).await.expect(200);
    let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": "plain",
        "uid": pod["metadata"]["uid"]});
    let asked = json!({"spec": {"audiences": ["vault"], "boundObjectRef": reference}});
    let path = format!("{ACCOUNTS}/default/token");
    server.as_user(ONE, "POST", &path, &asked).await.expect(201);
}

#[tokio::test]
async fn a_node_asks_for_no_certificate_but_its_own() {
    let server = server().await;
    for (signer, usage) in
        [("kubelet-serving", "server auth"), ("kube-apiserver-client-kubelet", "client auth")]
    {
        let other = signing_request("system:node:two", signer, usage);
        let refused = server.as_user(ONE, "POST", REQUESTS, &other).await;
        refused.forbidden("can only create a node CSR with CN=system:node:one");
        let own = signing_request("system:node:one", signer, usage);
        server.as_user(ONE, "POST", REQUESTS, &own).await.expect(201);
    }
    let plain = signing_request("jane", "kube-apiserver-client", "client auth");
    server.as_user(ONE, "POST", REQUESTS, &plain).await.expect(201);
}

fn tokens() -> Arc<ServiceAccountToken> {
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let issuer = TokenIssuer::new("https://issuer", &key, vec![], kubeplane_clock::real()).unwrap();
    Arc::new(ServiceAccountToken::new(issuer))
}

#[tokio::test]
async fn an_account_that_was_replaced_has_no_token_unless_that_is_not_looked_at() {
    let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "metadata": {"uid": "other"}, "spec": {"audiences": ["vault"]}});
    let path = format!("{ACCOUNTS}/default/token");
    for (gates, code) in [("", 409), ("TokenRequestServiceAccountUIDValidation=false", 201)] {
        let accounts = GroupResource::new("", "serviceaccounts");
        let features: Features = gates.parse().unwrap();
        let server =
            Server::with(|builder| builder.features(features).handler(accounts, "token", tokens()))
                .await;
        let account = json!({"metadata": {"name": "default"}});
        server.admin("POST", ACCOUNTS, &account).await.expect(201);
        let answer = server.admin("POST", &path, &asked).await;
        answer.expect(code);
        let warned = answer.headers.get("warning").map(|text| text.to_str().unwrap().to_owned());
        assert_eq!(warned.is_some(), code == 201, "{warned:?}");
        let told = format!("{} {}", answer.text, warned.unwrap_or_default());
        assert!(told.contains("the UID in the token request (other) does not match"), "{told}");
    }
}

/// A server that gives out tokens, with pods that have one for `vault`, for the API server, and for what a driver wants.
async fn with_tokens(held: NodeRestriction) -> Server {
    let accounts = GroupResource::new("", "serviceaccounts");
    let server =
        Server::with(|builder| builder.admit(held).handler(accounts, "token", tokens())).await;
    let account = json!({"metadata": {"name": "default"}});
    server.admin("POST", ACCOUNTS, &account).await.expect(201);
    let driver = json!({"metadata": {"name": "d.example.com"}, "spec": {"tokenRequests": [{"audience": "disk"}]}});
    let drivers = "/apis/storage.k8s.io/v1/csidrivers";
    server.admin("POST", drivers, &driver).await.expect(201);
    let token = |token: Value| json!({"name": "t", "projected": {"sources": [{"serviceAccountToken": token}]}});
    for (name, node, volume) in [
        ("vault", "one", token(json!({"path": "p", "audience": "vault"}))),
        ("plain", "one", token(json!({"path": "p"}))),
        ("disk", "one", json!({"name": "v", "csi": {"driver": "d.example.com"}})),
        ("far", "two", token(json!({"path": "p"}))),
    ] {
        let pod = json!({"metadata": {"name": name}, "spec": {
            "nodeName": node, "serviceAccountName": "default", "volumes": [volume],
            "containers": [{"name": "c", "image": "i"}]}});
        server.admin("POST", PODS, &pod).await.expect(201);
    }
    // What is listed is what admission sees.
    for path in [PODS, drivers] {
        server.admin("GET", path, &Value::Null).await.expect(200);
    }
    server
}

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

#[tokio::test]
async fn a_node_gets_tokens_for_those_whom_its_pods_name() {
    let server = with_tokens(NodeRestriction::default()).await;
    let ask = async |pod: &str, audiences: Value| {
        let bound = server.admin("GET", &format!("{PODS}/{pod}"), &Value::Null).await.expect(200);
        let reference = json!({"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": bound["metadata"]["uid"]});
        let body = json!({"spec": {"audiences": audiences, "boundObjectRef": reference}});
        server.as_user(ONE, "POST", &format!("{ACCOUNTS}/default/token"), &body).await
    };
    ask("vault", json!(["vault"])).await.expect(201);
    ask("disk", json!(["disk"])).await.expect(201);
    let own = ask("plain", Value::Null).await.expect(201);
    assert_eq!(own["spec"]["audiences"], json!(["https://issuer"]));
    // The authorizer lets nodes have these.
    ask("plain", json!(["open"])).await.expect(201);
    for (pod, audiences, asked) in [
        ("vault", json!(["other"]), "other"),
        ("vault", Value::Null, ""),
        ("plain", json!(["vault"]), "vault"),
        ("disk", json!(["vault"]), "vault"),
    ] {
        let why = format!(
            "audience {asked:?} not found in pod spec volume, {ONE} is not authorized to request tokens for this audience"
        );
        ask(pod, audiences).await.forbidden(&why);
    }
    let both = ask("vault", json!(["vault", "other"])).await;
    both.forbidden("node may only request 0 or 1 audiences");
    let far = ask("far", Value::Null).await;
    far.forbidden("node requested token bound to a pod scheduled on a different node");
    let path = format!("{ACCOUNTS}/default/token");
    for (reference, why) in [
        (Value::Null, "node requested token not bound to a pod"),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "name": "plain"}),
            "node requested token with a pod binding without a uid",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "name": "plain", "uid": "x"}),
            "the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated",
        ),
    ] {
        let body = json!({"spec": {"boundObjectRef": reference}});
        server.as_user(ONE, "POST", &path, &body).await.forbidden(why);
    }
}
