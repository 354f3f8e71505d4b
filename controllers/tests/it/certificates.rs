use crate::cluster::{Cluster, eventually};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{Api, api::PostParams};
use kubeplane_clock::PausedClock;
use kubeplane_core::{
    Object,
    auth::{GROUP_AUTHENTICATED, UserInfo},
};
use kubeplane_pki::{Authority, Request, SigningRequest, Usage, generate_key, inspect};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

fn request(name: &str, signer: &str, subject: &Request, usages: &[&str]) -> Value {
    let text = SigningRequest::create(subject, &generate_key().unwrap()).unwrap();
    json!({"metadata": {"name": name}, "spec": {
        "request": STANDARD.encode(text), "signerName": signer, "usages": usages,
        "expirationSeconds": 3600}})
}

fn api(client: kube::Client) -> Api<CertificateSigningRequest> {
    Api::all(client)
}

async fn approve(cluster: &Cluster, name: &str) {
    let requests = api(cluster.client.clone());
    let mut request = requests.get(name).await.unwrap();
    let approved = json!([{"type": "Approved", "status": "True", "reason": "ByHand"}]);
    request.status.get_or_insert_default().conditions = serde_json::from_value(approved).unwrap();
    let params = PostParams::default();
    requests.replace_subresource("approval", name, &params, &request).await.unwrap();
}

async fn certificate(cluster: &Cluster, name: &str) -> String {
    let requests = api(cluster.client.clone());
    eventually("the certificate is there", || async {
        let status = requests.get(name).await.unwrap().status.unwrap_or_default();
        match &status.certificate {
            Some(certificate) => Ok(String::from_utf8(certificate.0.clone()).unwrap()),
            None => Err(format!("{status:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kubelet_that_may_gets_its_client_certificate_by_itself() {
    let cluster = Cluster::start().await;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "renew"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}]});
    cluster.create_any(&Object::from_value(binding).unwrap()).await;
    let creator = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "ask"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:node-bootstrapper"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:nodes"}]});
    cluster.create_any(&Object::from_value(creator).unwrap()).await;
    let node = UserInfo::new("system:node:a", ["system:nodes", GROUP_AUTHENTICATED]);
    let subject = Request::new("system:node:a", Usage::Client).organization("system:nodes");
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let usages = ["digital signature", "client auth"];
    let own = request("own", signer, &subject, &usages);
    let requests = api(cluster.client_as(node));
    let own: CertificateSigningRequest = serde_json::from_value(own).unwrap();
    // Its rights are seen a moment after they were given.
    eventually("the node may ask", || async {
        let created = requests.create(&PostParams::default(), &own).await;
        created.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let info = inspect(&certificate(&cluster, "own").await).unwrap();
    assert_eq!(info.common_name, "system:node:a");
    assert_eq!(info.organizations, ["system:nodes"]);
    let status = requests.get("own").await.unwrap().status.unwrap();
    let approved = &status.conditions.unwrap()[0];
    assert_eq!(approved.reason.as_deref(), Some("AutoApproved"));
    assert_eq!(
        approved.message.as_deref(),
        Some("Auto approving self kubelet client certificate after SubjectAccessReview.")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_approved_is_signed_and_what_is_no_client_certificate_fails() {
    let cluster = Cluster::start().await;
    let subject = Request::new("jane", Usage::Client).organization("developers");
    cluster
        .create::<CertificateSigningRequest>(request("jane", CLIENT, &subject, &["client auth"]))
        .await;
    approve(&cluster, "jane").await;
    let info = inspect(&certificate(&cluster, "jane").await).unwrap();
    assert_eq!(
        (info.common_name.as_str(), info.organizations),
        ("jane", vec!["developers".into()])
    );
    let hours = info.not_after.duration_since(info.not_before).as_hours();
    assert_eq!(hours, 1);

    let wrong = request("wrong", CLIENT, &subject, &["server auth"]);
    cluster.create::<CertificateSigningRequest>(wrong).await;
    approve(&cluster, "wrong").await;
    let requests = api(cluster.client.clone());
    let failed = eventually("the request fails", || async {
        let status = requests.get("wrong").await.unwrap().status.unwrap_or_default();
        let conditions = status.conditions.unwrap_or_default();
        let failed = conditions.iter().find(|condition| condition.type_ == "Failed").cloned();
        failed.ok_or_else(|| format!("{conditions:?}"))
    })
    .await;
    assert_eq!(failed.reason.as_deref(), Some("SignerValidationFailure"));
    let message = "invalid usage for client certificate: server auth";
    assert_eq!(failed.message.as_deref(), Some(message));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_may_have_an_authority_of_its_own() {
    let mut cluster = Cluster::start().await;
    let name = "authority of clients";
    let own = Authority::generate(name, kubeplane_clock::real().now()).unwrap();
    cluster.sign_with(CLIENT, own).await;
    let subject = Request::new("jane", Usage::Client);
    let asked = request("jane", CLIENT, &subject, &["client auth"]);
    cluster.create::<CertificateSigningRequest>(asked).await;
    approve(&cluster, "jane").await;
    let issued = certificate(&cluster, "jane").await;
    let first = issued.split("-----END").next().unwrap();
    let text: String = first.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).unwrap();
    let says = der.windows(name.len()).any(|part| part == name.as_bytes());
    assert!(says, "it names who issued it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_nobody_decides_go_after_a_day() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let cluster = Cluster::with_clock(Arc::new(clock.clone())).await;
    let subject = Request::new("jane", Usage::Client);
    let old = request("old", CLIENT, &subject, &["client auth"]);
    cluster.create::<CertificateSigningRequest>(old).await;
    clock.advance(Duration::from_secs(23 * 3600));
    let requests = api(cluster.client.clone());
    assert!(requests.get_opt("old").await.unwrap().is_some());
    clock.advance(Duration::from_secs(2 * 3600));
    // Who looks every hour may do so before its cache has seen the request.
    eventually("it goes", || async {
        clock.advance(Duration::from_secs(3600));
        let left = requests.get_opt("old").await.unwrap();
        left.map_or(Ok(()), |_| Err("it is there".to_owned()))
    })
    .await;
}
