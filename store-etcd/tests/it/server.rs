use crate::{certificates::Authority, gateway};
use async_trait::async_trait;
use kubeplane_store_etcd::{EtcdOptions, EtcdStore, EtcdTls};
use kubeplane_store_trait::{Store, conformance::Factory};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const CERTIFICATE: &str = "etcd.crt";
const KEY: &str = "etcd.key";
const TRUSTED: &str = "ca.crt";

/// An etcd of its own on random loopback ports; killed when dropped.
pub(crate) struct Etcd {
    process: Child,
    command: Vec<String>,
    url: String,
    /// Where it listens without TLS, too.
    plain: String,
    tls: Option<EtcdTls>,
    user: Option<(&'static str, &'static str)>,
    data: TempDir,
}

impl Etcd {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With further arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let [client, peer] = urls();
        let name = "default";
        let place =
            Place { name, client: &client, peer: &peer, initial: &format!("{name}={peer}") };
        Self::placed(&place, command(), arguments)
    }

    /// A cluster of three members on loopback.
    pub(crate) fn three() -> [Self; 3] {
        let places = ["a", "b", "c"].map(|name| (name, urls()));
        let initial = places.each_ref().map(|(name, [_, peer])| format!("{name}={peer}")).join(",");
        places.map(|(name, [client, peer])| {
            let place = Place { name, client: &client, peer: &peer, initial: &initial };
            Self::placed(&place, command(), &[])
        })
    }

    /// One member of a cluster, in the network namespace of its name.
    pub(crate) fn member(place: &Place<'_>) -> Self {
        let within = ["ip", "netns", "exec", place.name].map(str::to_owned);
        Self::placed(place, [&within[..], &command()].concat(), &[])
    }

    fn placed(place: &Place<'_>, mut command: Vec<String>, further: &[&str]) -> Self {
        let data = directory();
        command.extend(place.arguments(data.path()));
        command.extend(["--listen-client-urls".into(), place.client.into()]);
        command.extend(further.iter().map(|&argument| argument.to_owned()));
        let process = spawn(&command);
        let (url, plain) = (place.client.to_owned(), place.client.to_owned());
        Self { process, command, url, plain, tls: None, user: None, data }
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
        certify(data.path(), authority);
        let file = |name: &str| data.path().join(name).display().to_string();
        let [plain, peer] = urls();
        let [url, _] = urls().map(|url| url.replace("http:", "https:"));
        let member = data.path().join("member");
        let name = "default";
        let place = Place { name, client: &url, peer: &peer, initial: &format!("{name}={peer}") };
        let mut command = other_command();
        command.extend(place.arguments(&member));
        command.extend(["--listen-client-urls".into(), format!("{url},{plain}")]);
        command.extend(["--cert-file".into(), file(CERTIFICATE)]);
        command.extend(["--key-file".into(), file(KEY)]);
        command.extend(["--trusted-ca-file".into(), file(TRUSTED)]);
        command.push("--client-cert-auth".into());
        let process = spawn(&command);
        let tls = Some(authority.client());
        Self { process, command, url, plain, tls, user: None, data }
    }

    /// Lets another authority vouch for it and for its clients, from the next start.
    pub(crate) fn certify(&self, authority: &Authority) {
        certify(self.data.path(), authority);
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

    /// One that stops has stopped when this returns: its threads do so one by one, and meanwhile answer what came before.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, signal).unwrap();
        while signal == rustix::process::Signal::STOP && !self.is_stopped() {
            std::thread::yield_now();
        }
    }

    fn is_stopped(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        threads.filter_map(Result::ok).all(|thread| {
            // The state stands behind the name. A thread that is gone does nothing any more.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again where it was, with the data it had.
    pub(crate) fn restart(&mut self) {
        self.process = spawn(&self.command);
    }

    pub(crate) fn await_gateway(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
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
    let deadline = Instant::now() + Duration::from_secs(60);
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

/// What etcd has of an authority.
fn certify(directory: &Path, authority: &Authority) {
    let (certificate, key) = authority.sign("etcd");
    for (name, text) in
        [(CERTIFICATE, &certificate), (KEY, &key), (TRUSTED, &authority.certificate)]
    {
        fs::write(directory.join(name), text).unwrap();
    }
}

fn directory() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    tempfile::tempdir_in(base).unwrap()
}

/// Two URLs on free ports, which are given to nobody else for a minute: of a connection that was there the system
/// remembers the side that ended it, and picks no port that it remembers; whoever asks for it by its number gets it.
pub(crate) fn urls() -> [String; 2] {
    let free = || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _client = TcpStream::connect(address).unwrap();
        drop(listener.accept().unwrap());
        format!("http://{address}")
    };
    [free(), free()]
}

/// What a member is called, where it is reached, and the members it begins with, as in `a=http://…,b=http://…`.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) client: &'a str,
    pub(crate) peer: &'a str,
    pub(crate) initial: &'a str,
}

impl Place<'_> {
    fn arguments(&self, data: &Path) -> impl Iterator<Item = String> {
        let data = data.display().to_string();
        [
            ["--name", self.name],
            ["--data-dir", &data],
            ["--advertise-client-urls", self.client],
            ["--listen-peer-urls", self.peer],
            ["--initial-advertise-peer-urls", self.peer],
            ["--initial-cluster", self.initial],
            ["--heartbeat-interval", "50"],
            ["--election-timeout", "500"],
        ]
        .map(|argument| argument.map(str::to_owned))
        .into_iter()
        .flatten()
    }
}

fn command() -> Vec<String> {
    vec![std::env::var("KUBEPLANE_ETCD").unwrap_or_else(|_| "etcd".into())]
}

/// Another etcd where there are several, so that each runs a suite; `./test --long` runs all suites on each by turns.
fn other_command() -> Vec<String> {
    let all = std::env::var("KUBEPLANE_ETCDS").unwrap_or_default();
    match all.rsplit(':').next() {
        Some(last) if !last.is_empty() && std::env::var_os("KUBEPLANE_LONG").is_none() => {
            vec![last.to_owned()]
        }
        _ => command(),
    }
}

fn spawn(command: &[String]) -> Child {
    Command::new(&command[0])
        .args(&command[1..])
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

    fn watchers(&self) -> Option<usize> {
        let watchers = gateway::metric(&self.plain, "etcd_debugging_mvcc_watcher_total", &[]);
        Some(usize::try_from(watchers).unwrap())
    }
}
