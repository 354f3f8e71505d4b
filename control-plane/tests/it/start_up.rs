//! What is said at the start, and when there can be none.

use crate::{
    cluster::{Ground, Process},
    parts::free_port,
};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(30);

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

#[test]
fn without_a_socket_auto_says_that_it_simulates() {
    if Path::new("/run/containerd/containerd.sock").exists() {
        return;
    }
    let ground = Ground::simulated();
    let mut process = Process::start(&with(&ground.arguments(), "runtime", "auto"));
    let line = process.wait_for_line("simulated", LIMIT);
    assert!(line.contains("/run/containerd/containerd.sock"), "{line}");
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
