//! An etcd of a test's own.

use std::{net::TcpListener, process::Stdio, time::Duration};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct Etcd {
    url: String,
    _process: Child,
    _data: TempDir,
}

/// An address that is given to nobody else for a minute: the system remembers the connection that was there.
fn free() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _client = std::net::TcpStream::connect(address).unwrap();
    drop(listener.accept().unwrap());
    address.to_string()
}

impl Etcd {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let address = free();
        let (url, peer) = (format!("http://{address}"), format!("http://{}", free()));
        let program = std::env::var_os("KUBEPLANE_ETCD").unwrap_or_else(|| "etcd".into());
        let process = Command::new(program)
            .arg("--data-dir")
            .arg(data.path())
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("this test needs etcd");
        let listens = async {
            while TcpStream::connect(&address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), listens).await.expect("etcd listens");
        Self { url, _process: process, _data: data }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}
