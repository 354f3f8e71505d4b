//! The conformance suite: what every runtime must do, as one test per case (feature `conformance`).
//!
//! ```text
//!   conformance!(MyFactory)  ──> one #[tokio::test] per case
//!   cases()                  ──> the same cases as values, to be run one by one
//! ```
//!
//! A case panics when the runtime breaks its contract. Cases run in parallel, each with its own factory.
//! Sandboxes are on the host's network, and containers run the shell of busybox with `echo`, `cat`,
//! `sleep`, `exit`, `trap '' TERM`, `true` and `false` only.
//!
//! ```ignore
//! mod conformance {
//!     kubeplane_runtime_cri::conformance!(crate::MyFactory::default());
//! }
//! ```
//!
//! The test crate needs `tokio` with `macros`, `rt-multi-thread` and `time`.

mod bench;
mod containers;
mod execs;
mod images;
mod logs;
mod sandboxes;
mod stops;

use crate::ContainerRuntime;
use async_trait::async_trait;
use futures::future::LocalBoxFuture;
use std::{path::PathBuf, sync::Arc};

/// Makes the runtimes under test; a panic in it fails the case.
#[async_trait]
pub trait Factory: Send + Sync {
    /// A runtime without sandboxes that no other case sees.
    async fn runtime(&self) -> Arc<dyn ContainerRuntime>;

    /// The name of an image that is present, or that can be pulled, and has busybox.
    fn image(&self) -> String;

    /// A directory the runtime writes logs to and mounts files from.
    fn directory(&self) -> PathBuf;
}

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    name: &'static str,
    run: for<'a> fn(&'a dyn Factory) -> LocalBoxFuture<'a, ()>,
}

impl Case {
    /// Its name, which says what must hold.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it. Panics when the runtime breaks the contract.
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
    use {containers::*, execs::*, images::*, logs::*, sandboxes::*, stops::*};
    crate::conformance!(@each (table))
}

/// Runs the case of this name.
///
/// # Panics
/// When the runtime breaks the contract, or when there is no such case.
pub async fn run(name: &str, factory: &dyn Factory) {
    let case = cases().iter().find(|case| case.name == name);
    let Some(case) = case else { panic!("no case is called {name}") };
    case.run(factory).await;
}

/// Expands to one test per case. Takes an expression of a [`Factory`](crate::conformance::Factory),
/// evaluated once per test.
#[macro_export]
macro_rules! conformance {
    (@each $mode:tt) => {
        $crate::conformance! { @run $mode
            the_runtime_tells_its_version_and_is_ready
            a_sandbox_is_ready_until_it_is_stopped
            sandboxes_are_listed_by_id_state_and_labels
            two_sandboxes_of_one_name_are_refused
            stopping_and_removing_sandboxes_twice_succeeds
            removing_a_sandbox_removes_its_containers
            an_unknown_sandbox_is_not_found
            a_container_is_created_runs_and_ends
            exit_codes_and_reasons_are_told
            a_container_is_started_once
            containers_are_listed_by_id_state_sandbox_and_labels
            a_container_of_a_missing_image_is_refused
            an_unknown_container_is_not_found
            a_running_container_has_stats
            stopping_kills_after_the_grace
            stopping_without_grace_kills_at_once
            stopping_and_removing_containers_twice_succeeds
            removing_a_running_container_ends_it
            output_is_logged_by_stream_and_line
            a_reopened_log_goes_on_in_a_new_file
            environment_and_mounts_reach_the_process
            exec_sync_gives_output_and_exit_code
            exec_sync_ends_when_its_time_is_over
            exec_in_a_container_that_has_ended_is_refused
            a_present_image_is_found_by_name_and_listed
            a_missing_image_is_no_error
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
