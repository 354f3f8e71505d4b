use super::{BUSYBOX_IMAGE, PAUSE_IMAGE, busybox_image, pause_image};
use crate::{CriClient, Images, v1};
use std::{
    fs, io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long containerd may take to answer.
const START: Duration = Duration::from_secs(30);

/// What a [`Containerd`] finds around it.
#[derive(Debug, Clone, Default)]
pub struct ContainerdOptions {
    /// Where network configurations are looked for; a fresh, empty directory by default, with which only
    /// sandboxes on the host's network can run.
    pub cni_config: Option<PathBuf>,
    /// Where network plugins are; by default where Debian has them.
    pub cni_plugins: Option<PathBuf>,
}

/// A containerd of its own, with its data in a temporary directory and the images [`PAUSE_IMAGE`] and
/// [`BUSYBOX_IMAGE`]. Dropping it ends it with all its containers.
#[derive(Debug)]
pub struct Containerd {
    process: Child,
    directory: TempDir,
}

impl Containerd {
    /// Starts one and waits until it answers.
    ///
    /// # Errors
    /// When containerd or busybox is missing or does not start; the error holds the end of its log.
    pub fn start() -> io::Result<Self> {
        Self::start_with(ContainerdOptions::default())
    }

    /// Like [`Containerd::start`], with options.
    ///
    /// # Errors
    /// Those of [`Containerd::start`].
    pub fn start_with(options: ContainerdOptions) -> io::Result<Self> {
        let directory = tempfile::Builder::new().prefix("kubeplane-containerd-").tempdir()?;
        let config = directory.path().join("config.toml");
        fs::write(&config, configuration(directory.path(), options)?)?;
        let log = fs::File::create(directory.path().join("containerd.log"))?;
        let process = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("containerd: {error}")))?;
        let mut started = Self { process, directory };
        started.wait_ready()?;
        let archive = started.directory.path().join("image.tar");
        pause_image(&archive)?;
        started.import(&archive)?;
        busybox_image(&archive, BUSYBOX_IMAGE)?;
        started.import(&archive)?;
        Ok(started)
    }

    /// The socket it listens at.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        socket(self.directory.path())
    }

    /// A directory that goes with it, for logs and mounted files.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("containerd.log")).unwrap_or_default()
    }

    /// Takes an image from an archive; containers can be made from it on return.
    ///
    /// # Errors
    /// When `ctr` is missing or refuses the archive, or the image is not listed in time.
    pub fn import(&self, archive: &Path) -> io::Result<()> {
        let path = archive.to_string_lossy();
        self.ctr(&["images", "import", "--snapshotter", "native", &path])?;
        let names = self.ctr(&["images", "list", "--quiet"])?;
        let names: Vec<_> = names.lines().filter(|name| !name.starts_with("sha256:")).collect();
        // By a runtime of its own: the caller may be in one that must not be blocked.
        std::thread::scope(|scope| {
            let listed = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(wait_listed(&self.socket(), &names))
            };
            let ended = scope.spawn(listed).join();
            ended.unwrap_or_else(|_| Err(io::Error::other("looking for images panicked")))
        })
    }

    /// Runs `ctr` in the namespace of the container runtime interface; what it prints.
    ///
    /// # Errors
    /// When `ctr` is missing or fails; the error holds what it says.
    pub fn ctr(&self, arguments: &[&str]) -> io::Result<String> {
        let output = Command::new("ctr")
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| io::Error::new(error.kind(), format!("ctr: {error}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("ctr {arguments:?}: {said}")));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn wait_ready(&mut self) -> io::Result<()> {
        let start = Instant::now();
        let socket = self.socket();
        loop {
            if UnixStream::connect(&socket).is_ok() && self.ctr(&["version"]).is_ok() {
                return Ok(());
            }
            if self.process.try_wait()?.is_some() || start.elapsed() > START {
                let log = self.log();
                let mut end: Vec<&str> = log.lines().rev().take(20).collect();
                end.reverse();
                return Err(io::Error::other(format!(
                    "containerd does not start: {}",
                    end.join("\n")
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends every container, so that no process, mount or control group stays behind.
    fn end_containers(&self) {
        let tasks = self.ctr(&["tasks", "list", "--quiet"]).unwrap_or_default();
        for task in tasks.split_whitespace() {
            // Whatever cannot be ended goes with the machine.
            let _ = self.ctr(&["tasks", "delete", "--force", task]);
        }
    }

    fn unmount(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let below = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1));
        for mount in below.filter(|mount| Path::new(mount).starts_with(self.directory.path())) {
            // What stays mounted keeps its directory, and nothing else.
            let _ = Command::new("umount").args(["--lazy", mount]).status();
        }
    }
}

/// Waits until the container runtime interface knows these images, of which it is told after they are there.
async fn wait_listed(socket: &Path, names: &[&str]) -> io::Result<()> {
    let client = CriClient::connect(socket).await.map_err(io::Error::other)?;
    let start = Instant::now();
    loop {
        let images = client.list_images(v1::ImageFilter::default()).await;
        let images = images.map_err(io::Error::other)?;
        let known =
            |name: &&str| images.iter().any(|own| own.repo_tags.iter().any(|tag| tag == name));
        let Some(missing) = names.iter().find(|name| !known(name)) else { return Ok(()) };
        if start.elapsed() > START {
            return Err(io::Error::other(format!("containerd does not list the image {missing}")));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.end_containers();
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.unmount();
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("containerd.sock")
}

fn configuration(directory: &Path, options: ContainerdOptions) -> io::Result<String> {
    let cni_config = options.cni_config.unwrap_or_else(|| directory.join("cni"));
    fs::create_dir_all(&cni_config)?;
    let cni_plugins = options.cni_plugins.unwrap_or_else(|| PathBuf::from("/usr/lib/cni"));
    // Machines for tests often may not lower the score by which the kernel picks what to kill.
    // Paths are quoted as TOML strings, whose escapes are those of Rust for such names.
    Ok(format!(
        r#"version = 2
root = {root:?}
state = {state:?}
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]

[grpc]
  address = {socket:?}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {PAUSE_IMAGE:?}
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"

[plugins."io.containerd.grpc.v1.cri".cni]
  conf_dir = {cni_config:?}
  bin_dir = {cni_plugins:?}
"#,
        root = directory.join("root"),
        state = directory.join("state"),
        socket = socket(directory),
    ))
}
