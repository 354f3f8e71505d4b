//! `kubeplane testserver`, and what it is to envtest.

use crate::{
    kubectl::Kubectl,
    parts::{default_kubectl, eventually, free_port},
};
use kubeplane::pki::{Authority, Identity, Kubeconfig, KubeconfigUser, Request, Usage};
use std::{
    fs,
    io::{BufRead, BufReader, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_kubeplane");
const SOON: Duration = Duration::from_secs(60);

/// Killed when dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// What stands on the standard output before a line `...`.
    fn kubeconfig(&mut self) -> String {
        let out = BufReader::new(self.0.stdout.take().unwrap());
        out.lines()
            .map(Result::unwrap)
            .take_while(|line| line != "...")
            .map(|line| line + "\n")
            .collect()
    }

    /// Asks it to end as envtest does, which goes on to kill what has not ended within twenty seconds.
    fn terminate(&mut self) -> String {
        let id = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.end()
    }

    fn end(&mut self) -> String {
        let ended =
            eventually("it ends", SOON, || self.0.try_wait().unwrap().ok_or("it runs".to_owned()));
        let mut said = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(ended.success(), "{ended}: {said}");
        said
    }
}

#[test]
fn a_testserver_tells_its_kubeconfig_and_ends_with_its_input() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("copy");
    let copy = format!("--kubeconfig={}", file.display());
    let arguments =
        ["testserver", "--controllers", "--scheduler", "--simulated-nodes=3", "--seed=4", &copy];
    let mut server = Process::start(Path::new(PROGRAM), &arguments);
    let kubeconfig = server.kubeconfig();
    let own = home.path().join("kubeconfig");
    fs::write(&own, &kubeconfig).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap().trim_end(), kubeconfig.trim_end());

    let kubectl = Kubectl::new(&default_kubectl(), &own);
    let nodes = kubectl.ok(&["get", "nodes", "-o", "name"]);
    assert_eq!(nodes.lines().count(), 3, "{nodes}");
    kubectl.ok(&["create", "deployment", "web", "--image=web", "--replicas=5"]);
    kubectl.ok(&["rollout", "status", "deployment", "web", "--timeout=30s"]);
    drop(server.0.stdin.take());
    assert_eq!(server.end(), "", "nothing to complain of");
}

#[test]
fn a_simulation_runs_against_any_kubeconfig() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("kubeconfig");
    let copy = format!("--kubeconfig={}", file.display());
    let mut server =
        Process::start(Path::new(PROGRAM), &["testserver", "--controllers", "--scheduler", &copy]);
    server.kubeconfig();
    let manifest = home.path().join("stages.yaml");
    let text = "
kind: Nodes
metadata: {name: edge}
spec: {count: 4, labels: {zone: edge}}
---
kind: PodStages
spec: {selector: {matchLabels: {app: bad}}, failureRate: 1, failAfter: 10ms, exitCode: 3}
";
    fs::write(&manifest, text).unwrap();
    let manifest = format!("--simulation={}", manifest.display());
    let _simulation = Process::start(Path::new(PROGRAM), &["simulate", &copy, &manifest]);
    let kubectl = Kubectl::new(&default_kubectl(), &file);
    eventually("four nodes", SOON, || {
        let nodes = kubectl.ok(&["get", "nodes", "-l", "zone=edge", "-o", "name"]);
        if nodes.lines().count() == 4 { Ok(()) } else { Err(nodes) }
    });
    kubectl.ok(&["create", "deployment", "good", "--image=good"]);
    kubectl.ok(&["rollout", "status", "deployment", "good", "--timeout=30s"]);
    kubectl.ok(&["run", "bad", "--image=bad", "--restart=Never", "--labels=app=bad"]);
    let code = "jsonpath={.status.phase} {.status.containerStatuses[0].state.terminated.exitCode}";
    eventually("the pod fails", SOON, || {
        let state = kubectl.ok(&["get", "pod", "bad", "-o", code]);
        if state == "Failed 3" { Ok(()) } else { Err(state) }
    });
}

fn write(file: &Path, text: &str) {
    fs::File::create(file).unwrap().write_all(text.as_bytes()).unwrap();
}

/// What envtest of controller-runtime does: it makes the certificates, starts two programs with the flags of the
/// originals, waits for their health, and is a user with a certificate of its own authority.
#[test]
fn it_stands_in_for_the_programs_of_envtest() {
    let home = TempDir::new().unwrap();
    let assets = home.path().join("assets");
    let certs = home.path().join("certs");
    fs::create_dir_all(&assets).unwrap();
    fs::create_dir_all(&certs).unwrap();
    for name in ["kube-apiserver", "etcd"] {
        std::os::unix::fs::symlink(PROGRAM, assets.join(name)).unwrap();
        let help = Command::new(assets.join(name)).arg("--help").output().unwrap();
        assert!(
            help.status.success()
                && !String::from_utf8_lossy(&help.stdout).contains("--insecure-port")
        );
    }
    let now = jiff::Timestamp::now();
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let serving_ca = Authority::generate("serving", now).unwrap();
    let serving =
        Request::new("localhost", Usage::Server).names(["localhost"]).addresses([loopback]);
    let serving = serving_ca.issue(&serving, now).unwrap();
    write(&certs.join("apiserver.crt"), &serving.certificate);
    write(&certs.join("apiserver.key"), &serving.key);
    let client_ca = Authority::generate("clients", now).unwrap();
    let client_file = certs.join("client-cert-auth-ca.crt");
    write(&client_file, client_ca.certificate());

    let (etcd_port, port) = (free_port(), free_port());
    let etcd_url = format!("http://127.0.0.1:{etcd_port}");
    let etcd = Process::start(
        &assets.join("etcd"),
        &[
            &format!("--advertise-client-urls={etcd_url}"),
            &format!("--data-dir={}", home.path().display()),
            &format!("--listen-client-urls={etcd_url}"),
            "--listen-peer-urls=http://127.0.0.1:0",
        ],
    );
    eventually("etcd is well", SOON, || {
        let mut stream =
            TcpStream::connect(("127.0.0.1", etcd_port)).map_err(|error| error.to_string())?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        if answer.starts_with("HTTP/1.0 200") && answer.contains(r#""health":"true""#) {
            Ok(())
        } else {
            Err(answer)
        }
    });
    let apiserver = Process::start(
        &assets.join("kube-apiserver"),
        &[
            "--allow-privileged=true",
            "--authorization-mode=RBAC",
            "--bind-address=127.0.0.1",
            &format!("--cert-dir={}", certs.display()),
            &format!("--client-ca-file={}", client_file.display()),
            "--disable-admission-plugins=ServiceAccount",
            &format!("--etcd-servers={etcd_url}"),
            &format!("--secure-port={port}"),
            "--service-account-issuer=https://127.0.0.1:1/",
            &format!("--service-account-key-file={}", certs.join("sa-signer.crt").display()),
            &format!(
                "--service-account-signing-key-file={}",
                certs.join("sa-signer.key").display()
            ),
            "--service-cluster-ip-range=10.0.0.0/24",
        ],
    );
    let request = Request::new("admin", Usage::Client).organization("system:masters");
    let Identity { certificate, key } = client_ca.issue(&request, now).unwrap();
    let kubeconfig = Kubeconfig {
        cluster: "envtest".to_owned(),
        server: format!("https://127.0.0.1:{port}"),
        authority: serving_ca.certificate().to_owned(),
        user: "admin".to_owned(),
        credentials: KubeconfigUser::Certificate(Identity { certificate, key }),
    };
    let file = home.path().join("kubeconfig");
    kubeconfig.write(&file).unwrap();
    let kubectl = Kubectl::new(&default_kubectl(), &file);
    eventually("the API server is well", SOON, || {
        let output = kubectl.output(&["get", "--raw", "/healthz"]);
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    });
    // There are no controllers, so no service accounts: pods do without.
    kubectl.ok(&["run", "pod", "--image=pod"]);
    assert_eq!(
        kubectl.ok(&["get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}"]),
        "10.0.0.1"
    );
    end_both(&kubectl, (apiserver, port), (etcd, etcd_port));
}

/// As envtest does when a suite is over, which leaves its informers to themselves.
fn end_both(kubectl: &Kubectl, apiserver: (Process, u16), etcd: (Process, u16)) {
    let mut watching = kubectl.command(&["get", "pods", "--watch", "--output=name"]);
    let mut watching = Process(watching.stdout(Stdio::piped()).spawn().unwrap());
    let mut first = String::new();
    BufReader::new(watching.0.stdout.as_mut().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "pod/pod\n", "it watches");
    for (mut process, port) in [apiserver, etcd] {
        assert_eq!(process.terminate(), "", "nothing to complain of");
        TcpStream::connect(("127.0.0.1", port)).expect_err("nobody listens any more");
    }
}

/// What a suite with `USE_EXISTING_CLUSTER=true` does, whose client is that of `KUBECONFIG`: it installs its definitions,
/// waits until they are served, works with them, takes them away, and leaves the cluster as it is to the next one.
fn suite(kubeconfig: &Path, home: &Path) {
    let call = |line: &[&str]| {
        let mut kubectl = Command::new(default_kubectl());
        kubectl.env("USE_EXISTING_CLUSTER", "true").env("KUBECONFIG", kubeconfig);
        let output = kubectl.env("HOME", home).args(line).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(text) } else { Err(why) }
    };
    let file = home.join("definition.yaml");
    let text = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: sheets.paper.example.com}
spec:
  group: paper.example.com
  scope: Namespaced
  names: {plural: sheets, kind: Sheet}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}
";
    write(&file, text);
    let file = file.to_str().unwrap();
    call(&["create", "--filename", file]).unwrap();
    eventually("the kind is served", SOON, || {
        let kinds = call(&["get", "--raw", "/apis/paper.example.com/v1"])?;
        if kinds.contains(r#""name":"sheets""#) { Ok(()) } else { Err(kinds) }
    });
    let sheet = home.join("sheet.yaml");
    write(&sheet, "apiVersion: paper.example.com/v1\nkind: Sheet\nmetadata: {name: a4}\n");
    call(&["create", "--filename", sheet.to_str().unwrap()]).unwrap();
    assert_eq!(call(&["get", "sheets", "--output=name"]).unwrap(), "sheet.paper.example.com/a4\n");
    call(&["delete", "--filename", file, "--timeout=30s"]).unwrap();
    assert_eq!(call(&["get", "crds", "--output=name"]).unwrap(), "");
    // The kind goes a moment after its definition; the next suite is not to take it for its own.
    eventually("the kind is gone", SOON, || {
        match call(&["get", "--raw", "/apis/paper.example.com/v1"]) {
            Ok(kinds) => Err(kinds),
            Err(_) => Ok(()),
        }
    });
}

#[test]
fn suites_of_envtest_use_a_testserver_that_is_there() {
    let home = TempDir::new().unwrap();
    let file = home.path().join("kubeconfig");
    let copy = format!("--kubeconfig={}", file.display());
    let mut server = Process::start(Path::new(PROGRAM), &["testserver", &copy]);
    server.kubeconfig();
    for _ in 0..2 {
        suite(&file, home.path());
    }
    assert!(server.0.try_wait().unwrap().is_none(), "no suite ends it");
    server.terminate();
}
