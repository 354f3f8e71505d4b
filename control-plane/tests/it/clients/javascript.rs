//! The official JavaScript client.

use super::{installed, run, script};
use crate::cluster::Ground;
use std::process::Command;

#[test]
fn the_javascript_client_sees_what_it_sees_at_the_original() {
    let client = installed("KUBEPLANE_JAVASCRIPT_PATH", "javascript-client");
    let client = client.canonicalize().unwrap();
    let ground = Ground::simulated();
    let cluster = ground.start();
    let mut node = Command::new("node");
    node.arg(script("javascript.mjs")).env("KUBEPLANE_JAVASCRIPT_PATH", client);
    run(&cluster, &mut node);
}
