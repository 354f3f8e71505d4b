//! Options of the API server: both address families, older versions, the audit log.

use crate::{
    cluster::{Cluster, Ground, Process, START},
    kubectl::has_row,
    raw::Raw,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

const CLAIM: &str = r#"
apiVersion: resource.k8s.io/v1beta1
kind: ResourceClaim
metadata: {name: claim}
spec: {devices: {requests: [{name: gpu, deviceClassName: gpu.example.com}]}}
"#;

const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Request
  resources: [{group: "", resources: [services]}]
  verbs: [create]
  users: [kubernetes-admin, admin]
- level: Metadata
  nonResourceURLs: [/version]
"#;

const CRD: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
"#;

/// A server that takes lists of audit events at `/audit`, its kubeconfig, and what comes.
fn taker() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}/audit", listener.local_addr().unwrap());
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "c", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    });
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let mut reader = BufReader::new(stream);
            loop {
                let (mut head, mut length) = (String::new(), 0);
                while reader.read_line(&mut head).unwrap_or(0) > 2 {
                    let line = head.lines().last().unwrap_or_default().to_ascii_lowercase();
                    if let Some(sent) = line.strip_prefix("content-length: ") {
                        length = sent.trim().parse().unwrap();
                    }
                }
                let mut body = vec![0; length];
                if head.is_empty() || reader.read_exact(&mut body).is_err() {
                    break;
                }
                assert!(head.starts_with("POST /audit HTTP/1.1"), "{head}");
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                let told = sender.send(serde_json::from_slice(&body).unwrap()).is_ok();
                if !told || reader.get_mut().write_all(answer).is_err() {
                    break;
                }
            }
        }
    });
    (kubeconfig.to_string(), receiver)
}

fn api_service(cluster: &Cluster) -> Value {
    cluster.kubectl().json(&["get", "apiservice", "v1.example.com"])["metadata"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_both_families_serves_older_versions_and_keeps_a_log() {
    let files = tempfile::tempdir().unwrap();
    let (policy, log) = (files.path().join("policy.yaml"), files.path().join("audit.log"));
    fs::write(&policy, POLICY).unwrap();
    let (kubeconfig, taken) = taker();
    let webhook = files.path().join("webhook.json");
    fs::write(&webhook, kubeconfig).unwrap();
    let ground = Ground::simulated().with(&[
        "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
        "--runtime-config=resource.k8s.io/v1beta1=true,resource.k8s.io/v1beta2=true",
        &format!("--audit-policy-file={}", policy.display()),
        &format!("--audit-log-path={}", log.display()),
        &format!("--audit-webhook-config-file={}", webhook.display()),
        "--audit-webhook-batch-max-wait=500ms",
        "--controllers=*,-cronjob",
    ]);
    let mut cluster = ground.start();
    let kubectl = cluster.kubectl();
    let ranges = kubectl.ok(&["get", "servicecidr", "kubernetes"]);
    assert!(ranges.contains("10.96.0.0/16,fd00:10:96::/112"), "{ranges}");
    let made = kubectl.ok(&["create", "service", "nodeport", "web", "--tcp=80"]);
    assert_eq!(made, "service/web created\n");
    let patch = r#"{"spec":{"ipFamilyPolicy":"RequireDualStack"}}"#;
    kubectl.ok(&["patch", "service", "web", "-p", patch]);
    let web = kubectl.json(&["get", "service", "web"]);
    assert_eq!(web["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    let six = web["spec"]["clusterIPs"][1].as_str().unwrap();
    let address = kubectl.ok(&["get", "ipaddress", six]);
    assert!(has_row(&address, &[six, "services/default/web"]), "{address}");

    let said = kubectl.ok_with(&["create", "-f", "-"], CLAIM);
    assert_eq!(said, "resourceclaim.resource.k8s.io/claim created\n");
    let raw = Raw::admin(&cluster).await;
    let checks = raw.get("/components/kube-controller-manager/readyz?verbose").await.text;
    assert!(checks.contains("[+]deployment-controller"), "{checks}");
    assert!(!checks.contains("cronjob-controller"), "{checks}");
    let path = "namespaces/default/resourceclaims/claim";
    let v1 = raw.get(&format!("/apis/resource.k8s.io/v1/{path}")).await.json();
    let request = &v1["spec"]["devices"]["requests"][0];
    assert_eq!(request["exactly"]["deviceClassName"], "gpu.example.com");
    assert_eq!(
        (&request["exactly"]["count"], &request["deviceClassName"]),
        (&json!(1), &Value::Null)
    );
    let older = raw.get(&format!("/apis/resource.k8s.io/v1beta1/{path}")).await.json();
    assert_eq!(older["spec"]["devices"]["requests"][0]["deviceClassName"], "gpu.example.com");
    let table = kubectl.ok(&["get", "resourceclaims.v1beta2.resource.k8s.io"]);
    assert!(has_row(&table, &["claim", "pending"]), "{table}");

    let events = fs::read_to_string(&log).unwrap();
    let events: Vec<Value> =
        events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let made = events.iter().find(|event| event["objectRef"]["name"] == "web").unwrap();
    assert_eq!(made["requestObject"]["spec"]["type"], "NodePort");
    assert_eq!((&made["stage"], &made["verb"]), (&json!("ResponseComplete"), &json!("create")));
    assert!(made["sourceIPs"][0].is_string() && made.get("responseObject").is_none());
    let posted = std::iter::from_fn(|| taken.recv_timeout(Duration::from_secs(20)).ok());
    let mut posted = posted.flat_map(|list| {
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!("EventList"), &json!("audit.k8s.io/v1"))
        );
        list["items"].as_array().unwrap().clone()
    });
    assert!(posted.any(|event| event["auditID"] == made["auditID"]));

    kubectl.ok_with(&["create", "-f", "-"], CRD);
    kubectl.wait_for_kind("widgets.example.com");
    kubectl.until(&["get", "apiservices"], "an APIService", |out| out.contains("v1.example.com"));
    let before = api_service(&cluster);
    cluster.process.kill();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.until(&["get", "widgets"], "widgets", |_| true);
    let after = api_service(&cluster);
    assert_eq!(after["uid"], before["uid"], "it was not made again");
    kubectl.ok(&["delete", "crd", "widgets.example.com"]);
    kubectl.until(&["get", "apiservices"], "its removal", |out| !out.contains("v1.example.com"));
}

#[test]
fn a_controller_that_there_is_none_of_is_named() {
    let ground = Ground::simulated().with(&["--controllers=*,-nobody"]);
    let mut process = Process::start(&ground.arguments());
    let said = process.wait_for_line("list of known controllers", START);
    assert!(said.contains("\"-nobody\" is not in the list"), "{said}");
    assert!(!process.wait_for_end(START).success());
}
