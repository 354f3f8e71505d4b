//! Tests on a runtime of their own.

use super::{
    TestCluster, TestClusterBuilder,
    history::History,
    idle::Idle,
    story::{Outcome, Story, asked_seed},
};
use futures::FutureExt;
use kubeplane_clock::Seed;
use std::panic::{AssertUnwindSafe, resume_unwind};
use tokio::runtime::Runtime;

/// Runs a test with a cluster on a runtime of its own; what [`kubeplane::test`](macro@crate::test) expands to.
/// The cluster is stopped in order also when the test panics. A test that panics or returns an error tells its seed,
/// what went wrong by plan, and the last writes; so does one whose cluster does not start, or a part of which fails.
///
/// # Panics
/// When the test does, and when the cluster does not start or a part of it fails.
pub fn run<T: Outcome>(builder: TestClusterBuilder, test: impl AsyncFnOnce(TestCluster) -> T) -> T {
    let builder = builder.seed_or(seed());
    if builder.is_paused() {
        return alone(builder, test).0;
    }
    drive(&runtime(), builder, test).0
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

fn alone<T: Outcome>(
    mut builder: TestClusterBuilder,
    test: impl AsyncFnOnce(TestCluster) -> T,
) -> (T, History) {
    let idle = Idle::default();
    let runtime = made(idle.runtime());
    builder.idle = Some(idle);
    drive(&runtime, builder, test)
}

fn drive<T: Outcome>(
    runtime: &Runtime,
    mut builder: TestClusterBuilder,
    test: impl AsyncFnOnce(TestCluster) -> T,
) -> (T, History) {
    let mut story = Story {
        seed: builder.seed.unwrap_or_default(),
        ..builder.story.take().unwrap_or_default()
    };
    builder.story = Some(story.clone());
    let (output, stopped) = runtime.block_on(async {
        let cluster = match builder.start().await {
            Ok(cluster) => cluster,
            Err(error) => {
                story.tell();
                fail(&format!("the cluster does not start: {error}"))
            }
        };
        story = cluster.0.story.clone();
        let output = AssertUnwindSafe(test(cluster.clone())).catch_unwind().await;
        if output.as_ref().map_or(true, Outcome::has_failed) {
            story.tell();
        }
        (output, cluster.stop().await)
    });
    match (output, stopped) {
        (Err(panic), _) => resume_unwind(panic),
        (Ok(output), Err(error)) if !output.has_failed() => {
            story.tell();
            fail(&format!("a part of the cluster failed: {error}"))
        }
        (Ok(output), _) => (output, story.history),
    }
}

/// The seed that was asked for, or one nobody can predict.
fn seed() -> u64 {
    match asked_seed() {
        Ok(asked) => asked.unwrap_or_else(|| Seed::random().value()),
        Err(error) => fail(&error.to_string()),
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
