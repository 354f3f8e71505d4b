use super::{
    Factory,
    bench::{Bench, done, refused},
};
use crate::{SandboxId, v1};

pub(super) async fn the_runtime_tells_its_version_and_is_ready(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let version = done(bench.runtime.version()).await;
    assert!(!version.runtime_name.is_empty() && !version.runtime_version.is_empty());
    let status = done(bench.runtime.status(false)).await.status.expect("a status");
    assert!(status.conditions.iter().any(|one| one.r#type == "RuntimeReady" && one.status));
}

pub(super) async fn a_sandbox_is_ready_until_it_is_stopped(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.sandbox("life").await;
    let status = done(bench.runtime.sandbox_status(&id)).await;
    assert_eq!(status.state(), v1::PodSandboxState::SandboxReady);
    assert_eq!(status.id, id.as_str());
    assert_eq!(status.metadata, bench.sandbox_config("life").metadata);
    assert_eq!(status.labels["app"], "life");
    assert_eq!(status.annotations["note"], "kept");
    assert!(status.created_at > 0);
    done(bench.runtime.stop_sandbox(&id)).await;
    let status = done(bench.runtime.sandbox_status(&id)).await;
    assert_eq!(status.state(), v1::PodSandboxState::SandboxNotready);
    let config = bench.container_config("late", "true");
    refused(bench.runtime.create_container(&id, config, bench.sandbox_config("life"))).await;
    bench.clean(&id).await;
}

pub(super) async fn sandboxes_are_listed_by_id_state_and_labels(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (first, second) = (bench.sandbox("first").await, bench.sandbox("second").await);
    done(bench.runtime.stop_sandbox(&second)).await;
    let listed = async |filter: v1::PodSandboxFilter| {
        let mut ids: Vec<String> = done(bench.runtime.list_sandboxes(filter))
            .await
            .into_iter()
            .map(|one| one.id)
            .collect();
        ids.sort();
        ids
    };
    let state = |state: v1::PodSandboxState| Some(v1::PodSandboxStateValue { state: state.into() });
    let mut both = vec![first.to_string(), second.to_string()];
    both.sort();
    assert_eq!(listed(v1::PodSandboxFilter::default()).await, both);
    let ready = v1::PodSandboxFilter {
        state: state(v1::PodSandboxState::SandboxReady),
        ..Default::default()
    };
    assert_eq!(listed(ready).await, [first.as_str()]);
    let by_label = v1::PodSandboxFilter {
        label_selector: [("app".to_owned(), "second".to_owned())].into(),
        ..Default::default()
    };
    assert_eq!(listed(by_label).await, [second.as_str()]);
    let by_id = v1::PodSandboxFilter { id: first.to_string(), ..Default::default() };
    assert_eq!(listed(by_id).await, [first.as_str()]);
    bench.clean(&first).await;
    bench.clean(&second).await;
}

pub(super) async fn two_sandboxes_of_one_name_are_refused(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.sandbox("twin").await;
    refused(bench.runtime.run_sandbox(bench.sandbox_config("twin"), "")).await;
    let mut next = bench.sandbox_config("twin");
    if let Some(metadata) = &mut next.metadata {
        metadata.attempt = 1;
    }
    let other = done(bench.runtime.run_sandbox(next, "")).await;
    assert_ne!(id, other);
    bench.clean(&id).await;
    bench.clean(&other).await;
}

pub(super) async fn stopping_and_removing_sandboxes_twice_succeeds(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.sandbox("twice").await;
    for _ in 0..2 {
        done(bench.runtime.stop_sandbox(&id)).await;
    }
    for _ in 0..2 {
        done(bench.runtime.remove_sandbox(&id)).await;
    }
    done(bench.runtime.stop_sandbox(&id)).await;
    assert!(refused(bench.runtime.sandbox_status(&id)).await.is_not_found());
}

pub(super) async fn removing_a_sandbox_removes_its_containers(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = bench.sandbox("whole").await;
    let container = bench.start(&id, "main", "sleep 1000").await;
    done(bench.runtime.stop_sandbox(&id)).await;
    let status = done(bench.runtime.container_status(&container)).await;
    assert_eq!(status.state(), v1::ContainerState::ContainerExited);
    done(bench.runtime.remove_sandbox(&id)).await;
    assert!(refused(bench.runtime.container_status(&container)).await.is_not_found());
    assert!(done(bench.runtime.list_containers(v1::ContainerFilter::default())).await.is_empty());
}

pub(super) async fn an_unknown_sandbox_is_not_found(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = SandboxId::new("nothing-is-called-so");
    assert!(refused(bench.runtime.sandbox_status(&id)).await.is_not_found());
    let config = bench.container_config("lost", "true");
    refused(bench.runtime.create_container(&id, config, bench.sandbox_config("lost"))).await;
}
