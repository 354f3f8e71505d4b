use super::*;

fn pod(policy: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"restartPolicy": policy, "containers": [{"name": "a", "image": "b"}]},
    }))
    .unwrap()
}

fn at(seconds: f64) -> Moment {
    let elapsed = Duration::from_secs_f64(seconds);
    Moment { elapsed, now: Timestamp::from_second(elapsed.as_secs() as i64).unwrap() }
}

fn phase(next: &Next) -> String {
    match next {
        Next::Patch(patch) => {
            let status = &patch["status"];
            let state = &status["containerStatuses"][0];
            format!(
                "{} ready={} restarts={}",
                status["phase"].as_str().unwrap(),
                state["ready"],
                state["restartCount"]
            )
        }
        Next::Wait(left) => format!("wait {left:?}"),
        other => format!("{other:?}"),
    }
}

/// What is said at each of these moments.
fn course(pod: &Pod, stages: &PodStages, moments: &[f64]) -> Vec<String> {
    let chance = || 0.25;
    let mut progress = Progress::seen(stages, at(0.0), "10.0.0.1".to_owned(), &chance);
    moments.iter().map(|moment| phase(&progress.next(pod, stages, at(*moment), &chance))).collect()
}

#[test]
fn a_pod_starts_and_is_ready_when_its_stages_say() {
    let stages = PodStages {
        start_delay: Duration::from_secs(2),
        start_jitter: Duration::from_secs(4),
        ready_delay: Duration::from_secs(5),
        ..PodStages::default()
    };
    let course = course(&pod("Always"), &stages, &[0.0, 3.0, 3.0, 8.0, 9.0]);
    let expected = [
        "wait 3s",
        "Running ready=false restarts=0",
        "wait 5s",
        "Running ready=true restarts=0",
        "Rest",
    ];
    assert_eq!(course, expected);
}

#[test]
fn a_pod_that_is_not_always_started_again_ends() {
    let stages = PodStages { run_for: Duration::from_secs(3), ..PodStages::default() };
    let course = course(&pod("OnFailure"), &stages, &[0.0, 0.0, 3.0, 4.0]);
    assert_eq!(
        course,
        ["Running ready=true restarts=0", "wait 3s", "Succeeded ready=false restarts=0", "Rest"]
    );
}

#[test]
fn failures_are_started_again_after_a_growing_pause() {
    let stages =
        PodStages { failure_rate: 0.5, fail_after: Duration::from_secs(1), ..PodStages::default() };
    let always = course(&pod("Always"), &stages, &[0.0, 1.0, 1.0, 11.0, 12.0, 12.0]);
    let expected = [
        "Running ready=true restarts=0",
        "Running ready=false restarts=1",
        "wait 10s",
        "Running ready=true restarts=1",
        "Running ready=false restarts=2",
        "wait 20s",
    ];
    assert_eq!(always, expected);
    let never = course(&pod("Never"), &stages, &[0.0, 1.0]);
    assert_eq!(never[1], "Failed ready=false restarts=0");
}

#[test]
fn a_pod_that_is_deleted_goes_after_its_delay() {
    let stages = PodStages { stop_delay: Duration::from_secs(2), ..PodStages::default() };
    let mut deleted = pod("Always");
    deleted.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    assert_eq!(course(&deleted, &stages, &[1.0, 3.0]), ["wait 2s", "Remove"]);
}

#[test]
fn a_pod_says_what_it_uses_and_logs_unless_its_maker_did() {
    let stages: crate::Simulation =
        "kind: PodStages\nspec: {logs: {lines: [up]}, usage: {cpu: 250m, memory: 64Mi}}"
            .parse()
            .unwrap();
    let mut pod = pod("Always");
    pod.metadata.annotations = Some([(MEMORY.to_owned(), "1Gi".to_owned())].into());
    let mut progress = Progress::seen(&stages.pods[0], at(0.0), String::new(), &|| 0.0);
    let Next::Patch(patch) = progress.next(&pod, &stages.pods[0], at(0.0), &|| 0.0) else {
        panic!("it does not start");
    };
    let logs = r#"{"every":"0ms","lines":["up"],"repeat":false}"#;
    assert_eq!(patch["metadata"]["annotations"], json!({CPU: "250m", Logs::ANNOTATION: logs}));
}
