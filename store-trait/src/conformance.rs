//! The conformance suite: what every store must do, as one test per case.
//!
//! ```text
//!   conformance!(MyFactory)  ──> one #[tokio::test] per case
//!   cases()                  ──> the same cases as values, to be run one by one
//! ```
//!
//! A case panics when the store breaks its contract. Cases run in parallel, each with its own factory.
//!
//! ```ignore
//! mod conformance {
//!     kubeplane_store_trait::conformance!(crate::MyFactory::default());
//! }
//! ```
//!
//! The test crate needs `tokio` with `macros` and `rt-multi-thread`.

mod compaction;
mod expiry;
mod histories;
mod reader;
mod reads;
mod reopening;
mod setup;
mod watches;
mod writes;

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
    use {compaction::*, expiry::*, histories::*, reads::*, reopening::*, watches::*, writes::*};
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
            an_update_compares_the_revision
            a_delete_compares_the_revision
            revisions_grow_under_many_concurrent_writers
            concurrent_updates_of_one_key_lose_nothing
            too_large_values_are_refused_and_change_nothing
            values_may_be_any_bytes
            reads_see_every_acknowledged_write
            exact_reads_see_the_state_of_their_revision
            exact_reads_of_the_future_are_refused
            pages_are_stable_under_writes
            ranges_end_where_they_should
            counts_and_keys_only_leave_values_out
            a_watch_delivers_in_order_once_and_whole
            a_watch_resumes_at_every_revision
            a_watch_sees_only_its_range
            a_watch_carries_the_previous_value
            a_watch_from_the_future_waits
            bookmarks_come_when_asked_for
            bookmarks_are_never_ahead_of_events
            a_slow_reader_never_has_a_gap
            dropped_watchers_are_freed
            compaction_forgets_only_the_past
            compaction_of_the_future_or_the_past_is_refused
            a_watch_resumes_at_the_compaction_point
            entries_expire_and_their_deletes_are_watched
            an_update_renews_or_ends_the_expiry
            reopening_keeps_entries_and_revisions
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
