//! The official Python client.

use super::{installed, run, script};
use crate::cluster::Ground;
use std::process::Command;

#[test]
fn the_python_client_sees_what_it_sees_at_the_original() {
    let client = installed("KUBEPLANE_PYTHON_PATH", "python-client");
    let ground = Ground::simulated();
    let cluster = ground.start();
    let mut python = Command::new("python3");
    python.arg("-B").arg(script("python.py")).env("PYTHONPATH", client);
    run(&cluster, &mut python);
}
