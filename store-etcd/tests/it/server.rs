use crate::{certificates::Authority, gateway};
use async_trait::async_trait;
use kubeplane_store_etcd::{EtcdOptions, EtcdStore, EtcdTls};
use kubeplane_store_trait::{Store, conformance::Factory};
use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// An etcd of its own on random loopback ports; killed when dropped.
pub(crate) struct Etcd {
    process: Child,
    arguments: Vec<String>,
    url: String,
    /// Where it listens without TLS, too.
    plain: String,
    tls: Option<EtcdTls>,
    user: Option<(&'static str, &'static str)>,
    _data: TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With further arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let [client, peer] = urls();
        Self::member("default", &client, &peer, &format!("default={peer}"), arguments)
    }

    /// One member of the cluster `initial`, as in `a=http://…,b=http://…`.
    pub(crate) fn member(
        name: &str,
        client: &str,
        peer: &str,
        initial: &str,
        further: &[&str],
    ) -> Self {
        let data = directory();
        let mut arguments = arguments(name, data.path(), client, peer, initial);
        arguments.extend(["--listen-client-urls".into(), client.into()]);
        arguments.extend(further.iter().map(|&argument| argument.to_owned()));
        let process = spawn(&arguments);
        let (url, plain) = (client.to_owned(), client.to_owned());
        Self { process, arguments, url, plain, tls: None, user: None, _data: data }
    }

    /// Behind TLS, with client certificates and users.
    pub(crate) fn secured() -> Self {
        let mut etcd = Self::tls(&Authority::new());
        etcd.await_gateway();
        gateway::enable_users(&etcd.plain);
        etcd.user = Some(gateway::ROOT);
        etcd
    }

    /// Behind TLS, with client certificates.
    pub(crate) fn tls(authority: &Authority) -> Self {
        let data = directory();
        let file = |name: &str, text: &str| {
            let path = data.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (certificate, key) = authority.sign("etcd");
        let [plain, peer] = urls();
        let [url, _] = urls().map(|url| url.replace("http:", "https:"));
        let member = data.path().join("member");
        let mut arguments = arguments("default", &member, &url, &peer, &format!("default={peer}"));
        arguments.extend(["--listen-client-urls".into(), format!("{url},{plain}")]);
        arguments.extend(["--cert-file".into(), file("etcd.crt", &certificate)]);
        arguments.extend(["--key-file".into(), file("etcd.key", &key)]);
        arguments.extend(["--trusted-ca-file".into(), file("ca.crt", &authority.certificate)]);
        arguments.push("--client-cert-auth".into());
        let process = spawn(&arguments);
        let tls = Some(authority.client());
        Self { process, arguments, url, plain, tls, user: None, _data: data }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens without TLS.
    pub(crate) fn plain(&self) -> &str {
        &self.plain
    }

    /// How to reach it.
    pub(crate) fn options(&self) -> EtcdOptions {
        let mut options = EtcdOptions::new([self.url.as_str()]);
        options.tls = self.tls.clone();
        match self.user {
            Some((name, password)) => options.user(name, password),
            None => options,
        }
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
        self.process = spawn(&self.arguments);
    }

    pub(crate) fn await_gateway(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = || {
            gateway::try_call(&self.plain, "/v3/kv/range", &serde_json::json!({"key": "AA=="}), "")
        };
        while status().is_none_or(|status| status.get("error").is_some()) {
            assert!(Instant::now() < deadline, "etcd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) async fn connect(&self) -> EtcdStore {
        connect(self.options()).await
    }
}

/// Connects to an etcd that may still be starting.
pub(crate) async fn connect(options: EtcdOptions) -> EtcdStore {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match EtcdStore::connect(options.clone()).await {
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

fn directory() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(base).unwrap()
}

/// Two URLs on free ports.
pub(crate) fn urls() -> [String; 2] {
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    [listen(), listen()].map(|socket| format!("http://{}", socket.local_addr().unwrap()))
}

fn arguments(name: &str, data: &Path, client: &str, peer: &str, initial: &str) -> Vec<String> {
    let data = data.display().to_string();
    [
        ["--name", name],
        ["--data-dir", &data],
        ["--advertise-client-urls", client],
        ["--listen-peer-urls", peer],
        ["--initial-advertise-peer-urls", peer],
        ["--initial-cluster", initial],
        ["--heartbeat-interval", "50"],
        ["--election-timeout", "500"],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect()
}

fn spawn(arguments: &[String]) -> Child {
    let program = std::env::var_os("KUBEPLANE_ETCD").unwrap_or_else(|| "etcd".into());
    Command::new(&program)
        .args(arguments)
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
