//! The store and a real etcd on the same disk in one run, with and without flushes:
//! `cargo bench -p kubeplane-store-memory --bench etcd`. `KUBEPLANE_ETCD` names the etcd programs (separated by `:`).
//! `KUBEPLANE_BENCH_ALL=1` measures every size with every number of writers and watchers, not only some.
//!
//! The two take turns, round by round, and the disk is asked how fast it is between; each figure is the median of the
//! rounds, with the least and the most of them beside it. `KUBEPLANE_BENCH_ROUNDS` says how many.
//!
//! Of etcd only the server's CPU counts, not that of its client here; of the store everything counts, the writers
//! included.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints what it measures"
)]

mod load;

use kubeplane_store_etcd::{EtcdOptions, EtcdStore};
use kubeplane_store_memory::{Durability, MemoryStore};
use kubeplane_store_trait::Store;
use load::{Load, Plan, Probe, Rounds, Watching, cpu_seconds_of};
use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// That of the `kubeplane` binary: what one thread allocates, another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Value sizes, writers and watchers of a measurement.
type Case = (usize, u32, u32);

const SIZES: [usize; 3] = [256, 1024, 10_240];
const WRITERS: [u32; 3] = [1, 100, 1000];
const WATCHERS: [u32; 3] = [0, 10, 1000];

/// What is measured when nobody asks for all.
const CASES: [Case; 11] = [
    (256, 1, 0),
    (256, 100, 0),
    (256, 1000, 0),
    (1024, 1, 0),
    (1024, 100, 0),
    (1024, 1000, 0),
    (10_240, 1, 0),
    (10_240, 100, 0),
    (10_240, 1000, 0),
    (1024, 100, 10),
    (1024, 100, 1000),
];

fn main() {
    let plan = Plan::of_this_run();
    let programs = std::env::var("KUBEPLANE_ETCD").unwrap_or_else(|_| "etcd".into());
    let runtime = load::runtime();
    let cases = cases();
    load::titles();
    for (name, durability, flags) in [
        ("flushed", Durability::Disk, &[][..]),
        ("not flushed", Durability::Process, &["--unsafe-no-fsync"][..]),
    ] {
        for program in programs.split(':') {
            let program = Path::new(program);
            runtime.block_on(compare((name, durability), program, flags, (&cases, plan)));
        }
    }
}

fn cases() -> Vec<Case> {
    if std::env::var_os("KUBEPLANE_BENCH_ALL").is_none_or(|all| all.is_empty() || all == "0") {
        return CASES.to_vec();
    }
    let mut all = Vec::new();
    for watchers in WATCHERS {
        for size in SIZES {
            all.extend(WRITERS.map(|writers| (size, writers, watchers)));
        }
    }
    all
}

async fn compare(
    (name, durability): (&str, Durability),
    program: &Path,
    flags: &[&str],
    (cases, plan): (&[Case], Plan),
) {
    for case in cases.iter().copied() {
        let directory = tempfile::tempdir_in(load::disk()).unwrap();
        let mut probe = Probe::new(directory.path(), case.0);
        let builder = MemoryStore::builder().path(directory.path().join("store"));
        let store = builder.durability(durability).open().unwrap();
        let Some(etcd) = Etcd::start(program, flags) else {
            println!("{} does not start with {flags:?}", program.display());
            return;
        };
        let mut ours = Side::start(Arc::new(store), case, "self").await;
        let process = etcd.process.id().to_string();
        let mut theirs = Side::start(etcd.connect().await, case, &process).await;
        for round in 0..=plan.rounds {
            // Whoever is second finds the disk as the other left it, so they take turns.
            let mut sides = [&mut ours, &mut theirs];
            sides.rotate_left(round % 2);
            for side in sides {
                probe.ask();
                side.round(plan, round > 0).await;
            }
        }
        let disk = format!("fdatasync {}{}", probe.told(), ours.watched());
        ours.rounds.print(name, &describe("kubeplane", case), &disk);
        let times = ours.rounds.per_cpu() / theirs.rounds.per_cpu();
        // The target is about writes that are on the disk.
        let target = if durability == Durability::Disk { " (target 10)" } else { "" };
        let note =
            format!("{times:.0}x as many puts per CPU-second here{target}{}", theirs.watched());
        theirs.rounds.print(name, &describe(&etcd.version, case), &note);
    }
}

fn describe(what: &str, (size, writers, watchers): Case) -> String {
    format!("{what}: {size} B, {writers} writers, {watchers} watchers")
}

/// One of the two that are compared: its writers, its watchers, and what was seen of them.
struct Side {
    load: Load<dyn Store>,
    /// Whose CPU counts.
    process: String,
    rounds: Rounds,
    watching: Watching,
    watchers: u32,
}

impl Side {
    async fn start(store: Arc<dyn Store>, (size, writers, watchers): Case, process: &str) -> Self {
        let watching = Watching::start(store.clone(), watchers).await;
        let (load, rounds) = (Load::new(store, writers, size), Rounds::default());
        Self { load, process: process.into(), rounds, watching, watchers }
    }

    /// What its watchers have seen, if it has any.
    fn watched(&self) -> String {
        if self.watchers == 0 { String::new() } else { format!("; {}", self.watching.told()) }
    }

    async fn round(&mut self, plan: Plan, counts: bool) {
        let before = cpu_seconds_of(&self.process);
        let mut seen = self.load.round(plan.round, None).await;
        seen.cpu = cpu_seconds_of(&self.process) - before;
        if counts {
            self.rounds.push(seen);
        }
    }
}

/// An etcd of its own, on the disk that is measured; killed when dropped.
struct Etcd {
    process: Child,
    url: String,
    version: String,
    _data: tempfile::TempDir,
}

impl Etcd {
    fn start(program: &Path, flags: &[&str]) -> Option<Self> {
        let said = Command::new(program).arg("--version").output().ok()?.stdout;
        let said = String::from_utf8_lossy(&said).into_owned();
        let version = said.lines().next()?.replace("etcd Version:", "etcd");
        let data = tempfile::tempdir_in(load::disk()).unwrap();
        let free = || {
            format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
        };
        let (url, peer) = (free(), free());
        let mut process = Command::new(program)
            .arg(format!("--data-dir={}", data.path().display()))
            .args([format!("--listen-client-urls={url}"), format!("--advertise-client-urls={url}")])
            .args([
                format!("--listen-peer-urls={peer}"),
                format!("--initial-advertise-peer-urls={peer}"),
            ])
            .args([
                format!("--initial-cluster=default={peer}"),
                "--quota-backend-bytes=8589934592".into(),
            ])
            .args(["--log-level=error", "--logger=zap"])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let address = url.trim_start_matches("http://").to_owned();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(&address).is_err() {
            if Instant::now() > deadline || process.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { process, url, version, _data: data })
    }

    async fn connect(&self) -> Arc<dyn Store> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match EtcdStore::connect(EtcdOptions::new([self.url.clone()])).await {
                Ok(store) => return Arc::new(store),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
