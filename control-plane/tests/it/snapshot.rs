//! `kubeplane snapshot`, against a running server and a directory.

use crate::cluster::{Cluster, Ground};
use std::{
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicBool, Ordering},
};

fn snapshot(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubeplane")).arg("snapshot").args(arguments).output().unwrap()
}

#[track_caller]
fn ok(arguments: &[&str]) -> String {
    let output = snapshot(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap() + &said
}

#[track_caller]
fn fails(arguments: &[&str]) -> String {
    let output = snapshot(arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn field(said: &str, name: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix(name)).expect(name);
    line.trim().parse().unwrap()
}

fn config_maps(cluster: &Cluster) -> Vec<String> {
    let listed = cluster.kubectl().ok(&["get", "configmaps", "-o", "name"]);
    listed.lines().filter(|name| name.contains("/kept-")).map(str::to_owned).collect()
}

/// The revision of the store, as every client sees it.
fn latest(cluster: &Cluster) -> u64 {
    let listed = cluster.kubectl().ok(&["get", "--raw", "/api/v1/configmaps?limit=1"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    listed["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_saved_while_writers_write_is_there_when_it_is_restored_elsewhere() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    let kubectl = cluster.kubectl();
    for index in 0..3 {
        kubectl.ok(&["create", "configmap", &format!("kept-{index}"), "--from-literal=a=1"]);
    }
    let file = ground.data.path().join("saved");
    let (data, done) = (text(ground.data.path()), AtomicBool::new(false));
    let said = std::thread::scope(|scope| {
        scope.spawn(|| {
            for index in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                kubectl.ok(&["create", "configmap", &format!("written-{index}")]);
            }
        });
        let said = ok(&["save", text(&file), "--data-dir", data]);
        done.store(true, Ordering::Relaxed);
        said
    });
    assert!(field(&said, "total keys") > 50, "{said}");
    let status = ok(&["status", text(&file)]);
    assert_eq!(field(&status, "revision"), field(&said, "revision"));
    let seen = latest(&cluster);
    assert!(fails(&["restore", text(&file), "--data-dir", data]).contains("kubeplane serve"));
    kubectl.ok(&["create", "configmap", "kept-too-late"]);
    cluster.process.kill();
    assert!(fails(&["restore", text(&file), "--data-dir", data]).contains("holds data already"));

    let other = Ground::simulated();
    let moved = text(other.data.path());
    ok(&["restore", text(&file), "--data-dir", moved]);
    assert!(fails(&["restore", text(&file), "--data-dir", moved]).contains("holds data already"));
    let restored = other.start();
    assert_eq!(
        config_maps(&restored),
        ["configmap/kept-0", "configmap/kept-1", "configmap/kept-2"]
    );
    let kubectl = restored.kubectl();
    let now = latest(&restored);
    assert!(now > seen, "{now} comes after {seen}, which somebody saw");
    kubectl.ok(&["create", "configmap", "after"]);
}

#[test]
fn a_directory_is_saved_without_a_server_and_damage_is_told() {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    cluster.kubectl().ok(&["create", "configmap", "kept-0"]);
    assert!(cluster.process.interrupt().success());
    let (data, file) = (text(ground.data.path()), ground.data.path().join("saved"));
    let said = ok(&["save", text(&file), "--data-dir", data]);
    assert_eq!(field(&said, "revision"), field(&ok(&["status", text(&file)]), "revision"));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let other = Ground::simulated();
    for line in [
        &["status", text(&file)][..],
        &["restore", text(&file), "--data-dir", text(other.data.path())],
    ] {
        let said = fails(line);
        assert!(said.contains("corrupt at byte"), "{said}");
    }
    assert!(
        fails(&["save", text(&file), "--data-dir", text(other.data.path())])
            .contains("no embedded store")
    );
}

#[test]
fn only_those_with_a_rule_for_it_may_read_everything() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let kubectl = cluster.kubectl();
    let said = kubectl.fails(&["get", "--raw", "/snapshot", "--as=jane"]).1;
    assert!(said.contains("forbidden") || said.contains("Forbidden"), "{said}");
    let scheduler = ground.data.path().join("scheduler.kubeconfig");
    let file = ground.data.path().join("saved");
    let said = fails(&["save", text(&file), "--kubeconfig", text(&scheduler)]);
    assert!(said.contains("forbidden"), "{said}");
    assert!(!file.exists());
}
