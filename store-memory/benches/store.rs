//! What the store does per second, beside what it should do: `cargo bench -p kubeplane-store-memory --bench store`.
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
use load::{Load, cpu_seconds, fdatasync, key, line, runtime};
use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

const SIZES: [usize; 3] = [256, 1024, 10 * 1024];

fn main() {
    // `cargo test --benches` only wants to know that it runs.
    let round = if std::env::args().any(|arg| arg == "--bench") { 1000 } else { 10 };
    let round = Duration::from_millis(round);
    let runtime = runtime();
    // One part alone, for a profile of it.
    let only = std::env::var("KUBEPLANE_BENCH_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only == name;
    line(&["measured", "", "per second", "p50 us", "p99 us", "CPU us each", "note"]);
    if wanted("durable") {
        runtime.block_on(durable(round));
    }
    if wanted("volatile") {
        runtime.block_on(volatile(round));
    }
    if wanted("watched") {
        runtime.block_on(watched(round));
    }
    if wanted("delivery") {
        runtime.block_on(fan_out(round));
    }
}

async fn durable(round: Duration) {
    for size in SIZES {
        for writers in [1, 100, 1000] {
            let directory = tempfile::tempdir_in(load::disk()).unwrap();
            let disk = fdatasync(directory.path(), size);
            let store = Arc::new(MemoryStore::open(directory.path().join("store")).unwrap());
            let load = Load { store: store.clone(), writers, size, pause: Duration::ZERO };
            let seen = load.run(round).await;
            let ratio = seen.median().as_secs_f64() / disk.as_secs_f64();
            let disk_us = disk.as_secs_f64() * 1e6;
            let note = match writers {
                1 => format!("{ratio:.2}x fdatasync of {disk_us:.0} us (target 1.5)"),
                _ => String::new(),
            };
            seen.print("durable put", &format!("{size} B, {writers} writers"), &note);
            if (size, writers) == (1024, 1000) {
                let writers = 100;
                let pause = Duration::from_secs_f64(2.0 * f64::from(writers) / seen.rate());
                let load = Load { store, writers, size, pause };
                let note = format!("target p99 2000 us where fdatasync is under 300: {disk_us:.0}");
                load.run(round).await.print("durable put", "1024 B, at half load", &note);
            }
        }
    }
}

async fn volatile(round: Duration) {
    for size in SIZES {
        for writers in [1, 100, 1000] {
            let store = Arc::new(MemoryStore::new());
            let load = Load { store, writers, size, pause: Duration::ZERO };
            let note = if size == 1024 && writers > 1 { "target 500,000" } else { "" };
            let what = format!("{size} B, {writers} writers");
            load.run(round).await.print("volatile put", &what, note);
        }
    }
}

async fn watched(round: Duration) {
    for watchers in [10, 1000] {
        let store = Arc::new(MemoryStore::new());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..watchers {
            let mut watcher = store.watch(&KeyRange::all(), Revision(1)).await.unwrap();
            tasks.spawn(async move { while let Some(Ok(_)) = watcher.next().await {} });
        }
        let load = Load { store, writers: 100, size: 1024, pause: Duration::ZERO };
        let what = format!("1024 B, 100 writers, {watchers} watchers");
        load.run(round).await.print("volatile put", &what, "each watcher sees each put or lags");
    }
}

/// One write, and the time until all of a thousand watchers have it.
async fn fan_out(round: Duration) {
    let store = MemoryStore::new();
    let mut tasks = tokio::task::JoinSet::new();
    let (told, mut seen) = tokio::sync::mpsc::channel(16);
    let left = Arc::new(std::sync::atomic::AtomicUsize::new(1000));
    for _ in 0..1000 {
        let mut watcher = store.watch(&KeyRange::all(), Revision(1)).await.unwrap();
        let (told, left) = (told.clone(), left.clone());
        tasks.spawn(async move {
            while let Some(Ok(batch)) = watcher.next().await {
                black_box(&batch);
                if left.fetch_sub(1, std::sync::atomic::Ordering::AcqRel) == 1 {
                    left.store(1000, std::sync::atomic::Ordering::Release);
                    told.send(()).await.unwrap();
                }
            }
        });
    }
    let (started, cpu, mut writes) = (Instant::now(), cpu_seconds(), 0_u32);
    let value = Bytes::from(vec![b'x'; 1024]);
    while started.elapsed() < round {
        store
            .create(&key(0, writes as usize), value.clone(), WriteOptions::default())
            .await
            .unwrap();
        seen.recv().await.unwrap();
        writes += 1;
    }
    let deliveries = f64::from(writes) * 1000.0;
    let rate = deliveries / started.elapsed().as_secs_f64();
    let each = (cpu_seconds() - cpu) * 1e6 / deliveries;
    let (rate, each) = (format!("{rate:.0}"), format!("{each:.2}"));
    line(&["delivery", "1 write to 1000 watchers", &rate, "", "", &each, "target 2,000,000"]);
}
