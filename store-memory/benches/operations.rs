//! What single operations take, one at a time: `cargo bench -p kubeplane-store-memory --bench operations`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a program that measures")]

mod load;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{KeyRange, ListOptions, ReadAt, Revision, Store, WriteOptions};
use load::key;
use tokio::runtime::Runtime;

const SIZES: [usize; 3] = [256, 1024, 10 * 1024];
const LISTED: usize = 30_000;

criterion_group!(operations, writes, reads, watches);
criterion_main!(operations);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn writes(criterion: &mut Criterion) {
    let (runtime, options) = (runtime(), WriteOptions::default());
    let mut group = criterion.benchmark_group("write");
    group.throughput(Throughput::Elements(1));
    for size in SIZES {
        let value = Bytes::from(vec![b'x'; size]);
        let (store, mut entry) = (MemoryStore::new(), 0);
        group.bench_function(BenchmarkId::new("create", size), |bencher| {
            bencher.iter(|| {
                entry += 1;
                runtime.block_on(store.create(&key(0, entry), value.clone(), options)).unwrap()
            });
        });
        let (store, updated) = (MemoryStore::new(), key(0, 0));
        let mut revision =
            runtime.block_on(store.create(&updated, value.clone(), options)).unwrap();
        group.bench_function(BenchmarkId::new("update", size), |bencher| {
            bencher.iter(|| {
                let updated = store.update(&updated, value.clone(), revision, options);
                revision = runtime.block_on(updated).unwrap();
            });
        });
    }
}

fn reads(criterion: &mut Criterion) {
    let (runtime, store, range) = (runtime(), MemoryStore::new(), KeyRange::all());
    runtime.block_on(load::fill(&store, LISTED, 10 * 1024));
    let mut group = criterion.benchmark_group("read");
    let mut entry = 0;
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            entry = (entry + 7_919) % LISTED;
            runtime.block_on(store.get(&key(entry % 97, entry), ReadAt::default())).unwrap()
        });
    });
    group.throughput(Throughput::Elements(LISTED as u64));
    let whole = ListOptions::default();
    for (name, options) in [
        ("list", whole),
        ("keys only", ListOptions { keys_only: true, ..whole }),
        ("count", ListOptions { count_only: true, ..whole }),
    ] {
        group.bench_function(BenchmarkId::new(name, LISTED), |bencher| {
            bencher.iter(|| runtime.block_on(store.list(&range, options)).unwrap());
        });
    }
}

fn watches(criterion: &mut Criterion) {
    let (runtime, store) = (runtime(), MemoryStore::new());
    let range = KeyRange::prefix("/registry/pods/");
    criterion.bench_function("watch", |bencher| {
        bencher.iter(|| runtime.block_on(store.watch(&range, Revision(1))).unwrap());
    });
}
