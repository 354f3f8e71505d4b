//! Writers, clocks and tables of the benchmarks.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each benchmark uses a part; a failure says where"
)]

mod figures;
mod probe;
mod watching;

use bytes::Bytes;
pub(crate) use figures::{Rounds, Seen, line, titles};
use kubeplane_store_trait::{Error, Key, Revision, Store, WriteOptions};
pub(crate) use probe::{Probe, cpu_seconds, cpu_seconds_of, disk, resident};
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinSet};
pub(crate) use watching::Watching;

/// How many entries each writer updates in turn, at most.
const KEYS: usize = 100;
/// And all of them together: what the store holds is then the same whether there are a hundred writers or a thousand.
const ALL_KEYS: usize = 10_000;

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// How often and how long is measured.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) round: Duration,
    /// Behind one that does not count.
    pub(crate) rounds: usize,
}

impl Plan {
    /// `cargo test --benches` only wants to know that it runs. `KUBEPLANE_BENCH_ROUNDS` says how many rounds else.
    pub(crate) fn of_this_run() -> Self {
        if !std::env::args().any(|arg| arg == "--bench") {
            return Self { round: Duration::from_millis(10), rounds: 1 };
        }
        let rounds = std::env::var("KUBEPLANE_BENCH_ROUNDS").ok();
        let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(5).max(1);
        Self { round: Duration::from_millis(500), rounds }
    }
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

/// Writers that each update some entries of their own in turn, from round to round.
pub(crate) struct Load<S: ?Sized> {
    store: Arc<S>,
    writers: Vec<Writer>,
}

struct Writer {
    size: usize,
    turn: usize,
    /// Of its entries; made before, since the store's time is measured.
    keys: Vec<Key>,
    /// Of those it has written, the latest.
    revisions: Vec<Revision>,
    latencies: Vec<Duration>,
}

impl<S: Store + ?Sized> Load<S> {
    pub(crate) fn new(store: Arc<S>, writers: u32, size: usize) -> Self {
        let entries = (ALL_KEYS / writers as usize).clamp(1, KEYS);
        let writer = |number| {
            let keys = (0..entries).map(|entry| key(number, entry)).collect();
            let (revisions, latencies) = (Vec::new(), Vec::new());
            Writer { size, turn: 0, keys, revisions, latencies }
        };
        Self { store, writers: (0..writers as usize).map(writer).collect() }
    }

    /// All rounds; the disk is asked how it is before and after each, if somebody wants to know.
    pub(crate) async fn rounds(&mut self, plan: Plan, probe: Option<&mut Probe>) -> Rounds {
        self.all_rounds(plan, probe, None).await
    }

    /// The same at so many puts per second, evenly spread over time.
    pub(crate) async fn rounds_at(
        &mut self,
        rate: f64,
        plan: Plan,
        probe: Option<&mut Probe>,
    ) -> Rounds {
        self.all_rounds(plan, probe, Some(rate)).await
    }

    async fn all_rounds(
        &mut self,
        plan: Plan,
        mut probe: Option<&mut Probe>,
        rate: Option<f64>,
    ) -> Rounds {
        let mut rounds = Rounds::default();
        for number in 0..=plan.rounds {
            let before = probe.as_mut().map(|probe| probe.ask());
            let mut seen = self.round(plan.round, rate).await;
            let after = probe.as_mut().map(|probe| probe.ask());
            seen.disk = before.zip(after).map(|(before, after)| (before + after) / 2);
            if number > 0 {
                rounds.push(seen);
            }
        }
        rounds
    }

    /// One round: every writer as fast as it is answered, or all together at a rate.
    pub(crate) async fn round(&mut self, round: Duration, rate: Option<f64>) -> Seen {
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let mut tasks = JoinSet::new();
        let mut turns = Vec::new();
        for mut writer in self.writers.drain(..) {
            let store = self.store.clone();
            if rate.is_none() {
                tasks.spawn(async move {
                    while started.elapsed() < round {
                        let sent = Instant::now();
                        writer.put(&*store, sent).await;
                    }
                    writer
                });
                continue;
            }
            let (turn, mut mine) = mpsc::channel(1024);
            turns.push(turn);
            tasks.spawn(async move {
                while let Some(sent) = mine.recv().await {
                    writer.put(&*store, sent).await;
                }
                writer
            });
        }
        let pacer = rate.map(|rate| {
            thread::spawn(move || pace(&turns, Duration::from_secs_f64(1.0 / rate), round))
        });
        self.writers = tasks.join_all().await;
        let (elapsed, cpu) = (started.elapsed(), cpu_seconds() - cpu);
        if let Some(pacer) = pacer {
            pacer.join().unwrap();
        }
        let latencies = self.writers.iter_mut().flat_map(|writer| writer.latencies.drain(..));
        let latencies: Vec<_> = latencies.collect();
        Seen::new(latencies.len() as f64, latencies, elapsed, cpu)
    }
}

impl Writer {
    /// One put; how long it took since `sent`.
    async fn put(&mut self, store: &(impl Store + ?Sized), sent: Instant) {
        let at = self.turn % self.keys.len();
        self.turn += 1;
        // The value is made by the writer, as an encoded object would be.
        let value = Bytes::from(vec![b'x'; self.size]);
        let (key, options) = (&self.keys[at], WriteOptions::default());
        let revision = match self.revisions.get(at) {
            None => match store.create(key, value.clone(), options).await {
                Err(Error::Exists { current, .. }) => {
                    store.update(key, value, current.revision, options).await.unwrap()
                }
                written => written.unwrap(),
            },
            Some(revision) => store.update(key, value, *revision, options).await.unwrap(),
        };
        self.latencies.push(sent.elapsed());
        match self.revisions.get_mut(at) {
            Some(known) => *known = revision,
            None => self.revisions.push(revision),
        }
    }
}

/// Gives the writers their turns one by one, a gap after the other. By a thread of its own: the timers of the runtime fire
/// together, at each millisecond, and what comes at once waits for itself.
fn pace(turns: &[mpsc::Sender<Instant>], gap: Duration, round: Duration) {
    let started = Instant::now();
    for (number, turn) in (0_u32..).zip(turns.iter().cycle()) {
        let due = gap * number;
        if due >= round {
            return;
        }
        thread::sleep(due.saturating_sub(started.elapsed()));
        // From now on it is the store's time, and that of the runtime, which wakes the writer up.
        turn.blocking_send(Instant::now()).unwrap();
    }
}
