use super::{
    Factory,
    bench::{Bench, done, image_spec, refused},
};
use crate::{ContainerId, v1};

pub(super) async fn a_container_is_created_runs_and_ends(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("life").await;
    let id = bench.create(&sandbox, bench.container_config("main", "sleep 1")).await;
    let status = done(bench.runtime.container_status(&id)).await;
    assert_eq!(status.state(), v1::ContainerState::ContainerCreated);
    assert_eq!(status.metadata.expect("metadata").name, "main");
    assert_eq!(status.labels["part"], "main");
    assert!(status.created_at > 0 && status.started_at == 0 && status.finished_at == 0);
    assert!(!status.image_ref.is_empty());
    done(bench.runtime.start_container(&id)).await;
    let running = done(bench.runtime.container_status(&id)).await;
    assert_eq!(running.state(), v1::ContainerState::ContainerRunning);
    assert!(running.started_at >= running.created_at && running.finished_at == 0);
    let ended = bench.ended(&id).await;
    assert_eq!((ended.exit_code, ended.reason.as_str()), (0, "Completed"));
    assert!(ended.finished_at >= ended.started_at + 900_000_000);
    bench.clean(&sandbox).await;
}

pub(super) async fn exit_codes_and_reasons_are_told(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("codes").await;
    for (name, script, code, reason) in [
        ("good", "true", 0, "Completed"),
        ("bad", "false", 1, "Error"),
        ("odd", "exit 42", 42, "Error"),
    ] {
        let id = bench.start(&sandbox, name, script).await;
        let ended = bench.ended(&id).await;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (code, reason), "{script}");
    }
    bench.clean(&sandbox).await;
}

pub(super) async fn a_container_is_started_once(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("once").await;
    let id = bench.start(&sandbox, "main", "true").await;
    bench.ended(&id).await;
    refused(bench.runtime.start_container(&id)).await;
    bench.clean(&sandbox).await;
}

pub(super) async fn containers_are_listed_by_id_state_sandbox_and_labels(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let (left, right) = (bench.sandbox("left").await, bench.sandbox("right").await);
    let first = bench.start(&left, "first", "sleep 1000").await;
    let second = bench.create(&left, bench.container_config("second", "true")).await;
    let third = bench.create(&right, bench.container_config("third", "true")).await;
    let listed = async |filter: v1::ContainerFilter| {
        let mut ids: Vec<String> = done(bench.runtime.list_containers(filter))
            .await
            .into_iter()
            .map(|one| one.id)
            .collect();
        ids.sort();
        ids
    };
    let sorted = |ids: &[&ContainerId]| {
        let mut ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(listed(v1::ContainerFilter::default()).await, sorted(&[&first, &second, &third]));
    let by_sandbox = v1::ContainerFilter { pod_sandbox_id: left.to_string(), ..Default::default() };
    assert_eq!(listed(by_sandbox).await, sorted(&[&first, &second]));
    let created = v1::ContainerState::ContainerCreated.into();
    let by_state = v1::ContainerFilter {
        state: Some(v1::ContainerStateValue { state: created }),
        ..Default::default()
    };
    assert_eq!(listed(by_state).await, sorted(&[&second, &third]));
    let by_label = v1::ContainerFilter {
        label_selector: [("part".to_owned(), "third".to_owned())].into(),
        ..Default::default()
    };
    assert_eq!(listed(by_label).await, sorted(&[&third]));
    let by_id = v1::ContainerFilter { id: first.to_string(), ..Default::default() };
    assert_eq!(listed(by_id).await, sorted(&[&first]));
    bench.clean(&left).await;
    bench.clean(&right).await;
}

pub(super) async fn a_container_of_a_missing_image_is_refused(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("bare").await;
    let mut config = bench.container_config("main", "true");
    config.image = Some(image_spec("registry.invalid/not-here:v1"));
    let sandbox_config = bench.sandbox_config("bare");
    refused(bench.runtime.create_container(&sandbox, config, sandbox_config)).await;
    bench.clean(&sandbox).await;
}

pub(super) async fn an_unknown_container_is_not_found(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let id = ContainerId::new("nothing-is-called-so");
    assert!(refused(bench.runtime.container_status(&id)).await.is_not_found());
    assert!(refused(bench.runtime.start_container(&id)).await.is_not_found());
}

pub(super) async fn a_running_container_has_stats(factory: &dyn Factory) {
    let bench = Bench::new(factory).await;
    let sandbox = bench.sandbox("used").await;
    let id = bench.start(&sandbox, "main", "sleep 1000").await;
    let stats = done(bench.runtime.container_stats(&id)).await;
    assert_eq!(stats.attributes.expect("attributes").id, id.as_str());
    assert!(stats.memory.and_then(|memory| memory.working_set_bytes).is_some());
    let filter = v1::ContainerStatsFilter { id: id.to_string(), ..Default::default() };
    assert_eq!(done(bench.runtime.list_container_stats(filter)).await.len(), 1);
    bench.clean(&sandbox).await;
}
