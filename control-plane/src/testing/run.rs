//! Tests on a runtime of their own.

use super::{TestCluster, TestClusterBuilder, history::History, idle::Idle};
use futures::FutureExt;
use kubeplane_clock::Seed;
use std::panic::{AssertUnwindSafe, resume_unwind};
use tokio::runtime::Runtime;

/// The variable with the seed of tests that say none.
const SEED: &str = "KUBEPLANE_SEED";

/// Runs a test with a cluster on a runtime of its own; what [`kubeplane::test`](macro@crate::test) expands to.
/// The cluster is stopped in order also when the test panics. A test that panics tells its seed, what went wrong
/// by plan, and the last writes.
///
/// # Panics
/// When the test does, and when the cluster does not start or a part of it fails.
pub fn run<T>(builder: TestClusterBuilder, test: impl AsyncFnOnce(TestCluster) -> T) -> T {
    let builder = builder.seed_or(seed());
    if builder.is_paused() {
        return alone(builder, test).0;
    }
    let mut builder = builder;
    let history = History::default();
    builder.history = Some(history.clone());
    drive(&runtime(), builder, &history, test)
}

/// Runs a test as [`run`] does, [paused](TestClusterBuilder::paused) and on one thread, and returns what was written
/// until it was over: the same for the same seed, as far as [replaying](crate::testing#replaying) goes.
///
/// ```
/// use kubeplane::testing::{TestCluster, record};
/// use std::time::Duration;
///
/// let day = || {
///     let builder = TestCluster::builder().seed(7);
///     record(builder, async |cluster| cluster.advance(Duration::from_secs(86_400)).await)
/// };
/// assert_eq!(day().to_bytes(), day().to_bytes());
/// ```
///
/// # Panics
/// As [`run`].
pub fn record(builder: TestClusterBuilder, test: impl AsyncFnOnce(TestCluster)) -> History {
    let builder = if builder.is_paused() { builder } else { builder.paused() };
    alone(builder.seed_or(seed()), test).1
}

fn alone<T>(
    mut builder: TestClusterBuilder,
    test: impl AsyncFnOnce(TestCluster) -> T,
) -> (T, History) {
    let (idle, history) = (Idle::default(), History::default());
    let runtime = made(idle.runtime());
    (builder.idle, builder.history) = (Some(idle), Some(history.clone()));
    (drive(&runtime, builder, &history, test), history)
}

fn drive<T>(
    runtime: &Runtime,
    builder: TestClusterBuilder,
    history: &History,
    test: impl AsyncFnOnce(TestCluster) -> T,
) -> T {
    let (output, stopped) = runtime.block_on(async {
        let cluster = match builder.start().await {
            Ok(cluster) => cluster,
            Err(error) => fail(&format!("the cluster does not start: {error}")),
        };
        let output = AssertUnwindSafe(test(cluster.clone())).catch_unwind().await;
        if output.is_err() {
            tell(&cluster, history);
        }
        (output, cluster.stop().await)
    });
    match (output, stopped) {
        (Err(panic), _) => resume_unwind(panic),
        (Ok(_), Err(error)) => fail(&format!("a part of the cluster failed: {error}")),
        (Ok(output), Ok(())) => output,
    }
}

fn tell(cluster: &TestCluster, history: &History) {
    eprintln!("-- writes:\n{}", history.tail());
    let struck = cluster.faults().struck();
    if !struck.is_empty() {
        eprintln!("-- planned faults:\n{}", struck.join("\n"));
    }
    eprintln!("-- again with {SEED}={}", cluster.seed());
}

/// The seed that was asked for, or one nobody can predict.
fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => match text.parse() {
            Ok(seed) => seed,
            Err(_) => fail(&format!("{SEED}={text} is no number")),
        },
        Err(_) => Seed::random().value(),
    }
}

fn runtime() -> Runtime {
    made(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build())
}

fn made(runtime: std::io::Result<Runtime>) -> Runtime {
    runtime.unwrap_or_else(|error| fail(&format!("no runtime for the test: {error}")))
}

#[expect(clippy::panic, reason = "this is a test, which fails by panicking")]
fn fail(why: &str) -> ! {
    panic!("{why}")
}
