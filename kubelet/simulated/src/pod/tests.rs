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
    let address = || "10.64.0.1".to_owned();
    let mut progress = Progress::seen(pod, stages, at(0.0), address, &chance);
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
    let mut progress = Progress::seen(&pod, &stages.pods[0], at(0.0), String::new, &|| 0.0);
    let Next::Patch(patch) = progress.next(&pod, &stages.pods[0], at(0.0), &|| 0.0) else {
        panic!("it does not start");
    };
    let logs = r#"{"every":"0ms","lines":["up"],"repeat":false}"#;
    assert_eq!(patch["metadata"]["annotations"], json!({CPU: "250m", Logs::ANNOTATION: logs}));
}

/// The same pod with the status a patch has given it.
fn with_status(mut pod: Pod, patch: &Next) -> Pod {
    let Next::Patch(patch) = patch else { panic!("{patch:?}") };
    pod.status = Some(serde_json::from_value(patch["status"].clone()).unwrap());
    pod
}

/// One who sees the pod for the first time at this moment; it must not ask for an address.
fn taken_over(pod: &Pod, stages: &PodStages, moment: f64) -> Progress {
    let none = || panic!("it has an address");
    Progress::seen(pod, stages, at(moment), none, &|| 0.25)
}

#[test]
fn a_pod_that_runs_already_goes_on() {
    let stages = PodStages { run_for: Duration::from_secs(30), ..PodStages::default() };
    let address = || "10.64.0.7".to_owned();
    let new = pod("OnFailure");
    let mut first = Progress::seen(&new, &stages, at(100.0), address, &|| 0.25);
    let running = with_status(new, &first.next(&pod("OnFailure"), &stages, at(100.0), &|| 0.25));
    let mut next = taken_over(&running, &stages, 110.0);
    let mut step = |moment: f64| next.next(&running, &stages, at(moment), &|| 0.25);
    assert_eq!(phase(&step(110.0)), "wait 20s", "what it ran before counts");
    let ended = step(130.0);
    assert_eq!(phase(&ended), "Succeeded ready=false restarts=0");
    let Next::Patch(ended) = ended else { panic!("{ended:?}") };
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(state["startedAt"], "1970-01-01T00:01:40Z");
}

#[test]
fn a_pod_in_its_pause_after_a_failure_stays_in_it() {
    let stages =
        PodStages { failure_rate: 0.5, fail_after: Duration::from_secs(1), ..PodStages::default() };
    let address = || "10.64.0.7".to_owned();
    let new = pod("Always");
    let mut first = Progress::seen(&new, &stages, at(100.0), address, &|| 0.25);
    first.next(&new, &stages, at(100.0), &|| 0.25);
    let mut failed = with_status(new.clone(), &first.next(&new, &stages, at(101.0), &|| 0.25));
    failed.status.as_mut().unwrap().pod_ip = Some("10.64.0.7".to_owned());
    let mut next = taken_over(&failed, &stages, 105.0);
    assert_eq!(phase(&next.next(&failed, &stages, at(105.0), &|| 0.25)), "wait 6s");
    let again = next.next(&failed, &stages, at(111.0), &|| 0.25);
    assert_eq!(phase(&again), "Running ready=true restarts=1");
    let Next::Patch(again) = again else { panic!("{again:?}") };
    assert_eq!(again["status"]["podIP"], "10.64.0.7");
}
