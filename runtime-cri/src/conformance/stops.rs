use super::{
    Factory,
    bench::{Bench, done, refused},
};
use crate::v1;
use std::time::{Duration, Instant};

/// A process that does not end when it is asked to, and says when it has begun.
const STUBBORN: &str = "trap '' TERM; echo begun; sleep 1000";

pub(super) async fn stopping_kills_after_the_grace(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("patience").await;
    let id = bench.start(&sandbox, "main", STUBBORN).await;
    bench.logged("patience", "main", 1).await;
    let begun = Instant::now();
    done(bench.runtime.stop_container(&id, Duration::from_secs(1))).await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "no grace was given");
    let status = done(bench.runtime.container_status(&id)).await;
    assert_eq!(status.state(), v1::ContainerState::ContainerExited);
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    bench.clean(&sandbox).await;
}

pub(super) async fn stopping_without_grace_kills_at_once(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("haste").await;
    let id = bench.start(&sandbox, "main", STUBBORN).await;
    done(bench.runtime.stop_container(&id, Duration::ZERO)).await;
    let status = done(bench.runtime.container_status(&id)).await;
    assert_eq!(status.state(), v1::ContainerState::ContainerExited);
    assert_eq!(status.exit_code, 137);
    bench.clean(&sandbox).await;
}

pub(super) async fn stopping_and_removing_containers_twice_succeeds(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("twice").await;
    let id = bench.start(&sandbox, "main", "sleep 1000").await;
    for _ in 0..2 {
        done(bench.runtime.stop_container(&id, Duration::ZERO)).await;
    }
    for _ in 0..2 {
        done(bench.runtime.remove_container(&id)).await;
    }
    done(bench.runtime.stop_container(&id, Duration::ZERO)).await;
    assert!(refused(bench.runtime.container_status(&id)).await.is_not_found());
    assert!(bench.log_path("twice", "main").exists(), "the log is gone");
    bench.clean(&sandbox).await;
}

pub(super) async fn removing_a_running_container_ends_it(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("forced").await;
    let id = bench.start(&sandbox, "main", "sleep 1000").await;
    done(bench.runtime.remove_container(&id)).await;
    assert!(refused(bench.runtime.container_status(&id)).await.is_not_found());
    bench.clean(&sandbox).await;
}
