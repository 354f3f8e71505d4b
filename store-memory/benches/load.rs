//! Writers, clocks and tables of the benchmarks.
#![allow(
    dead_code,
    clippy::print_stdout,
    reason = "each benchmark uses a part; a failure says where"
)]

use bytes::Bytes;
use kubeplane_store_trait::{Key, Store, WriteOptions};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// How many entries each writer updates in turn.
const KEYS: usize = 100;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// Where files are written: a directory on the disk to be measured, `KUBEPLANE_BENCH_DIR` or `target`.
pub(crate) fn disk() -> PathBuf {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    std::env::var_os("KUBEPLANE_BENCH_DIR").map_or_else(|| target.into(), PathBuf::from)
}

/// The median time of appending `size` bytes to a file and making them durable.
pub(crate) fn fdatasync(directory: &Path, size: usize) -> Duration {
    let mut file = File::create(directory.join("probe")).unwrap();
    let bytes = vec![b'x'; size];
    let mut times = Vec::new();
    for _ in 0..200 {
        let started = Instant::now();
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// User and system time of this process so far.
pub(crate) fn cpu_seconds() -> f64 {
    cpu_seconds_of("self")
}

/// User and system time of a process so far.
pub(crate) fn cpu_seconds_of(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Ticks of a hundredth of a second, on every Linux.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

pub(crate) fn key(writer: usize, entry: usize) -> Key {
    Key::new(format!("/registry/pods/namespace-{writer:04}/pod-{entry:08}")).unwrap()
}

/// Creates entries with values of this size, in no order of their keys.
pub(crate) async fn fill(store: &dyn Store, entries: usize, size: usize) {
    for entry in 0..entries {
        // A number without a common divisor with the count visits every key once.
        let entry = entry * 7_368_787 % entries;
        let value = Bytes::from(vec![b'x'; size]);
        store.create(&key(entry % 97, entry), value, WriteOptions::default()).await.unwrap();
    }
}

/// Writers that each update a hundred entries in turn, as fast as they are answered or with a pause between.
pub(crate) struct Load<S: ?Sized> {
    pub(crate) store: Arc<S>,
    pub(crate) writers: u32,
    pub(crate) size: usize,
    pub(crate) pause: Duration,
}

/// What was seen.
pub(crate) struct Seen {
    latencies: Vec<Duration>,
    elapsed: Duration,
    pub(crate) cpu: f64,
}

impl<S: Store + ?Sized> Load<S> {
    pub(crate) async fn run(&self, round: Duration) -> Seen {
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let mut tasks = JoinSet::new();
        for writer in 0..self.writers as usize {
            let (store, size, pause) = (self.store.clone(), self.size, self.pause);
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                let mut revisions = Vec::new();
                tokio::time::sleep(pause.mul_f64(writer as f64 / 100.0)).await;
                while started.elapsed() < round {
                    let turn = latencies.len();
                    // The value is made by the writer, as an encoded object would be.
                    let value = Bytes::from(vec![b'x'; size]);
                    let key = key(writer, turn % KEYS);
                    let sent = Instant::now();
                    let options = WriteOptions::default();
                    let revision = match revisions.get(turn % KEYS) {
                        None => match store.create(&key, value.clone(), options).await {
                            Err(kubeplane_store_trait::Error::Exists { current, .. }) => {
                                store.update(&key, value, current.revision, options).await.unwrap()
                            }
                            written => written.unwrap(),
                        },
                        Some(revision) => {
                            store.update(&key, value, *revision, options).await.unwrap()
                        }
                    };
                    latencies.push(sent.elapsed());
                    if turn < KEYS {
                        revisions.push(revision);
                    } else {
                        revisions[turn % KEYS] = revision;
                    }
                    if !pause.is_zero() {
                        tokio::time::sleep(pause.saturating_sub(sent.elapsed())).await;
                    }
                }
                latencies
            });
        }
        let mut latencies = tasks.join_all().await.concat();
        let (elapsed, cpu) = (started.elapsed(), cpu_seconds() - cpu);
        latencies.sort_unstable();
        Seen { latencies, elapsed, cpu }
    }
}

impl Seen {
    pub(crate) fn puts(&self) -> f64 {
        self.latencies.len() as f64
    }

    pub(crate) fn rate(&self) -> f64 {
        self.puts() / self.elapsed.as_secs_f64()
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(0.5)
    }

    fn at(&self, part: f64) -> Duration {
        let index = (self.latencies.len() as f64 * part) as usize;
        self.latencies.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn print(&self, name: &str, what: &str, note: &str) {
        let micros = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e6);
        let rate = format!("{:.0}", self.rate());
        let each = format!("{:.2}", self.cpu * 1e6 / self.puts());
        line(&[name, what, &rate, &micros(self.median()), &micros(self.at(0.99)), &each, note]);
    }
}

/// One line of the table.
pub(crate) fn line(columns: &[&str; 7]) {
    let [name, what, rate, median, late, each, note] = columns;
    println!("{name:<15} {what:<38} {rate:>11} {median:>9} {late:>9} {each:>11}  {note}");
}
