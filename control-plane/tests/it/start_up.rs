//! What is said at the start, and when there can be none.

use crate::{
    cluster::{Cluster, Ground, Process, START},
    kubectl::Kubectl,
    network,
    parts::{default_kubectl, free_port},
    raw::Raw,
    unprivileged::{command, is_root, with_containerd},
};
use http_body_util::BodyExt;
use kubeplane::{
    api::{standard_aggregation, standard_bootstrap},
    core::component::lifecycle,
    extensions::CustomResources,
    prelude::*,
    runtime::CONTAINERD,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;

const LIMIT: Duration = Duration::from_secs(60);

/// Starts what cannot start; what it says last.
fn refused(arguments: &[String]) -> String {
    let mut process = Process::start(arguments);
    let status = process.wait_for_end(LIMIT);
    assert_eq!(status.code(), Some(1), "{}", process.log());
    process.log()
}

/// The arguments with another value of one.
fn with(arguments: &[String], name: &str, value: &str) -> Vec<String> {
    let start = format!("--{name}=");
    arguments
        .iter()
        .map(|argument| {
            if argument.starts_with(&start) { format!("{start}{value}") } else { argument.clone() }
        })
        .collect()
}

#[test]
fn help_explains_the_commands() {
    let output = Command::new(env!("CARGO_BIN_EXE_kubeplane")).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for command in ["serve", "apiserver", "scheduler", "controllers", "kubelet", "proxy"] {
        assert!(
            text.lines().any(|line| line.trim_start().starts_with(&format!("{command} "))),
            "{text}"
        );
    }
    let wrong = Command::new(env!("CARGO_BIN_EXE_kubeplane"))
        .args(["serve", "--store=paper"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("paper"));
}

#[test]
fn the_start_says_where_it_listens_what_runs_containers_and_who_is_ready() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let log = cluster.process.log();
    for part in [cluster.url.as_str(), "simulated", "export KUBECONFIG=", "ready"] {
        assert!(log.contains(part), "{part:?} in\n{log}");
    }
    let ready = [
        "kube-apiserver ready",
        "kube-controller-manager ready",
        "kube-scheduler ready",
        "kubelet ready",
    ];
    let lines: Vec<usize> = ready
        .iter()
        .map(|wish| {
            log.lines().position(|line| line == *wish).unwrap_or_else(|| panic!("{wish}: {log}"))
        })
        .collect();
    assert!(lines.is_sorted(), "{log}");
}

/// Starts with a port that the machine picks; gives it as it is told.
fn on_a_free_port(ground: &Ground, host: &str, more: &[&str]) -> (Cluster, u16) {
    let mut arguments = with(&ground.arguments(), "listen", &format!("{host}:0"));
    arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
    let mut process = Process::start(&arguments);
    process.wait_for_line("kubelet ready", 2 * LIMIT);
    let line = process.line("listening on ").unwrap();
    let (url, address) = line.trim_start_matches("listening on ").split_once(' ').unwrap();
    let port = url.strip_prefix("https://127.0.0.1:").unwrap().parse().unwrap();
    assert_eq!(address, format!("({host}:{port})"));
    let kubeconfig = ground.data.path().join("admin.kubeconfig");
    let url = url.to_owned();
    assert!(fs::read_to_string(&kubeconfig).unwrap().contains(&url));
    (Cluster { process, kubeconfig, url }, port)
}

#[test]
fn a_port_that_was_found_is_that_of_the_service_and_its_endpoints() {
    let ground = Ground::simulated();
    let target = "jsonpath={.spec.ports[0].port} {.spec.ports[0].targetPort}";
    let more = ["--advertise-address=198.51.100.7"];
    for first in [true, false] {
        let (mut cluster, port) = on_a_free_port(&ground, "0.0.0.0", &more);
        let kubectl = cluster.kubectl();
        let subsets = json!([{"addresses": [{"ip": "198.51.100.7"}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}]);
        assert_eq!(kubectl.json(&["get", "endpoints", "kubernetes"])["subsets"], subsets);
        let slice = kubectl.json(&["get", "endpointslice", "kubernetes"]);
        assert_eq!(slice["ports"], subsets[0]["ports"]);
        assert_eq!(slice["endpoints"][0]["addresses"], json!(["198.51.100.7"]));
        if first {
            let said = kubectl.ok(&["get", "service", "kubernetes", "--output", target]);
            assert_eq!(said, format!("443 {port}"));
        }
        assert!(cluster.process.interrupt().success());
    }

    let ground = Ground::simulated();
    let (cluster, port) = on_a_free_port(&ground, "127.0.0.1", &[]);
    let said = cluster.kubectl().ok(&["get", "service", "kubernetes", "--output", target]);
    assert_eq!(said, format!("443 {port}"));
}

/// What the original's server does at its start, and has a check of.
const CHECKS: [&str; 16] = [
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/kube-apiserver-autoregistration",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-discovery-controller",
    "autoregister-completion",
];

/// The code of a probe, and the checks that failed.
async fn probe(client: &kube::Client, path: &str) -> (u16, Vec<String>) {
    let request = http::Request::get(path).body(kube::client::Body::empty()).unwrap();
    let (head, body) = client.send(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let failed = text.lines().filter_map(|line| line.strip_prefix("[-]")?.split_once(" failed"));
    (head.status.as_u16(), failed.map(|(name, _)| name.to_owned()).collect())
}

/// The server answers before it is of use to anybody: it says so until the last part has done its work.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_ready_when_all_its_parts_are() {
    let home = tempfile::tempdir().unwrap();
    let options = ApiOptions::default();
    let credentials = Credentials::open(home.path(), &[], &[], options.clock.now()).unwrap();
    let store = Arc::new(MemoryStore::new());
    let api = standard_api_server(store, &credentials, &options).unwrap();
    let client = api.client();
    let address = "127.0.0.1:6443".parse().unwrap();
    let bootstrap = standard_bootstrap(&api, &credentials, &options, address).unwrap();
    let custom = CustomResources::new(api.api());
    let aggregation = standard_aggregation(&api, &credentials).unwrap();
    // How many of the checks pass when each is ready.
    let parts: [(Box<dyn Component>, usize); 4] = [
        (Box::new(api), 0),
        (Box::new(bootstrap), 9),
        (Box::new(custom), 11),
        (Box::new(aggregation), 16),
    ];
    for path in ["/readyz", "/livez", "/healthz"] {
        let all = CHECKS.map(str::to_owned).to_vec();
        assert_eq!(probe(&client, path).await, (500, all), "{path}");
    }
    let mut running = Vec::new();
    for (part, passed) in parts {
        let name = part.name().to_owned();
        let (own, mut supervision) = lifecycle();
        running.push(AbortOnDropHandle::new(tokio::spawn(part.run(own))));
        let ready = tokio::time::timeout(LIMIT, supervision.became_ready()).await;
        assert!(ready.unwrap(), "{name}");
        let code = if passed == CHECKS.len() { 200 } else { 500 };
        for path in ["/readyz", "/livez", "/healthz"] {
            let (found, failed) = probe(&client, path).await;
            assert_eq!(failed, CHECKS[passed..], "{path} with {name}");
            assert_eq!(found, code, "{path} with {name}");
        }
    }
}

/// Starts, and does not wait until anybody is ready.
async fn begun(ground: &Ground) -> (Process, Raw) {
    let mut process = Process::start(&ground.arguments());
    process.wait_for_line("export KUBECONFIG=", LIMIT);
    let raw = Raw::of(&ground.data.path().join("admin.kubeconfig")).await;
    (process, raw)
}

/// Asks until the answer has this code.
async fn until(code: u16, what: &str, mut ask: impl AsyncFnMut() -> crate::raw::Answer) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    loop {
        let answer = ask().await;
        if answer.code == code {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn boats() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.harbour.example.com"},
        "spec": {"group": "harbour.example.com", "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_means_that_what_every_cluster_has_and_what_was_defined_is_there() {
    const BOATS: &str = "/apis/harbour.example.com/v1/namespaces/default/boats";
    let ground = Ground::simulated();
    let (mut process, raw) = begun(&ground).await;
    until(200, "ready", async || raw.get("/readyz").await).await;
    for path in [
        "/api/v1/namespaces/default",
        "/api/v1/namespaces/kube-system",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles/cluster-admin",
        "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical",
        "/api/v1/namespaces/default/services/kubernetes",
        "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
    ] {
        assert_eq!(raw.get(path).await.code, 200, "{path}");
    }
    let service = raw.get("/apis/apiregistration.k8s.io/v1/apiservices/v1.apps").await.json();
    assert_eq!(service["status"]["conditions"][0]["status"], "True", "{service}");
    for probe in ["readyz", "livez", "healthz"] {
        let told = raw.get(&format!("/{probe}?verbose")).await.text;
        for check in CHECKS {
            assert!(told.contains(&format!("[+]{check} ok\n")), "{check} in {told}");
        }
        assert!(told.ends_with(&format!("{probe} check passed\n")), "{told}");
    }
    assert_eq!(raw.get("/readyz/poststarthook/rbac/bootstrap-roles").await.text, "ok");

    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(raw.post(definitions, boats().to_string()).await.code, 201);
    let boat = json!({"apiVersion": "harbour.example.com/v1", "kind": "Boat",
        "metadata": {"name": "anna"}, "masts": 2});
    until(201, "a boat", async || raw.post(BOATS, boat.to_string()).await).await;
    process.kill();

    let (_process, raw) = begun(&ground).await;
    until(200, "ready again", async || raw.get("/readyz").await).await;
    let answer = raw.get(&format!("{BOATS}/anna")).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    assert_eq!(answer.json()["masts"], 2);
}

#[test]
fn without_a_socket_auto_says_that_it_simulates() {
    // Only root can have a place without one made; for all others there is usually none.
    assert!(
        is_root() || !Path::new(CONTAINERD).exists(),
        "{CONTAINERD} is there, and hidden by root only"
    );
    let ground = Ground::simulated();
    let mut line = vec![env!("CARGO_BIN_EXE_kubeplane").to_owned()];
    line.extend(with(&ground.arguments(), "runtime", "auto"));
    let mut process = Process::start_by(&mut command(&with_containerd(None, line)));
    let line = process.wait_for_line("container runtime: ", LIMIT);
    let wanted = format!("simulated, no real containers (there is no {CONTAINERD})");
    assert_eq!(line, format!("container runtime: {wanted}"));
}

/// As in a bare checkout: no word but the program's name, on its usual ports, which are free in a network of its own.
#[test]
fn the_plain_command_is_a_cluster_with_its_data_below_where_it_was_called() {
    if network::enter(
        "start_up::the_plain_command_is_a_cluster_with_its_data_below_where_it_was_called",
    ) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let line = vec![env!("CARGO_BIN_EXE_kubeplane").to_owned()];
    let mut plain = command(&with_containerd(None, line));
    plain.current_dir(home.path());
    for variable in ["KUBEPLANE_DATA_DIR", "KUBEPLANE_LOG", "KUBECONFIG"] {
        plain.env_remove(variable);
    }
    let mut process = Process::start_by(&mut plain);
    process.wait_for_line("kubelet ready", START);
    assert!(process.line(": data in ./kubeplane-data").is_some(), "{}", process.log());
    let data = fs::canonicalize(home.path()).unwrap().join("kubeplane-data");
    let line = process.line("export KUBECONFIG=").expect("it says where the kubeconfig is");
    let kubeconfig = PathBuf::from(line.trim_start_matches("export KUBECONFIG="));
    assert!(kubeconfig.starts_with(&data), "{line}");
    let made = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(made.count(), 1, "nothing else was made there");
    let kubectl = Kubectl::new(&default_kubectl(), &kubeconfig);
    assert!(kubectl.ok(&["cluster-info"]).contains(":6443"));
    kubectl.until(&["get", "nodes", "--no-headers"], "a ready node", |rows| {
        rows.lines().count() == 1 && rows.contains(" Ready ")
    });
    assert!(process.interrupt().success(), "{}", process.log());
}

#[test]
fn a_socket_that_was_named_must_answer() {
    let ground = Ground::simulated();
    let said = refused(&with(&ground.arguments(), "runtime", "cri=/nonexistent/cri.sock"));
    assert!(said.contains("/nonexistent/cri.sock"), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let ground = Ground::simulated();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap().to_string();
    let said = refused(&with(&ground.arguments(), "listen", &address));
    assert!(said.contains(&address) && said.to_lowercase().contains("in use"), "{said}");
    let said = refused(&with(&ground.arguments(), "kubelet-listen", &address));
    assert!(said.contains(&address) && said.to_lowercase().contains("in use"), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let ground = Ground::simulated();
    let file = ground.data.path().join("file");
    fs::write(&file, "").unwrap();
    let path = file.join("data");
    let said = refused(&with(&ground.arguments(), "data-dir", path.to_str().unwrap()));
    assert!(said.contains(path.to_str().unwrap()) && said.contains("Not a directory"), "{said}");
    let said = refused(&with(&ground.arguments(), "data-dir", "/proc/kubeplane"));
    assert!(said.contains("/proc/kubeplane"), "{said}");
}

/// Every file below a directory with its content, but for those of the store, which goes on.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let own = entries.filter(|path| !path.ends_with("store") && !path.ends_with("kubelet"));
    own.flat_map(|path| match path.is_dir() {
        true => contents(&path),
        false => BTreeMap::from([(path.clone(), fs::read(&path).unwrap())]),
    })
    .collect()
}

/// Whatever store the second has, it says who was there first, and touches nothing.
#[test]
fn a_data_directory_has_one_user() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    let data = ground.data.path().to_str().unwrap();
    let before = contents(ground.data.path());
    let user = format!("is in use by kubeplane serve (process {})", cluster.process.id());
    let other = Ground::simulated();
    // Another name for the certificate: the first would not be reached any more if it were written.
    let mut second = with(&other.arguments(), "data-dir", data);
    second.push("--tls-san=other.example".into());
    let mut on_etcd = second.clone();
    on_etcd.push("--store=etcd=http://127.0.0.1:1".into());
    let alone = vec![
        "apiserver".to_owned(),
        format!("--data-dir={data}"),
        "--listen=127.0.0.1:0".into(),
        "--tls-san=other.example".into(),
    ];
    for arguments in [&second, &on_etcd, &alone] {
        let said = refused(arguments);
        assert_eq!(said, format!("kubeplane: data directory {data} {user}"));
    }
    let kubelet = vec![
        "kubelet".to_owned(),
        format!("--data-dir={data}"),
        format!("--kubeconfig={data}/kubelet-node-1.kubeconfig"),
        "--runtime=simulated".into(),
    ];
    let said = refused(&kubelet);
    assert_eq!(said, format!("kubeplane: data directory {data}/kubelet {user}"));
    assert_eq!(contents(ground.data.path()), before);
    assert_eq!(cluster.kubectl().ok(&["get", "--raw", "/readyz"]), "ok");

    // The lock goes with the process, however that ends.
    cluster.process.kill();
    ground.start();
}

/// A crash at the first start, between two files, is none of the user's business.
#[test]
fn a_key_without_its_certificate_gets_one() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    assert!(cluster.process.interrupt().success());
    let pki = ground.data.path().join("pki");
    let key = fs::read(pki.join("ca.key")).unwrap();
    for entry in fs::read_dir(&pki).unwrap().map(|entry| entry.unwrap().path()) {
        if !entry.ends_with("ca.key") {
            fs::remove_file(entry).unwrap();
        }
    }
    let cluster = ground.start();
    assert_eq!(fs::read(pki.join("ca.key")).unwrap(), key);
    assert_eq!(cluster.kubectl().ok(&["get", "--raw", "/readyz"]), "ok");
}

#[test]
fn a_kubelet_says_with_what_it_serves_and_whom_it_believes() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let home = tempfile::tempdir().unwrap();
    let other = |more: &[&str]| {
        let mut arguments = vec![
            "kubelet".to_owned(),
            format!("--data-dir={}", home.path().display()),
            format!("--kubeconfig={}/kubelet-node-1.kubeconfig", ground.data.path().display()),
            "--runtime=simulated".into(),
            "--node-name=node-1".into(),
            "--node-ip=127.0.0.1".into(),
            format!("--kubelet-listen=127.0.0.1:{}", free_port()),
        ];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Process::start(&arguments)
    };
    let line = other(&[]).wait_for_line("serving certificate: ", LIMIT);
    assert!(line.contains("self-signed") && line.contains("--tls-cert-file"), "{line}");

    let pki = ground.data.path().join("pki");
    let certificate = pki.join("kubelet.crt").display().to_string();
    let key = pki.join("kubelet.key").display().to_string();
    let given =
        [&*format!("--tls-cert-file={certificate}"), &*format!("--tls-private-key-file={key}")];
    let line = other(&given).wait_for_line("serving certificate: ", LIMIT);
    assert_eq!(line, format!("serving certificate: {certificate}"));

    fs::create_dir(home.path().join("pki")).unwrap();
    for file in ["ca.crt", "ca.key"] {
        fs::copy(pki.join(file), home.path().join("pki").join(file)).unwrap();
    }
    let line = other(&[]).wait_for_line("serving certificate: ", LIMIT);
    let place = home.path().join("pki");
    assert_eq!(
        line,
        format!("serving certificate: made with the authority in {}", place.display())
    );
    drop(cluster);
}

#[test]
fn a_store_that_does_not_answer_is_named() {
    let ground = Ground::simulated();
    let mut arguments = ground.arguments();
    arguments.push("--store=etcd=http://127.0.0.1:1".to_owned());
    let said = refused(&arguments);
    assert!(said.contains("http://127.0.0.1:1"), "{said}");
}

/// Damage in the middle of the log is told, and nothing is thrown away because of it.
#[test]
fn a_corrupt_log_is_told_and_kept() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    for index in 0..20 {
        cluster.kubectl().ok(&["create", "configmap", &format!("m{index}"), "--from-literal=a=1"]);
    }
    cluster.process.kill();
    let store = ground.data.path().join("store");
    let logs = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
    let log = logs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let sound = fs::read(&log).unwrap();
    let mut damaged = sound.clone();
    // Space that was only set aside is zero.
    let written = damaged.iter().rposition(|byte| *byte != 0).unwrap();
    let middle = written / 2;
    for byte in &mut damaged[middle..middle + 8] {
        *byte ^= 0xff;
    }
    fs::write(&log, &damaged).unwrap();
    let said = refused(&ground.arguments());
    assert!(said.contains(log.file_name().unwrap().to_str().unwrap()), "{said}");
    assert!(said.to_lowercase().contains("corrupt"), "{said}");
    assert_eq!(fs::read(&log).unwrap(), damaged, "it is left as it was found");

    fs::write(&log, &sound).unwrap();
    let cluster = ground.start();
    let named = cluster.kubectl().ok(&["get", "configmaps", "-o", "name"]);
    assert_eq!(named.lines().filter(|line| line.starts_with("configmap/m")).count(), 20);
}
