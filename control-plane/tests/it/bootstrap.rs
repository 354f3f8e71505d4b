//! A node that is let in by a bootstrap token: its certificate is asked for, approved, signed, kept, and asked for anew.

use crate::{
    cluster::{Cluster, Process},
    kubectl::Kubectl,
    parts::{default_kubectl, eventually, free_port},
};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use kube::{
    Api,
    api::{DynamicObject, ListParams, PostParams},
};
use kubeplane::{
    core::{
        auth::{GROUP_AUTHENTICATED, UserInfo},
        component::{Component, lifecycle},
    },
    credentials::node_user,
    kubelet::ClientCertificate,
    pki::{
        Authority, Kubeconfig, KubeconfigUser, Request, SigningRequest, Terms, Usage, generate_key,
        inspect,
    },
    testing::{TestCluster, run},
};
use serde_json::json;
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;

const START: Duration = Duration::from_secs(60);
const GROUP: &str = "system:bootstrappers";
const BINDINGS: [(&str, &str, &str); 3] = [
    ("ask", "system:node-bootstrapper", GROUP),
    ("first", "system:certificates.k8s.io:certificatesigningrequests:nodeclient", GROUP),
    (
        "next",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        "system:nodes",
    ),
];

async fn bind(cluster: &TestCluster) {
    let gvk =
        kube::core::GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding");
    let resource = kube::api::ApiResource::from_gvk(&gvk);
    let api: Api<DynamicObject> = Api::all_with(cluster.client(), &resource);
    for (name, role, group) in BINDINGS {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
        });
        let binding = serde_json::from_value(binding).unwrap();
        api.create(&PostParams::default(), &binding).await.unwrap();
    }
}

/// Who asked for certificates, and what was said when they were approved, in the order of the requests.
async fn asked(cluster: &TestCluster) -> Vec<(String, String)> {
    let api: Api<CertificateSigningRequest> = Api::all(cluster.client());
    let mut all = api.list(&ListParams::default()).await.unwrap().items;
    all.sort_by_key(|request| request.metadata.creation_timestamp.clone());
    let said = all.into_iter().map(|request| {
        let conditions = request.status.and_then(|status| status.conditions).unwrap_or_default();
        let message = conditions.into_iter().find_map(|own| own.message);
        (request.spec.username.unwrap_or_default(), message.unwrap_or_default())
    });
    said.collect()
}

/// Puts a certificate in the file that is good from now for so many minutes.
fn put(cluster: &TestCluster, file: &Path, minutes: i64) -> String {
    let now = cluster.clock().now();
    let authority = Authority::generate("kubernetes", now).unwrap();
    let key = generate_key().unwrap();
    let node = Request::new("system:node:a", Usage::Client).organization("system:nodes");
    let request = SigningRequest::create(&node, &key).unwrap();
    let request = SigningRequest::parse(request.as_bytes()).unwrap();
    let until = now.saturating_add(jiff::SignedDuration::from_mins(minutes)).unwrap();
    let terms = Terms { usages: vec!["client auth"], not_before: now, not_after: until };
    let text = format!("{}{key}", authority.sign(&request, &terms).unwrap());
    fs::write(file, &text).unwrap();
    text
}

#[test]
fn a_node_asks_for_its_certificate_and_for_the_next_one_in_time() {
    const CONTROLLERS: &str = "certificatesigningrequest-approving-controller,\
         certificatesigningrequest-signing-controller";
    let builder = TestCluster::builder().controllers_named(CONTROLLERS).paused();
    run(builder, async |cluster| {
        bind(&cluster).await;
        let first = UserInfo::new("system:bootstrap:abcdef", [GROUP, GROUP_AUTHENTICATED]);
        let first = cluster.client_as(first);
        let directory = cluster.directory().join("node");
        let certificate = ClientCertificate::new("a", &directory, cluster.clock());
        let (own, bootstrap) = (certificate.clone(), first.clone());
        let obtained =
            AbortOnDropHandle::new(tokio::spawn(async move { own.obtain(&bootstrap).await }));
        cluster.advance(Duration::from_secs(30)).await;
        assert!(obtained.is_finished(), "{:?}", asked(&cluster).await);
        let info = certificate.valid().unwrap();
        assert_eq!(
            (info.common_name.as_str(), info.organizations),
            ("system:node:a", vec!["system:nodes".to_owned()])
        );
        let approved = |what: &str| {
            format!("Auto approving {what} client certificate after SubjectAccessReview.")
        };
        let by_others = ("system:bootstrap:abcdef".to_owned(), approved("kubelet"));
        assert_eq!(asked(&cluster).await, std::slice::from_ref(&by_others));

        let short = put(&cluster, certificate.file(), 60);
        let renewed = Arc::new(AtomicU64::new(0));
        let told = renewed.clone();
        let rotation = certificate.clone().rotation(cluster.client_as(node_user("a")));
        let rotation = rotation.bootstrap(first).on_renewed(move || {
            told.fetch_add(1, Ordering::SeqCst);
        });
        let (own, supervision) = lifecycle();
        let running = AbortOnDropHandle::new(tokio::spawn(Box::new(rotation).run(own)));
        cluster.advance(Duration::from_secs(41 * 60)).await;
        assert_eq!(fs::read_to_string(certificate.file()).unwrap(), short, "it is not due yet");
        cluster.advance(Duration::from_secs(15 * 60)).await;
        assert_ne!(fs::read_to_string(certificate.file()).unwrap(), short);
        assert_eq!(renewed.load(Ordering::SeqCst), 1);
        let by_itself = ("system:node:a".to_owned(), approved("self kubelet"));
        assert_eq!(asked(&cluster).await, [by_others.clone(), by_itself.clone()]);
        supervision.stop();
        running.await.unwrap().unwrap();

        // Nobody knows a node whose certificate has ended.
        put(&cluster, certificate.file(), -1);
        let stranger =
            cluster.client_as(UserInfo::new("system:anonymous", ["system:unauthenticated"]));
        let first = cluster
            .client_as(UserInfo::new("system:bootstrap:abcdef", [GROUP, GROUP_AUTHENTICATED]));
        let rotation = certificate.clone().rotation(stranger).bootstrap(first);
        let (own, supervision) = lifecycle();
        let running = AbortOnDropHandle::new(tokio::spawn(Box::new(rotation).run(own)));
        cluster.advance(Duration::from_secs(30)).await;
        assert!(certificate.valid().is_some());
        assert_eq!(asked(&cluster).await, [by_others.clone(), by_itself, by_others]);
        supervision.stop();
        running.await.unwrap().unwrap();
    });
}

/// As kubeadm leaves its first node, whose kubeconfig is that of an administrator.
#[test]
fn a_node_with_a_certificate_of_somebody_else_gets_its_own_at_once() {
    const CONTROLLERS: &str = "certificatesigningrequest-approving-controller,\
         certificatesigningrequest-signing-controller";
    let builder = TestCluster::builder().controllers_named(CONTROLLERS).paused();
    run(builder, async |cluster| {
        bind(&cluster).await;
        let now = cluster.clock().now();
        let authority = Authority::generate("kubernetes", now).unwrap();
        let admin = Request::new("kubernetes-admin", Usage::Client).organization("system:masters");
        let admin = authority.issue(&admin, now).unwrap().certificate;
        let directory = cluster.directory().join("node");
        let certificate = ClientCertificate::new("a", &directory, cluster.clock());
        let certificate = certificate.until_then(admin);
        assert!(!certificate.file().exists());
        let rotation = certificate.clone().rotation(cluster.client());
        let (own, supervision) = lifecycle();
        let running = AbortOnDropHandle::new(tokio::spawn(Box::new(rotation).run(own)));
        cluster.advance(Duration::from_secs(30)).await;
        assert_eq!(certificate.valid().unwrap().common_name, "system:node:a");
        let said = asked(&cluster).await;
        cluster.advance(Duration::from_secs(3600)).await;
        assert_eq!(asked(&cluster).await, said, "that one is good for long");
        assert_eq!(said.len(), 1, "{said:?}");
        supervision.stop();
        running.await.unwrap().unwrap();
    });
}

const TOKEN: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData: {token-id: abcdef, token-secret: 0123456789abcdef, usage-bootstrap-authentication: "true"}
"#;

#[test]
fn a_kubelet_with_a_bootstrap_token_becomes_a_node() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("server");
    let port = free_port();
    let start = |arguments: Vec<String>, ready: &str| {
        let arguments: Vec<_> = arguments.into_iter().chain(["--log=info".to_owned()]).collect();
        let mut process = Process::start(&arguments);
        process.wait_for_line(ready, START);
        process
    };
    let server = [
        "apiserver".to_owned(),
        format!("--listen=127.0.0.1:{port}"),
        format!("--data-dir={}", data.display()),
    ];
    let api = start(server.to_vec(), "custom-resources ready");
    let controllers = [
        "controllers".to_owned(),
        format!("--kubeconfig={}", data.join("controller-manager.kubeconfig").display()),
        format!("--data-dir={}", data.display()),
        "--leader-elect=false".to_owned(),
        "--listen=127.0.0.1:0".to_owned(),
    ];
    let _controllers = start(controllers.to_vec(), "kube-controller-manager ready");
    let url = format!("https://127.0.0.1:{port}");
    let cluster = Cluster { process: api, kubeconfig: data.join("admin.kubeconfig"), url };
    let kubectl = Kubectl::new(&default_kubectl(), &cluster.kubeconfig);
    kubectl.ok_with(&["apply", "-f", "-"], TOKEN);
    for (name, role, group) in BINDINGS {
        let (role, group) = (format!("--clusterrole={role}"), format!("--group={group}"));
        kubectl.ok(&["create", "clusterrolebinding", name, &role, &group]);
    }
    let node = directory.path().join("node");
    fs::create_dir(&node).unwrap();
    let bootstrap = Kubeconfig {
        cluster: "c".to_owned(),
        server: cluster.url.clone(),
        authority: fs::read_to_string(data.join("pki/ca.crt")).unwrap(),
        user: "newcomer".to_owned(),
        credentials: KubeconfigUser::Token("abcdef.0123456789abcdef".to_owned()),
    };
    bootstrap.write(&node.join("bootstrap.kubeconfig")).unwrap();
    let kubelet = [
        "kubelet".to_owned(),
        format!("--bootstrap-kubeconfig={}", node.join("bootstrap.kubeconfig").display()),
        format!("--kubeconfig={}", node.join("kubelet.kubeconfig").display()),
        format!("--cert-dir={}", node.join("pki").display()),
        format!("--data-dir={}", node.join("data").display()),
        "--node-name=newcomer".to_owned(),
        "--node-ip=127.0.0.1".to_owned(),
        "--runtime=simulated".to_owned(),
        format!("--kubelet-listen=127.0.0.1:{}", free_port()),
    ];
    let mut running = start(kubelet.to_vec(), "kubelet ready");
    kubectl.ok(&["wait", "--for=condition=Ready", "node/newcomer", "--timeout=60s"]);
    let kept = fs::read_to_string(node.join("pki/kubelet-client-current.pem")).unwrap();
    let info = inspect(&kept).unwrap();
    assert_eq!(info.common_name, "system:node:newcomer");
    let file = fs::read_to_string(node.join("kubelet.kubeconfig")).unwrap();
    assert!(file.contains("kubelet-client-current.pem") && !file.contains("abcdef"), "{file}");
    let names = || kubectl.ok(&["get", "csr", "--output=name"]);
    let asked = names();
    assert_eq!(asked.lines().count(), 1, "{asked}");

    // The token is of no further use, nor is the file it was in.
    assert!(running.interrupt().success());
    kubectl.ok(&["delete", "secret", "-n", "kube-system", "bootstrap-token-abcdef"]);
    fs::remove_file(node.join("bootstrap.kubeconfig")).unwrap();
    let last = kubectl.ok(&["get", "lease", "-n", "kube-node-lease", "newcomer", "-o", "yaml"]);
    let _running = start(kubelet.to_vec(), "kubelet ready");
    eventually("the node goes on", START, || {
        let now = kubectl.ok(&["get", "lease", "-n", "kube-node-lease", "newcomer", "-o", "yaml"]);
        if now == last { Err(now) } else { Ok(()) }
    });
    assert_eq!(names(), asked, "a certificate that is good is used again");
}
