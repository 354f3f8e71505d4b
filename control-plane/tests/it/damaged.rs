//! A server on a damaged directory of the embedded store.

use crate::{
    cluster::{Cluster, Ground, Process},
    parts::eventually,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// How far revisions jump when something was lost.
const JUMP: u64 = 1_000_000_000;

/// The last log of a store.
fn log(data: &Path) -> PathBuf {
    let files = fs::read_dir(data.join("store")).unwrap().map(|file| file.unwrap().path());
    let logs = files.filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with("log-"));
    logs.max().unwrap()
}

fn len(file: &Path) -> usize {
    usize::try_from(fs::metadata(file).unwrap().len()).unwrap()
}

fn latest(cluster: &Cluster) -> u64 {
    let listed = cluster.kubectl().ok(&["get", "--raw", "/api/v1/configmaps?limit=1"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    listed["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_damaged_store_is_refused_until_somebody_accepts_the_loss() {
    let relaxed = "--store-relaxed-prefix=/registry/leases/";
    let ground = Ground::simulated().with(&[relaxed]);
    let mut cluster = ground.start();
    let kubectl = cluster.kubectl();
    kubectl.ok(&["create", "configmap", "before", "--from-literal=a=1"]);
    let log = log(ground.data.path());
    let intact = len(&log);
    for index in 0..3 {
        kubectl.ok(&["create", "configmap", &format!("between-{index}"), "--from-literal=a=1"]);
    }
    let damaged = usize::midpoint(intact, len(&log));
    kubectl.ok(&["create", "configmap", "behind"]);
    let seen = latest(&cluster);
    assert!(cluster.process.interrupt().success());
    let mut bytes = fs::read(&log).unwrap();
    bytes[damaged] ^= 0x55;
    fs::write(&log, &bytes).unwrap();

    let mut refused = Process::start(&ground.arguments());
    assert!(!refused.wait_for_end(PATIENCE).success());
    let name = log.file_name().unwrap().to_str().unwrap();
    let said = eventually("the reason", PATIENCE, || {
        refused.line("is corrupt at byte").ok_or_else(|| refused.log())
    });
    assert!(said.contains(name), "it names the file: {said}");
    assert_eq!(fs::read(&log).unwrap(), bytes, "nothing was changed");

    let ground = ground.with(&[relaxed, "--accept-data-loss-from-damaged-store"]);
    let mut cluster = ground.start();
    let told = cluster.process.wait_for_line("DATA LOST", PATIENCE);
    assert!(told.contains(name) && told.contains("dropped"), "{told}");
    let kubectl = cluster.kubectl();
    kubectl.ok(&["get", "configmap", "before"]);
    kubectl.fails(&["get", "configmap", "behind"]);
    let now = latest(&cluster);
    assert!(now > seen + JUMP / 2, "{now} is no revision that somebody saw, as {seen}");
    kubectl.ok(&["create", "configmap", "after"]);
    let aside = log.with_file_name(format!("dropped-{name}"));
    assert_eq!(fs::read(aside).unwrap(), bytes, "the damaged file is kept");
    cluster.process.kill();

    // It is whole now: nobody need accept anything, and what was answered is there.
    let ground = ground.with(&[relaxed]);
    let cluster = ground.start();
    for name in ["before", "after"] {
        cluster.kubectl().ok(&["get", "configmap", name]);
    }
    assert_eq!(cluster.process.line("DATA LOST"), None);
}
