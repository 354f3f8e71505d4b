//! The store contract: keys, revisions, watches, errors and the conformance suite.
//!
//! ```text
//!   apiserver ──> dyn Store ──┬── store-memory
//!                             ├── store-etcd
//!                             └── yours: implement `Store`, run `conformance!(YourFactory)`
//! ```

mod error;
mod key;
mod store;
mod watch;

pub use error::{Error, Result, Retry};
pub use key::{Key, KeyRange};
pub use store::{
    Capabilities, Deleted, Entry, ListOptions, Page, Read, ReadAt, Revision, Store, StoreStatus,
    WriteOptions,
};
pub use watch::{BoxWatcher, Event, WatchBatch, Watcher};
