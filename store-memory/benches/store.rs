//! What the store does per second, beside what it should do: `cargo bench -p kubeplane-store-memory --bench store`.
//!
//! Each figure is the median of several rounds, with the least and the most of them beside it; the disk is asked how fast
//! it is between all of them. `KUBEPLANE_BENCH_ROUNDS` says how many, `KUBEPLANE_BENCH_ONLY` names one part alone
//! (`disk`, `durable`, `volatile`, `watched`, `delivery`), for a profile of it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints what it measures"
)]

mod load;

use bytes::Bytes;
use futures::StreamExt;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{KeyRange, Revision, Store, WriteOptions};
use load::{Load, Plan, Probe, Rounds, Seen, Watching, cpu_seconds, key, runtime};
use std::{
    hint::black_box,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};
use tokio::{sync::mpsc, task::JoinSet};

/// That of the `kubeplane` binary: what one thread allocates, another frees.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 3] = [256, 1024, 10 * 1024];

fn main() {
    let plan = Plan::of_this_run();
    let runtime = runtime();
    let only = std::env::var("KUBEPLANE_BENCH_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only == name;
    load::titles();
    if wanted("disk") {
        disk(plan);
    }
    if wanted("durable") {
        runtime.block_on(durable(plan));
    }
    if wanted("volatile") {
        runtime.block_on(volatile(plan));
    }
    if wanted("watched") {
        runtime.block_on(watched(plan));
    }
    if wanted("delivery") {
        runtime.block_on(fan_out(plan));
    }
}

/// What the disk itself does, and what it would do for a log whose blocks exist before they are written.
fn disk(plan: Plan) {
    for size in SIZES {
        let directory = tempfile::tempdir_in(load::disk()).unwrap();
        let mut probes =
            [Probe::new(directory.path(), size), Probe::in_place(directory.path(), size)];
        let mut seen = [Rounds::default(), Rounds::default()];
        for _ in 0..4 * plan.rounds {
            for (probe, seen) in probes.iter_mut().zip(&mut seen) {
                seen.push(probe.round());
            }
        }
        for (seen, how) in seen.iter().zip(["appended", "written in place"]) {
            seen.print("fdatasync", &format!("{size} B {how}"), "");
        }
    }
}

async fn durable(plan: Plan) {
    for size in SIZES {
        for writers in [1, 100, 1000] {
            let directory = tempfile::tempdir_in(load::disk()).unwrap();
            let mut probe = Probe::new(directory.path(), size);
            let store = Arc::new(MemoryStore::open(directory.path().join("store")).unwrap());
            let seen = Load::new(store.clone(), writers, size).rounds(plan, Some(&mut probe)).await;
            let note = match writers {
                1 => {
                    let (times, disk) = (seen.times_the_disk(), probe.told());
                    format!("{times} fdatasync of {disk}, target 1.5x")
                }
                _ => format!("fdatasync {}", probe.told()),
            };
            seen.print("durable put", &format!("{size} B, {writers} writers"), &note);
            if (size, writers) == (1024, 1000) {
                half_load(store, seen.rate() / 2.0, plan, &mut probe).await;
            }
        }
    }
}

/// As many writers as it was saturated by: of fewer, each would wait for itself. Beside it what the disk alone does for the
/// same puts at the same time, in the hands of a log that does nothing but flush all that came since.
async fn half_load(store: Arc<MemoryStore>, rate: f64, plan: Plan, probe: &mut Probe) {
    let mut load = Load::new(store, 1000, 1024);
    let mut alone = Rounds::default();
    let mut seen = Rounds::default();
    for _ in 0..plan.rounds {
        seen.extend(load.rounds_at(rate, Plan { rounds: 1, ..plan }, Some(&mut *probe)).await);
        alone.push(probe.groups(rate, plan.round));
    }
    let disk = probe.told();
    let note = format!("target p99 2000 us where fdatasync is under 300: {disk}");
    seen.print("durable put", "1024 B, at half load", &note);
    alone.print("fdatasync", "of all 1024 B that came since the last", "the same at that load");
}

async fn volatile(plan: Plan) {
    for size in SIZES {
        for writers in [1, 100, 1000] {
            let store = Arc::new(MemoryStore::new());
            let note = if size == 1024 && writers > 1 { "target 500,000" } else { "" };
            let what = format!("{size} B, {writers} writers");
            let seen = Load::new(store, writers, size).rounds(plan, None).await;
            seen.print("volatile put", &what, note);
        }
    }
}

async fn watched(plan: Plan) {
    for watchers in [10, 1000] {
        let store = Arc::new(MemoryStore::new());
        let watching = Watching::start(store.clone(), watchers).await;
        let seen = Load::new(store, 100, 1024).rounds(plan, None).await;
        let what = format!("1024 B, 100 writers, {watchers} watchers");
        seen.print("volatile put", &what, &watching.told());
    }
}

/// One write, and the time until all of a thousand watchers have it.
async fn fan_out(plan: Plan) {
    let store = MemoryStore::new();
    let mut tasks = JoinSet::new();
    let (told, mut seen) = mpsc::channel(16);
    let left = Arc::new(AtomicUsize::new(1000));
    for _ in 0..1000 {
        let mut watcher = store.watch(&KeyRange::all(), Revision(1)).await.unwrap();
        let (told, left) = (told.clone(), left.clone());
        tasks.spawn(async move {
            while let Some(Ok(batch)) = watcher.next().await {
                black_box(&batch);
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    left.store(1000, Ordering::Release);
                    told.send(()).await.unwrap();
                }
            }
        });
    }
    let value = Bytes::from(vec![b'x'; 1024]);
    let (mut rounds, mut written) = (Rounds::default(), 0);
    for round in 0..=plan.rounds {
        let (started, cpu, mut times) = (Instant::now(), cpu_seconds(), Vec::new());
        while started.elapsed() < plan.round {
            let sent = Instant::now();
            let options = WriteOptions::default();
            store.create(&key(0, written), value.clone(), options).await.unwrap();
            seen.recv().await.unwrap();
            times.push(sent.elapsed());
            written += 1;
        }
        let deliveries = times.len() as f64 * 1000.0;
        if round > 0 {
            let cpu = cpu_seconds() - cpu;
            rounds.push(Seen::new(deliveries, times, started.elapsed(), cpu));
        }
    }
    rounds.print("delivery", "1 write to 1000 watchers", "target 2,000,000");
}
