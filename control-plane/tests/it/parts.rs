//! The real parts of the machine: kubectls, etcd, containerd. What is missing fails a test, it skips none.

use kubeplane_runtime_cri::testing::{Containerd, ContainerdOptions, busybox_image};
use std::{
    collections::BTreeMap,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// The minor versions continuous integration goes through, beside the default kubectl.
const CHOSEN: [&str; 3] = ["1.27", "1.30", "1.33"];

/// `./test --long` asks for every combination.
pub(crate) fn is_long() -> bool {
    std::env::var_os("KUBEPLANE_LONG").is_some()
}

/// A program that says it is kubectl, and which.
#[derive(Debug, Clone)]
pub(crate) struct KubectlProgram {
    pub(crate) path: PathBuf,
    /// Major and minor version, as in `1.33`.
    pub(crate) version: String,
}

impl KubectlProgram {
    /// Asks the program itself: its name need not tell.
    fn ask(path: PathBuf) -> Self {
        let output = Command::new(&path)
            .args(["version", "--client", "--output=json"])
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("these tests need {}: {error}", path.display()));
        let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let whole = said["clientVersion"]["gitVersion"].as_str().unwrap_or_default();
        let mut numbers = whole.trim_start_matches('v').split('.');
        let version = match (numbers.next(), numbers.next()) {
            (Some(major), Some(minor)) => format!("{major}.{minor}"),
            _ => panic!("{} does not tell its version: {output:?}", path.display()),
        };
        Self { path, version }
    }
}

/// The kubectls to test with, the default one first.
pub(crate) fn kubectls() -> Vec<KubectlProgram> {
    let all: Vec<KubectlProgram> = match std::env::var_os("KUBEPLANE_KUBECTLS") {
        Some(list) => std::env::split_paths(&list).map(KubectlProgram::ask).collect(),
        None => vec![KubectlProgram::ask("kubectl".into())],
    };
    // Where there are few, none can be left out.
    if is_long() || all.len() <= CHOSEN.len() + 1 {
        return all;
    }
    let is_chosen = |(index, one): &(usize, KubectlProgram)| {
        *index == 0 || CHOSEN.contains(&one.version.as_str())
    };
    all.into_iter().enumerate().filter(is_chosen).map(|(_, one)| one).collect()
}

/// The kubectl tests use that are not about kubectl.
pub(crate) fn default_kubectl() -> PathBuf {
    let first =
        std::env::var_os("KUBEPLANE_KUBECTLS").and_then(|list| std::env::split_paths(&list).next());
    first.unwrap_or_else(|| "kubectl".into())
}

/// The etcds to test with: one, or under `./test --long` each that is here.
pub(crate) fn etcds() -> Vec<PathBuf> {
    match std::env::var_os("KUBEPLANE_ETCDS") {
        Some(list) if is_long() => std::env::split_paths(&list).collect(),
        _ => vec![std::env::var_os("KUBEPLANE_ETCD").unwrap_or_else(|| "etcd".into()).into()],
    }
}

/// A port of the loopback interface that is free, and is given to nobody else for a minute: of a connection that was there
/// the system remembers the side that ended it, and picks no port that it remembers; whoever asks for it by its number
/// gets it.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _client = TcpStream::connect(address).unwrap();
    drop(listener.accept().unwrap());
    address.port()
}

/// Waits for a condition; panics with what the last look gave when the time is over.
#[track_caller]
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> T {
    let deadline = std::time::Instant::now() + limit;
    loop {
        match look() {
            Ok(value) => return value,
            Err(last) if std::time::Instant::now() > deadline => {
                panic!("{what} not within {limit:?}: {last}")
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// An etcd of its own on loopback; killed when dropped.
#[derive(Debug)]
pub(crate) struct Etcd {
    process: Child,
    url: String,
    _data: TempDir,
}

impl Etcd {
    pub(crate) fn start(program: &Path) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let data = tempfile::tempdir_in(base).unwrap();
        let url = format!("http://127.0.0.1:{}", free_port());
        let peer = format!("http://127.0.0.1:{}", free_port());
        let process = Command::new(program)
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("these tests need {}: {error}", program.display()));
        let etcd = Self { process, url, _data: data };
        let address = etcd.url.trim_start_matches("http://").to_owned();
        eventually("etcd listens", Duration::from_secs(30), || {
            TcpStream::connect(&address).map_err(|error| error.to_string())
        });
        etcd
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The image the workload is updated to.
pub(crate) const NEXT_IMAGE: &str = "busybox:1.37";

/// A containerd with the images of the tests, and where it looks for its network configuration.
#[derive(Debug)]
pub(crate) struct RealRuntime {
    pub(crate) containerd: Containerd,
    pub(crate) cni: TempDir,
}

impl RealRuntime {
    pub(crate) fn start() -> Self {
        let cni = tempfile::tempdir().unwrap();
        let options =
            ContainerdOptions { cni_config: Some(cni.path().to_owned()), cni_plugins: None };
        let containerd = Containerd::start_with(options).unwrap();
        let archive = cni.path().join("image.tar");
        busybox_image(&archive, &format!("docker.io/library/{NEXT_IMAGE}")).unwrap();
        containerd.import(&archive).unwrap();
        std::fs::remove_file(&archive).unwrap();
        Self { containerd, cni }
    }

    /// Kills the process of a container from outside.
    pub(crate) fn kill(&self, container: &str) {
        self.containerd.ctr(&["tasks", "kill", "--signal", "SIGKILL", container]).unwrap();
    }

    /// The processes of containers, by container.
    pub(crate) fn tasks(&self) -> BTreeMap<String, String> {
        let listed = self.containerd.ctr(&["tasks", "list"]).unwrap();
        let rows = listed.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.map(|row| (row[0].to_owned(), row[1].to_owned())).collect()
    }
}
