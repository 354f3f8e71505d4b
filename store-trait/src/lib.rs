//! The store contract: keys, revisions, watches, errors and the conformance suite.
//!
//! ```text
//!   apiserver ──> dyn Store ──┬── store-memory        create, update, delete ──> revision
//!                             ├── store-etcd          get, list at latest or at a revision
//!                             └── yours               watch after a revision ──> batches of events
//!
//!   revisions   ──compacted────────A───────────────────────B──> latest
//!                 refused          └─ list(A) + events(A,B] = list(B)
//! ```
//!
//! [`Store`] says what every backend promises, [`Watcher`] what a watch does, [`Error`] what a failure leaves open.
//! To write a backend, see the module `conformance` (of the feature of that name): a whole one to read, and the suite
//! that holds yours against each promise. [`Timeline`] is the past and the watches of one that lives in memory. [`FaultStore`] lets calls fail by plan, [`TraceStore`] remembers them.
//!
//! # Contract
//! The pages of [`Store`] and [`Watcher`] have all of it, and the suite asks for each word:
//!
//! * A [`Store`] gives every write a revision of its own, larger than all before. Writes, latest reads and the revision
//!   take effect at one moment between call and return; a write is done entirely or not at all, and nobody sees it before
//!   it is as durable as the store says. `Unavailable` means surely not applied, `Indeterminate` perhaps.
//! * A [`Watcher`] delivers every event after a revision, ordered and unique, all of one revision together, or ends with one
//!   error after a correct prefix; a new watch after what it delivered goes on without a gap.
//!
//! # Example
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
//!
//! A whole program: [a store of your own][custom_store].
//!
//! [custom_store]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_store.rs

#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod fault;
mod key;
mod keys;
mod store;
mod timeline;
mod trace;
mod watch;

pub use error::{Error, Result, Retry};
pub use fault::{Fault, FaultPlan, FaultStore};
pub use key::{Key, KeyRange};
pub use keys::{Keys, ListedKey};
pub use store::{
    Capabilities, Deleted, Entry, ListOptions, Page, Read, ReadAt, Revision, Store, StoreStatus,
    WriteOptions,
};
pub use timeline::{Entries, Timeline};
pub use trace::{Call, Operation, TraceStore};
pub use watch::{BoxWatcher, Event, WatchBatch, Watcher};
