use super::{
    Factory,
    bench::{Bench, done, refused},
};
use crate::Error;
use std::time::{Duration, Instant};

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

pub(super) async fn exec_sync_gives_output_and_exit_code(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("asked").await;
    let id = bench.start(&sandbox, "main", "sleep 1000").await;
    let command = shell("echo out; echo err >&2; exit 7");
    let answer = done(bench.runtime.exec_sync(&id, &command, None)).await;
    assert_eq!(answer.exit_code, 7);
    assert_eq!((&answer.stdout[..], &answer.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    let limit = Some(Duration::from_secs(30));
    let answer = done(bench.runtime.exec_sync(&id, &["true".to_owned()], limit)).await;
    assert_eq!(answer.exit_code, 0);
    bench.clean(&sandbox).await;
}

pub(super) async fn exec_sync_ends_when_its_time_is_over(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("late").await;
    let id = bench.start(&sandbox, "main", "sleep 1000").await;
    let begun = Instant::now();
    let command = ["sleep", "1000"].map(str::to_owned);
    let limit = Some(Duration::from_secs(1));
    let error = refused(bench.runtime.exec_sync(&id, &command, limit)).await;
    assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    bench.clean(&sandbox).await;
}

pub(super) async fn exec_in_a_container_that_has_ended_is_refused(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("ended").await;
    let id = bench.start(&sandbox, "main", "true").await;
    bench.ended(&id).await;
    refused(bench.runtime.exec_sync(&id, &["true".to_owned()], None)).await;
    bench.clean(&sandbox).await;
}
