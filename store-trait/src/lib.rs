//! The store contract: keys, revisions, watches, errors and the conformance suite.
//!
//! ```text
//!   apiserver ──> dyn Store ──┬── store-memory
//!                             ├── store-etcd
//!                             └── yours: implement `Store`, run `conformance!(YourFactory)`
//! ```
//!
//! Pages of a list follow each other at one revision:
//!
//! ```
//! use kubeplane_store_trait::{Entry, KeyRange, ListOptions, ReadAt, Result, Store};
//!
//! async fn everything(store: &dyn Store, prefix: &'static str) -> Result<Vec<Entry>> {
//!     let mut range = KeyRange::prefix(prefix);
//!     let mut options = ListOptions { limit: Some(500), ..ListOptions::default() };
//!     let mut all = Vec::new();
//!     loop {
//!         let page = store.list(&range, options).await?;
//!         all.extend(page.entries);
//!         match all.last() {
//!             Some(last) if page.remaining > 0 => range = range.after(&last.key),
//!             _ => return Ok(all),
//!         }
//!         options.at = ReadAt::Exact(page.revision);
//!     }
//! }
//! ```

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod fault;
mod key;
mod store;
mod trace;
mod watch;

pub use error::{Error, Result, Retry};
pub use fault::{Fault, FaultPlan, FaultStore};
pub use key::{Key, KeyRange};
pub use store::{
    Capabilities, Deleted, Entry, ListOptions, Page, Read, ReadAt, Revision, Store, StoreStatus,
    WriteOptions,
};
pub use trace::{Call, Operation, TraceStore};
pub use watch::{BoxWatcher, Event, WatchBatch, Watcher};
