use async_trait::async_trait;
use kubeplane_store_etcd::{EtcdOptions, EtcdStore};
use kubeplane_store_trait::{Store, conformance::Factory};
use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// An etcd of its own on random loopback ports; killed when dropped.
pub(crate) struct Etcd {
    process: Child,
    url: String,
    peer: String,
    data: TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let data = tempfile::tempdir_in(base).unwrap();
        let (client, peer) = ports();
        let url = format!("http://127.0.0.1:{client}");
        let peer = format!("http://127.0.0.1:{peer}");
        let process = spawn(&data, &url, &peer);
        Self { process, url, peer, data }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, signal).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again where it was, with the data it had.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.data, &self.url, &self.peer);
    }

    pub(crate) async fn connect(&self) -> EtcdStore {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match EtcdStore::connect(EtcdOptions::new([self.url.as_str()])).await {
                Ok(store) => match store.status().await {
                    Ok(_) => return store,
                    Err(error) if Instant::now() > deadline => panic!("etcd: {error}"),
                    Err(_) => {}
                },
                Err(error) if Instant::now() > deadline => panic!("etcd: {error}"),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn ports() -> (u16, u16) {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (client, peer) = (listen(), listen());
    (client.local_addr().unwrap().port(), peer.local_addr().unwrap().port())
}

fn spawn(data: &TempDir, client: &str, peer: &str) -> Child {
    let program = std::env::var_os("KUBEPLANE_ETCD").unwrap_or_else(|| "etcd".into());
    Command::new(&program)
        .arg("--data-dir")
        .arg(data.path())
        .args(["--listen-client-urls", client, "--advertise-client-urls", client])
        .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("these tests need etcd, in PATH or named by KUBEPLANE_ETCD: {error}")
        })
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[async_trait]
impl Factory for Etcd {
    async fn fresh(&self) -> Arc<dyn Store> {
        Arc::new(self.connect().await)
    }

    async fn reopen(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        drop(store);
        Some(self.fresh().await)
    }
}
