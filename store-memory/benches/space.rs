//! What the store takes up, beside what it may: `cargo bench -p kubeplane-store-memory --bench space`.
//! `KUBEPLANE_BENCH_COLD=1` has the system forget its page cache (as root) to open the store from the disk too.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that prints what it measures"
)]

mod load;

use kubeplane_store_memory::{Durability, MemoryStore};
use kubeplane_store_trait::{KeyRange, ListOptions, ReadAt, Revision, Store};
use load::{fill, key, resident, runtime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::{alloc::System, time::Instant};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let full = std::env::args().any(|arg| arg == "--bench");
    let runtime = runtime();
    // First, while the process holds nothing that was freed and could be used again unseen.
    million(&runtime, if full { 1_000_000 } else { 10_000 });
    lists(&runtime);
    watchers(&runtime, "all of one range", |_| KeyRange::prefix("/registry/pods/"));
    watchers(&runtime, "of one range each", |number| {
        KeyRange::prefix(format!("/registry/pods/namespace-{number:05}/"))
    });
}

fn lists(runtime: &Runtime) {
    let store = MemoryStore::new();
    runtime.block_on(fill(&store, 30_000, 10 * 1024));
    for keys_only in [false, true] {
        list(runtime, &store, keys_only, "first");
        let mut rates: Vec<_> = (0..51).map(|_| rate(runtime, &store, keys_only)).collect();
        rates.sort_unstable_by(f64::total_cmp);
        let target = if keys_only { ", target 20" } else { "" };
        println!(
            "    again: {:.1} M entries/s (middle eight of ten: {:.1}-{:.1}{target})",
            rates[25], rates[5], rates[45]
        );
        list(runtime, &store, keys_only, "then");
        // What has changed since is looked at anew.
        for writer in 0..97 {
            let read = runtime.block_on(store.get(&key(writer, writer), ReadAt::Latest)).unwrap();
            let entry = read.entry.unwrap();
            let update = store.update(&entry.key, entry.value, entry.revision, Default::default());
            runtime.block_on(update).unwrap();
        }
        list(runtime, &store, keys_only, "after 97 updates");
    }
}

/// One list; millions of entries per second.
fn rate(runtime: &Runtime, store: &MemoryStore, keys_only: bool) -> f64 {
    let options = ListOptions { keys_only, ..ListOptions::default() };
    let started = Instant::now();
    let page = runtime.block_on(store.list(&KeyRange::all(), options)).unwrap();
    let time = started.elapsed();
    (page.entries.len() + page.keys.len()) as f64 / time.as_secs_f64() / 1e6
}

/// One list and what it took.
fn list(runtime: &Runtime, store: &MemoryStore, keys_only: bool, which: &str) {
    let region = Region::new(ALLOCATOR);
    let rate = rate(runtime, store, keys_only);
    let change = region.change();
    println!(
        "list of 30,000 entries of 10 KiB, keys only {keys_only}, {which}: {rate:.1} M entries/s, \
         {} allocations, {} bytes (values: {})",
        change.allocations + change.reallocations,
        change.bytes_allocated,
        if keys_only { 0 } else { 30_000 * 10 * 1024 },
    );
}

/// What one of many that nothing is delivered to takes up, its range included.
fn watchers(runtime: &Runtime, which: &str, range: impl Fn(usize) -> KeyRange) {
    let store = MemoryStore::new();
    let region = Region::new(ALLOCATOR);
    let watch = |number| runtime.block_on(store.watch(&range(number), Revision(1))).unwrap();
    let watchers: Vec<_> = (0..10_000).map(watch).collect();
    let bytes = region.change().bytes_allocated - region.change().bytes_deallocated;
    println!("idle watcher, {which}: {} bytes (target 1024)", bytes / watchers.len());
}

fn million(runtime: &Runtime, entries: usize) {
    let directory = tempfile::tempdir_in(load::disk()).unwrap();
    let builder = || MemoryStore::builder().path(directory.path());
    let before = resident();
    // A million flushes one after the other would tell nothing of memory.
    let store = builder().durability(Durability::Process).open().unwrap();
    runtime.block_on(fill(&store, entries, 1024));
    let status = runtime.block_on(store.status()).unwrap();
    runtime.block_on(store.compact(status.revision)).unwrap();
    let size = runtime.block_on(store.status()).unwrap().size as usize;
    let ratio = |bytes: usize| bytes as f64 / size as f64;
    let used = resident() - before;
    println!(
        "{entries} entries of 1 KiB, written and compacted: {:.3}x in memory (target 1.3)",
        ratio(used)
    );
    runtime.block_on(store.close());
    let files = std::fs::read_dir(directory.path()).unwrap();
    let on_disk: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    drop(store);
    println!("{:.3}x on disk", ratio(on_disk as usize));
    // The first flushed write says that all before it was flushed too, which the first who opens it has done.
    let store = builder().open().unwrap();
    let name = key(97, 0);
    runtime.block_on(store.create(&name, "x".into(), Default::default())).unwrap();
    runtime.block_on(store.close());
    drop(store);
    let open = |which: &str| {
        let region = Region::new(ALLOCATOR);
        let started = Instant::now();
        let store = builder().open().unwrap();
        let (time, change) = (started.elapsed(), region.change());
        let held = change.bytes_allocated - change.bytes_deallocated;
        println!(
            "opened again for flushed writes, {which}: {time:?} (target 3 s); \
             {:.3}x in memory (target 1.3)",
            ratio(held)
        );
        drop(store);
    };
    open("the files in the page cache");
    // Only root may, and only on a machine where nobody minds.
    let asked = std::env::var_os("KUBEPLANE_BENCH_COLD").is_some_and(|cold| cold == "1");
    if asked && std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok() {
        open("the files not in the page cache");
    }
}
