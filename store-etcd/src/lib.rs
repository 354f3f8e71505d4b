//! The store contract over etcd v3.
//!
//! ```text
//!   create/update/delete ──> Txn: compare revision, put or delete, else get ──┐
//!   get/list ──────────────> Range, linearizable, at a revision               ├──> etcd
//!   watch ─────────────────> one stream each: previous values, progress       │
//!   ttl ───────────────────> leases, shared for a short while                ──┘
//! ```
//!
//! ```no_run
//! use kubeplane_store_etcd::{EtcdOptions, EtcdStore};
//! use kubeplane_store_trait::Store;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = EtcdStore::connect(EtcdOptions::new(["http://127.0.0.1:2379"])).await?;
//! println!("at revision {}", store.status().await?.revision);
//! # Ok(())
//! # }
//! ```

mod client;
mod failure;
mod generated;
mod lease;
mod options;
mod progress;
mod store;
mod version;
mod watch;
mod wire;

pub use options::{ConnectError, EtcdOptions, EtcdTls};
pub use store::EtcdStore;
