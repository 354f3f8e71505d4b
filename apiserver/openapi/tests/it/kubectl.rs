//! What kubectl does with the documents: every installed version of it, at least the one on the path.

use crate::server::{builder, serve_custom_resources};
use kubeplane_apiserver::TlsOptions;
use kubeplane_core::component::{Component, lifecycle};
use kubeplane_pki::{Authority, Request, Usage};
use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};
use tokio::{io::AsyncWriteExt, process::Command, task::JoinHandle};

struct Served {
    address: SocketAddr,
    home: tempfile::TempDir,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Output {
    success: bool,
    text: String,
}

async fn serve() -> Served {
    let now = jiff::Timestamp::now();
    let authority = Authority::generate("ca", now).unwrap();
    let request = Request::new("server", Usage::Server).names(["localhost"]);
    let identity = authority.issue(&request, now).unwrap();
    let tls = TlsOptions::from_pem(identity.certificate, identity.key);
    let server = builder().listen("127.0.0.1:0".parse().unwrap(), tls).build().unwrap();
    let custom = serve_custom_resources(&server).await;
    let mut bound = server.bound();
    let (side, mut supervision) = lifecycle();
    let task = tokio::spawn(async move {
        Box::new(server).run(side).await.unwrap();
        custom.stop();
    });
    assert!(supervision.became_ready().await);
    let address = bound.wait_for(Option::is_some).await.unwrap().unwrap();
    Served { address, home: tempfile::tempdir().unwrap(), task }
}

/// The kubectl on the path and those installed beside it with a version in their names.
fn installed() -> Vec<String> {
    let mut found = vec!["kubectl".to_owned()];
    let beside = Path::new("/usr/lib/google-cloud-sdk/bin");
    for version in 27..=36 {
        let path = beside.join(format!("kubectl.1.{version}"));
        found.extend(path.exists().then(|| path.display().to_string()));
    }
    found
}

impl Served {
    async fn kubectl(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(program)
            .args(["--server", &format!("https://{}", self.address)])
            .args(["--insecure-skip-tls-verify", "--token", "x", "--namespace", "default"])
            .args(arguments)
            .env("HOME", self.home.path())
            .env_remove("KUBECONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("kubectl is installed");
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        let output = child.wait_with_output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        Output { success: output.status.success(), text: String::from_utf8(text).unwrap() }
    }

    async fn expect(&self, program: &str, arguments: &[&str], input: &str) -> String {
        let output = self.kubectl(program, arguments, input).await;
        assert!(output.success, "{program} {arguments:?}: {}", output.text);
        output.text
    }
}

#[tokio::test]
async fn kubectl_explains() {
    let served = serve().await;
    for kubectl in installed() {
        let strategy = served.expect(&kubectl, &["explain", "deployment.spec.strategy"], "").await;
        assert!(strategy.contains("rollingUpdate"), "{strategy}");
        assert!(strategy.contains("GROUP:") && strategy.contains("Deployment"), "{strategy}");
        let all = served.expect(&kubectl, &["explain", "pods", "--recursive"], "").await;
        assert!(all.contains("terminationGracePeriodSeconds") && all.contains("hostPath"), "{all}");
        let service = ["explain", "service.spec.ports.targetPort"];
        let port = served.expect(&kubectl, &service, "").await;
        assert!(port.contains("IntOrString"), "{port}");
        let claim = ["explain", "resourceclaims.spec.devices.requests"];
        let claim = served.expect(&kubectl, &claim, "").await;
        assert!(claim.contains("firstAvailable") && !claim.contains("<empty>"), "{claim}");
        let old = ["explain", "deployment.spec.strategy", "--output", "plaintext-openapiv2"];
        let old = served.expect(&kubectl, &old, "").await;
        assert!(old.contains("rollingUpdate") && old.contains("Rolling update config"), "{old}");
    }
}

const SERVICE: &str = r#"{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
    "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80}, {"name": "more", "port": 81}]}}"#;

#[tokio::test]
async fn kubectl_applies_and_validates() {
    let served = serve().await;
    for kubectl in installed() {
        let apply = ["apply", "--validate=strict", "-f", "-"];
        let created = served.expect(&kubectl, &apply, SERVICE).await;
        assert!(created.contains("service/web created"), "{created}");
        let change =
            SERVICE.replace(r#"{"name": "more", "port": 81}"#, r#"{"name": "more", "port": 82}"#);
        let changed = served.expect(&kubectl, &apply, &change).await;
        assert!(changed.contains("service/web configured"), "{changed}");
        assert!(!changed.to_lowercase().contains("warning"), "{changed}");
        let ports = ["get", "service", "web", "-o", "jsonpath={.spec.ports[*].port}"];
        assert_eq!(served.expect(&kubectl, &ports, "").await, "80 82");
        let wrong = SERVICE.replace("selector", "selectro");
        let refused = served.kubectl(&kubectl, &apply, &wrong).await;
        assert!(!refused.success && refused.text.contains("selectro"), "{}", refused.text);
        served.expect(&kubectl, &["delete", "service", "web", "--wait=false"], "").await;
    }
}

const WIDGETS: &str = r#"{
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
            "type": "object", "description": "A thing that spins.",
            "properties": {"spec": {"type": "object", "properties": {
                "size": {"type": "integer", "description": "How large it is.", "nullable": true},
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}
            }}}
        }}}]
    }
}"#;
const WIDGET: &str = r#"{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 1}}"#;

#[tokio::test]
async fn kubectl_knows_custom_resources() {
    let served = serve().await;
    for kubectl in installed() {
        served.expect(&kubectl, &["apply", "-f", "-"], WIDGETS).await;
        let established =
            ["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=20s"];
        // It fails while there are no conditions at all.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let waited = served.kubectl(&kubectl, &established, "").await;
            if waited.success {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{kubectl}: {}", waited.text);
        }
        let spec = served.expect(&kubectl, &["explain", "widgets.spec"], "").await;
        assert!(spec.contains("How large it is."), "{spec}");
        let root = served.expect(&kubectl, &["explain", "widgets"], "").await;
        assert!(root.contains("A thing that spins.") && root.contains("metadata"), "{root}");
        let apply = ["apply", "--validate=strict", "-f", "-"];
        served.expect(&kubectl, &apply, WIDGET).await;
        let changed = served.expect(&kubectl, &apply, &WIDGET.replace("1}", "2}")).await;
        assert!(changed.contains("configured") && !changed.contains("arning"), "{changed}");
        let wrong = served.kubectl(&kubectl, &apply, &WIDGET.replace("size", "sise")).await;
        assert!(!wrong.success && wrong.text.contains("sise"), "{}", wrong.text);
        served.expect(&kubectl, &["delete", "crd", "widgets.example.com"], "").await;
    }
}
