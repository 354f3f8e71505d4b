//! As a user without rights: everything but real containers.

use crate::{
    calls::MANIFEST,
    cluster::Process,
    kubectl::Kubectl,
    parts::{default_kubectl, free_port},
};
use kubeplane::runtime::CONTAINERD;
use std::{
    fs::{self, Permissions},
    os::unix::{
        fs::{PermissionsExt, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
/// Whom nothing belongs to.
const NOBODY: u32 = 65534;

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a command line begins with to be that of a user without rights; nothing for whoever has none anyway.
fn as_nobody() -> Vec<String> {
    if !is_root() {
        return Vec::new();
    }
    let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
    let words = ["setpriv", &ids[0], &ids[1], "--clear-groups", "--"];
    words.map(str::to_owned).to_vec()
}

pub(crate) fn command(words: &[String]) -> Command {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// A directory everybody may look into.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// The binary where a user without rights may run it, which need not be where it was built.
fn program(directory: &Path) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_kubeplane"));
    let look = ["test", "-x", &built.display().to_string()].map(str::to_owned);
    if command(&[as_nobody(), look.to_vec()].concat()).status().unwrap().success() {
        return built;
    }
    let copy = directory.join("kubeplane");
    fs::copy(&built, &copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    copy
}

fn serve(program: &Path, data: &Path) -> Vec<String> {
    let words = [
        program.display().to_string(),
        "serve".to_owned(),
        format!("--data-dir={}", data.display()),
        format!("--listen=127.0.0.1:{}", free_port()),
        format!("--kubelet-listen=127.0.0.1:{}", free_port()),
        "--node-name=node-1".to_owned(),
        "--log=info".to_owned(),
        "--runtime=auto".to_owned(),
    ];
    [as_nobody(), words.to_vec()].concat()
}

/// Runs what follows its first argument, a socket, where that is containerd's; where there is none if it is empty.
const WITH_CONTAINERD: &str = "set -e
mount -t tmpfs tmpfs /run
if [ -n \"$1\" ]; then
  mkdir /run/containerd
  touch /run/containerd/containerd.sock
  mount --bind \"$1\" /run/containerd/containerd.sock
fi
shift
exec \"$@\"";

/// A command line in a mount namespace where `socket`, or nothing, is containerd's; only root can make one.
pub(crate) fn with_containerd(socket: Option<&Path>, words: Vec<String>) -> Vec<String> {
    if !is_root() {
        return words;
    }
    let socket = socket.map(|socket| socket.display().to_string()).unwrap_or_default();
    let start = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        WITH_CONTAINERD,
        "sh",
        &socket,
    ];
    [start.map(str::to_owned).to_vec(), words].concat()
}

#[test]
fn a_user_without_rights_has_a_cluster_and_is_told_why_containers_are_simulated() {
    let home = open_directory();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    // Somebody listens there, and only root may connect.
    let socket = home.path().join("containerd.sock");
    let _containerd = UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, Permissions::from_mode(0o600)).unwrap();
    if is_root() {
        chown(&data, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let line = serve(&program(home.path()), &data);
    let mut process = Process::start_by(&mut command(&with_containerd(Some(&socket), line)));
    let line = process.wait_for_line("container runtime: ", LIMIT);
    assert!(line.starts_with("container runtime: simulated, no real containers ("), "{line}");
    assert!(line.contains(CONTAINERD), "{line}");
    if is_root() {
        assert!(line.contains("cannot be used") && line.contains("Permission denied"), "{line}");
    }
    process.wait_for_line("kubelet ready", LIMIT);

    let line = process.line("export KUBECONFIG=").expect("it says where the kubeconfig is");
    let kubeconfig = PathBuf::from(line.trim_start_matches("export KUBECONFIG="));
    assert!(kubeconfig.starts_with(fs::canonicalize(&data).unwrap()), "{line}");
    let kubectl = Kubectl::new(&default_kubectl(), &kubeconfig);
    kubectl.ok(&["apply", "-f", MANIFEST]);
    let status = ["rollout", "status", "-n", "web", "deployment/web", "--timeout=60s"];
    assert!(kubectl.ok(&status).ends_with("successfully rolled out\n"));
    let ready = ["wait", "-n", "web", "pod", "--all", "--for=condition=Ready", "--timeout=60s"];
    assert_eq!(kubectl.ok(&ready).lines().count(), 3);
    let page = ["exec", "-n", "web", "deployment/web", "--", "cat", "/www/index.html"];
    assert_eq!(kubectl.ok(&page), "hello, world\n");
    assert!(process.interrupt().success(), "{}", process.log());
}

#[test]
fn a_data_directory_of_somebody_else_is_refused_by_name() {
    let home = open_directory();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    // For root's directory its owner alone may write; for one's own nobody.
    let mode = if is_root() { 0o755 } else { 0o555 };
    fs::set_permissions(&data, Permissions::from_mode(mode)).unwrap();
    let program = program(home.path());
    for place in [data.clone(), data.join("below")] {
        let mut process = Process::start_by(&mut command(&serve(&program, &place)));
        let status = process.wait_for_end(LIMIT);
        let said = process.log();
        assert_eq!(status.code(), Some(1), "{said}");
        let expected = format!("kubeplane: data directory {}: Permission denied", place.display());
        assert!(said.contains(&expected), "{said}");
    }
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "nothing was made there");
}
