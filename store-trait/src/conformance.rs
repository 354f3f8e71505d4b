//! The conformance suite: what every store must do, as one test per case.
//!
//! ```text
//!   conformance!(MyFactory)  ──> one #[tokio::test] per case
//!   cases()                  ──> the same cases as values, to be run one by one
//!   ModelStore               ──> the shortest store that passes; its broken copies each fail
//! ```
//!
//! A case panics when the store breaks its contract. Cases run in parallel, each with its own factory.
//!
//! # Writing a backend
//! 1. Implement [`Store`] and [`Watcher`](crate::Watcher). [`ModelStore`] is a complete one in two short files:
//!    copy its shape. What is easily got wrong: the order of publishing and acknowledging (a write is seen by nobody
//!    before it is as durable as promised), the cut of a batch (never inside a revision), the compaction point (it
//!    can itself be read and watched after), and a reader that falls behind (one error, then the end).
//! 2. Implement [`Factory`]: an empty store for each case and, if data outlives the store, how to open it again.
//! 3. Expand the suite in a test crate that has `tokio` with `macros` and `rt-multi-thread`:
//!
//! ```ignore
//! mod conformance {
//!     kubeplane_store_trait::conformance!(crate::MyFactory::default());
//! }
//! ```
//!
//! The cases can also be run by hand, on any runtime with tokio's clock:
//!
//! ```
//! use async_trait::async_trait;
//! use kubeplane_store_trait::{Store, conformance::{Factory, ModelStore, cases}};
//! use std::sync::Arc;
//!
//! struct MyFactory;
//!
//! #[async_trait]
//! impl Factory for MyFactory {
//!     async fn fresh(&self) -> Arc<dyn Store> {
//!         Arc::new(ModelStore::new()) // your store
//!     }
//!
//!     async fn reopen(&self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
//!         None // the data dies with the store
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! for case in cases().iter().filter(|case| case.name().contains("update")) {
//!     case.run(&MyFactory).await;
//! }
//! # }
//! ```
//!
//! Random histories are drawn from fixed seeds; the variable `KUBEPLANE_SEED` chooses another one, and a failed case
//! says which it was.

mod cancelling;
mod compaction;
mod expiry;
mod histories;
mod lagging;
mod model;
mod ranges;
mod reader;
mod reads;
mod reopening;
mod resuming;
mod setup;
mod watches;
mod writes;

pub use model::{ModelFactory, ModelState, ModelStore, ModelWatcher};

use crate::Store;
use async_trait::async_trait;
use futures::future::BoxFuture;
use std::sync::Arc;

/// Makes the stores under test; a panic in it fails the case.
#[async_trait]
pub trait Factory: Send + Sync {
    /// An empty store that no other case sees.
    async fn fresh(&self) -> Arc<dyn Store>;

    /// The same data opened anew after `store`, the only handle, was closed; `None` when the data dies with the store.
    async fn reopen(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>>;

    /// The same data opened anew after the process of `store` died without closing it: what had not become durable
    /// is lost. Where that cannot be played, the store is closed.
    async fn crash(&self, store: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
        self.reopen(store).await
    }

    /// How many watchers the store made last holds; `None` when it cannot tell.
    fn watchers(&self) -> Option<usize> {
        None
    }
}

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    run: for<'a> fn(&'a dyn Factory) -> BoxFuture<'a, ()>,
}

impl Case {
    /// Its name, which says what must hold.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it. Panics when the store breaks the contract.
    pub async fn run(&self, factory: &dyn Factory) {
        (self.run)(factory).await;
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Every case.
#[must_use]
pub fn cases() -> &'static [Case] {
    use {
        cancelling::*, compaction::*, expiry::*, histories::*, lagging::*, ranges::*, reads::*,
        reopening::*, resuming::*, watches::*, writes::*,
    };
    crate::conformance!(@each (table))
}

/// Runs the case of this name.
///
/// # Panics
/// When the store breaks the contract, or when there is no such case.
pub async fn run(name: &str, factory: &dyn Factory) {
    let case = cases().iter().find(|case| case.name == name);
    let Some(case) = case else { panic!("no case is called {name}") };
    case.run(factory).await;
}

/// Expands to one test per case. Takes an expression of a [`Factory`](crate::conformance::Factory), evaluated
/// once per test.
#[macro_export]
macro_rules! conformance {
    (@each $mode:tt) => {
        $crate::conformance! { @run $mode
            a_created_entry_is_read_as_it_was_written
            a_create_of_a_taken_key_returns_the_current_entry
            one_of_many_concurrent_creates_wins
            an_update_compares_the_revision
            a_delete_compares_the_revision
            a_conflict_carries_the_current_entry
            a_refused_write_changes_nothing
            revisions_grow_under_many_concurrent_writers
            concurrent_updates_of_one_key_lose_nothing
            too_large_values_are_refused_and_change_nothing
            values_may_be_any_bytes
            a_cancelled_write_is_whole_or_not_at_all
            nothing_is_seen_before_it_is_kept
            reads_see_every_acknowledged_write
            the_revision_includes_every_acknowledged_write
            exact_reads_see_the_state_of_their_revision
            exact_reads_of_the_future_are_refused
            pages_are_stable_under_writes
            pages_are_stable_under_concurrent_writers
            a_limit_cuts_and_counts_the_rest
            counts_and_keys_only_leave_values_out
            ranges_end_where_they_should
            watched_ranges_end_where_they_should
            a_watch_delivers_in_order_once_and_whole
            a_watch_is_established_when_it_returns
            what_a_watch_showed_can_be_read
            a_watch_sees_only_its_range
            a_watch_carries_the_previous_value
            a_watch_from_the_future_waits
            a_watch_resumes_at_every_revision
            a_watch_broken_off_again_and_again_misses_nothing
            bookmarks_come_when_asked_for
            bookmarks_are_never_ahead_of_events
            a_slow_reader_never_has_a_gap
            a_lagging_reader_gets_one_error_and_the_end
            dropped_watchers_are_freed
            compaction_forgets_only_the_past
            compaction_of_the_future_or_the_past_is_refused
            compaction_leaves_readers_that_are_up_to_date
            a_watch_resumes_at_the_compaction_point
            a_watch_of_the_compacted_past_is_refused
            entries_expire_and_their_deletes_are_watched
            an_entry_lives_as_long_as_it_was_given
            an_update_renews_or_ends_the_expiry
            an_expired_key_can_be_created_anew
            the_changes_of_one_revision_come_together
            reopening_keeps_entries_and_revisions
            reopening_keeps_the_history_or_says_where_it_begins
            reopening_never_reuses_a_revision
            reopening_keeps_the_expiries
            a_list_and_the_events_after_it_make_the_next_list
        }
    };
    (@run (table) $($case:ident)*) => {
        &[$(Case { name: stringify!($case), run: |factory| Box::pin($case(factory)) }),*]
    };
    (@run (tests $factory:expr) $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let factory = $factory;
                $crate::conformance::run(stringify!($case), &factory).await;
            }
        )*
    };
    ($factory:expr) => {
        $crate::conformance! { @each (tests $factory) }
    };
}
