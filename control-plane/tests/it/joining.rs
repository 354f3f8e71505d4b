//! Tokens and certificates for those who join: in Secrets, and asked for through the API.

use crate::{cluster::Ground, kubectl::Kubectl, parts::eventually};
use kubeplane::pki::{Request, SigningRequest, Usage, generate_key, inspect};
use std::{fs, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

const SECRETS: &str = r#"
apiVersion: v1
kind: Secret
metadata: {name: robot, annotations: {kubernetes.io/service-account.name: robot}}
type: kubernetes.io/service-account-token
---
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: abcdef
  token-secret: 0123456789abcdef
  usage-bootstrap-authentication: "true"
  usage-bootstrap-signing: "true"
  auth-extra-groups: system:bootstrappers:nodes
"#;

/// Who shows these credentials, as the API server sees it; nobody else's are shown.
fn whoami(kubectl: &Kubectl, credentials: &[&str]) -> Result<String, String> {
    let address = "-ojsonpath={.clusters[0].cluster.server}";
    let server = kubectl.ok(&["config", "view", "--raw", address]);
    let bare = kubectl.home().join("bare");
    fs::write(&bare, "{apiVersion: v1, kind: Config}").unwrap();
    let output = kubectl
        .command(&["auth", "whoami", "-oyaml", "--insecure-skip-tls-verify", "--server", &server])
        .args(credentials)
        .env("KUBECONFIG", &bare)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{output:?}")) }
}

#[test]
fn tokens_in_secrets_say_who_shows_them() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.ok(&["create", "serviceaccount", "robot"]);
    kubectl.ok_with(&["apply", "-f", "-"], SECRETS);
    let token = eventually("the Secret has a token", LIMIT, || {
        let form = "-ogo-template={{with .data.token}}{{. | base64decode}}{{end}}";
        let text = kubectl.ok(&["get", "secret", "robot", form]);
        if text.is_empty() { Err(text) } else { Ok(text) }
    });
    let robot =
        eventually("the token is believed", LIMIT, || whoami(&kubectl, &["--token", &token]));
    assert!(robot.contains("system:serviceaccount:default:robot"), "{robot}");
    let newcomer = eventually("the bootstrap token is believed", LIMIT, || {
        whoami(&kubectl, &["--token", "abcdef.0123456789abcdef"])
    });
    assert!(newcomer.contains("system:bootstrap:abcdef"), "{newcomer}");
    assert!(newcomer.contains("system:bootstrappers:nodes"), "{newcomer}");
    kubectl.ok(&["delete", "secret", "robot"]);
    eventually("the token goes with its Secret", LIMIT, || {
        match whoami(&kubectl, &["--token", &token]) {
            Err(_) => Ok(()),
            Ok(still) => Err(still),
        }
    });
}

#[test]
fn an_approved_request_becomes_a_certificate_of_the_cluster() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    let key = generate_key().unwrap();
    let jane = Request::new("jane", Usage::Client).organization("developers");
    let text = SigningRequest::create(&jane, &key).unwrap();
    let body: String = text.lines().map(|line| format!("{line}\n")).collect();
    let file = kubectl.home().join("jane.csr");
    fs::write(&file, body).unwrap();
    let encoded = kubectl.ok(&[
        "create",
        "secret",
        "generic",
        "jane",
        "--dry-run=client",
        "-ojsonpath={.data.csr}",
        &format!("--from-file=csr={}", file.display()),
    ]);
    let request = format!(
        r#"
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: jane}}
spec:
  request: {encoded}
  signerName: kubernetes.io/kube-apiserver-client
  usages: [client auth]
"#
    );
    kubectl.ok_with(&["apply", "-f", "-"], &request);
    kubectl.ok(&["certificate", "approve", "jane"]);
    let certificate = eventually("the certificate is there", LIMIT, || {
        let form = "-ogo-template={{with .status.certificate}}{{. | base64decode}}{{end}}";
        let text = kubectl.ok(&["get", "csr", "jane", form]);
        if text.is_empty() { Err(text) } else { Ok(text) }
    });
    let info = inspect(&certificate).unwrap();
    assert_eq!(
        (info.common_name.as_str(), info.organizations),
        ("jane", vec!["developers".into()])
    );
    for (name, content) in [("jane.crt", &certificate), ("jane.key", &key)] {
        fs::write(kubectl.home().join(name), content).unwrap();
    }
    let path = |name: &str| kubectl.home().join(name).display().to_string();
    let (certificate, key) = (path("jane.crt"), path("jane.key"));
    let shown = ["--client-certificate", &certificate, "--client-key", &key];
    let who = whoami(&kubectl, &shown).unwrap();
    assert!(who.contains("username: jane") && who.contains("- developers"), "{who}");
}
