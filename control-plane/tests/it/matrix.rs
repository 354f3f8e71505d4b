//! The list of kubectl calls against each store and runtime.
//!
//! Four clusters, one for each pair of store and runtime. Half of the kubectls go to the first and the
//! last of them, the other half to the two between: so each pair of kubectl and store, kubectl and
//! runtime, store and runtime is met. Under `./test --long` every kubectl goes to all four, and to those on
//! etcd once for each etcd that is here.

use crate::{
    calls::{self, World},
    cluster::Ground,
    network,
    parts::{etcds, is_long, kubectls},
};

#[test]
fn memory_and_simulated() {
    run(Ground::simulated(), 0);
}

#[test]
fn etcd_and_simulated() {
    for etcd in etcds() {
        run(Ground::simulated().on_etcd_of(&etcd), 1);
    }
}

#[test]
fn memory_and_containerd() {
    if !network::enter("matrix::memory_and_containerd") {
        run(Ground::simulated().on_containerd(), 1);
    }
}

#[test]
fn etcd_and_containerd() {
    if !network::enter("matrix::etcd_and_containerd") {
        for etcd in etcds() {
            run(Ground::simulated().on_etcd_of(&etcd).on_containerd(), 0);
        }
    }
}

fn run(ground: Ground, half: usize) {
    let kubectls = kubectls();
    let chosen = kubectls
        .iter()
        .enumerate()
        .filter(|(index, _)| is_long() || kubectls.len() == 1 || index % 2 == half);
    let cluster = ground.start();
    for (_, program) in chosen {
        eprintln!("with kubectl {} at {}", program.version, program.path.display());
        let kubectl = cluster.kubectl_of(&program.path);
        calls::all(&World { kubectl: &kubectl, cluster: &cluster, real: ground.runtime.as_ref() });
    }
}
