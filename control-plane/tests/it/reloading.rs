//! Credentials that are renewed on the disk while a component in a process of its own runs.

use crate::{
    cluster::{Cluster, Process},
    kubectl::{Kubectl, SOON},
    parts::{default_kubectl, free_port},
};
use kubeplane::pki::{Authority, Identity, Kubeconfig, KubeconfigUser, Request, Usage};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const START: Duration = Duration::from_secs(60);

/// A certificate of an authority that the server does not know.
fn strange() -> Identity {
    let now = jiff::Timestamp::now();
    let authority = Authority::generate("strangers", now).unwrap();
    authority.issue(&Request::new("system:kube-scheduler", Usage::Client), now).unwrap()
}

fn server(data: &Path) -> Cluster {
    let port = free_port();
    let arguments = [
        "apiserver".to_owned(),
        format!("--listen=127.0.0.1:{port}"),
        format!("--data-dir={}", data.display()),
    ];
    let mut process = Process::start(&arguments);
    process.wait_for_line("custom-resources ready", START);
    let kubeconfig = data.join("admin.kubeconfig");
    Cluster { process, kubeconfig, url: format!("https://127.0.0.1:{port}") }
}

/// A scheduler that nobody knows yet.
fn scheduler(kubeconfig: &Path, data: &Path) -> Process {
    let arguments = [
        "scheduler".to_owned(),
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--data-dir={}", data.display()),
        "--listen=127.0.0.1:0".to_owned(),
        "--log=info".to_owned(),
    ];
    let mut process = Process::start(&arguments);
    process.wait_for_line("list failed", START);
    assert!(process.line("kube-scheduler ready").is_none(), "{}", process.log());
    process
}

struct Ground {
    home: tempfile::TempDir,
    cluster: Cluster,
}

impl Ground {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let cluster = server(&home.path().join("server"));
        Self { home, cluster }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn kubeconfig(&self, credentials: KubeconfigUser) -> PathBuf {
        let file = Kubeconfig {
            cluster: "c".to_owned(),
            server: self.cluster.url.clone(),
            authority: fs::read_to_string(self.path("server/pki/ca.crt")).unwrap(),
            user: "u".to_owned(),
            credentials,
        };
        file.write(&self.path("kubeconfig")).unwrap();
        self.path("kubeconfig")
    }

    /// The certificate that the server has made for the scheduler.
    fn own(&self) -> Identity {
        let read = |name: &str| fs::read_to_string(self.path("server/pki").join(name)).unwrap();
        Identity { certificate: read("scheduler.crt"), key: read("scheduler.key") }
    }
}

#[test]
fn a_component_goes_on_when_its_kubeconfig_is_written_anew() {
    let ground = Ground::new();
    let kubeconfig = ground.kubeconfig(KubeconfigUser::Certificate(strange()));
    let mut process = scheduler(&kubeconfig, &ground.path("data"));
    ground.kubeconfig(KubeconfigUser::Certificate(ground.own()));
    process.wait_for_line("kube-scheduler ready", START);
    assert!(process.line("credentials were read anew").is_some(), "{}", process.log());
    let kubectl = Kubectl::new(&default_kubectl(), &ground.cluster.kubeconfig);
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: c, image: i}], \
               serviceAccountName: default}\n";
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default}\n";
    kubectl.ok_with(&["apply", "-f", "-"], account);
    kubectl.ok_with(&["apply", "-f", "-"], pod);
    // It is told by the scheduler that there is no node.
    let reason = "-ojsonpath={.status.conditions[0].reason}";
    kubectl.until(&["get", "pod", "a", reason], "nobody looks at it", |out| out == "Unschedulable");
}

#[test]
fn a_component_goes_on_when_the_files_of_its_certificate_are_written_anew() {
    let ground = Ground::new();
    let file = ground.path("own.pem");
    let text = |own: Identity| format!("{}{}", own.certificate, own.key);
    fs::write(&file, text(strange())).unwrap();
    let kubeconfig = ground.kubeconfig(KubeconfigUser::File(file.clone()));
    let mut process = scheduler(&kubeconfig, &ground.path("data"));
    // Only the half of it is not used.
    fs::write(&file, ground.own().certificate).unwrap();
    process.wait_for_line("new credentials cannot be used", SOON);
    fs::write(&file, text(ground.own())).unwrap();
    process.wait_for_line("kube-scheduler ready", START);
}
