//! The embedded store: multi-version memory with an optional write-ahead log.
//!
//! ```text
//!   create/update/delete ──> sequencer ──> log (group commit, one flush) ──┐
//!                            one thread       snapshots, truncation        │ publish
//!   get/list ─────> latest state behind one atomic pointer <───────────────┤
//!   watch ────────> cursor into the shared history         <───────────────┘
//! ```
//!
//! ```
//! use kubeplane_store_memory::MemoryStore;
//! use kubeplane_store_trait::{Key, ReadAt, Store, WriteOptions};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let store = MemoryStore::new();
//! let key = Key::new("/registry/pods/default/web").unwrap();
//! let revision = store.create(&key, "{}".into(), WriteOptions::default()).await?;
//! assert_eq!(store.get(&key, ReadAt::Latest).await?.revision, revision);
//! # Ok::<(), kubeplane_store_trait::Error>(())
//! # }).unwrap();
//! ```

mod builder;
mod direct;
mod error;
mod expiry;
mod history;
mod ledger;
mod log;
mod published;
mod sequencer;
mod slots;
mod snapshot;
mod state;
mod store;
mod tree;
mod wall;
mod watch;

pub use builder::{Builder, Durability};
pub use error::{DataLoss, OpenError};
pub use snapshot::{Snapshot, SnapshotInfo};
pub use store::MemoryStore;
