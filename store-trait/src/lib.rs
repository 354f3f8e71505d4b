//! The store contract: keys, revisions, watches, errors and the conformance suite.
//!
//! ```text
//!   apiserver ──> dyn Store ──┬── store-memory
//!                             ├── store-etcd
//!                             └── yours: implement `Store`, run `conformance!(YourFactory)`
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
