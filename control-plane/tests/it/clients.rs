//! Clients of other makes against the built binary: the official ones in Python and JavaScript, kube-rs's
//! controller runtime, and one that speaks protobuf with bytes of its own.

mod javascript;
mod protobuf;
mod python;
mod rust;

use crate::cluster::Cluster;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Where the scripts are.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(name)
}

/// Where `./test` has put a client, as it says or where it puts it.
#[track_caller]
pub(crate) fn installed(variable: &str, place: &str) -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools").join(place);
    let path = std::env::var_os(variable).map_or_else(usual, PathBuf::from);
    assert!(path.exists(), "{} is missing: ./test installs it", path.display());
    path
}

/// Runs a script as the administrator until it ends well.
#[track_caller]
fn run(cluster: &Cluster, command: &mut Command) {
    let home = tempfile::tempdir().unwrap();
    command.env("KUBECONFIG", &cluster.kubeconfig).env("HOME", home.path()).stdin(Stdio::null());
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    eprintln!("{out}");
}
