//! The store contract over etcd v3.
//!
//! ```text
//!   create/update/delete ──> Txn: compare revision, put or delete, else get ──┐
//!   get/list ──────────────> Range, linearizable, at a revision               ├──> members ──> etcd
//!   watch ─────────────────> a stream each, and another when it breaks        │    (TLS, token)
//!   ttl ───────────────────> leases, shared for a short while                 │
//!   every 5 minutes ───────> compaction, by one server of all                ──┘
//! ```
//!
//! A call goes to the members in turn; what surely did not happen at one is tried at the next. A watch whose
//! member is lost goes on at another, after the last revision it delivered. Watches have a connection of their own to
//! each member. Certificates and passwords in files are read for each connection and login (see [`EtcdSource`]).
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
//!
//! A whole program: [two API servers on one etcd][apiserver_etcd].
//!
//! [apiserver_etcd]: https://github.com/kubeplane/kubeplane/blob/main/examples/apiserver_etcd.rs

mod client;
mod compact;
mod failure;
mod generated;
mod lease;
mod login;
mod members;
mod options;
mod progress;
mod source;
mod store;
mod transport;
mod version;
mod watch;
mod wire;

pub use options::{ConnectError, EtcdOptions, EtcdTls, EtcdUser};
pub use source::EtcdSource;
pub use store::EtcdStore;
