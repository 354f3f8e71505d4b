use super::*;
use crate::{
    observed::{Observed, ObservedSandbox, State},
    probes::{Kind, Outcome},
};
use serde_json::{Value, json};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"uid": "u", "name": "p", "namespace": "n",
        "generation": 3}, "spec": spec, "status": {"phase": "Pending", "qosClass": "BestEffort"}}))
    .unwrap()
}

fn container(name: &str, state: State, exit_code: i32) -> Observed {
    Observed {
        id: name.into(),
        name: name.into(),
        state,
        created_at: 1_000_000_000,
        started_at: 2_000_000_000,
        finished_at: if state == State::Exited { 3_000_000_000 } else { 0 },
        exit_code,
        reason: String::new(),
        message: String::new(),
        image: "img:1".into(),
        image_ref: "sha256:1".into(),
        hash: None,
        restart_count: 0,
        log_path: String::new(),
        mounts: Vec::new(),
        user: None,
        message_path: String::new(),
        message_policy: String::new(),
        resources: None,
        actuated: None,
    }
}

fn observed(containers: Vec<Observed>) -> ObservedPod {
    ObservedPod {
        sandboxes: vec![ObservedSandbox {
            id: "s".into(),
            attempt: 0,
            ready: true,
            created_at: 1,
            ips: vec!["10.244.0.7".into()],
            host_network: false,
        }],
        containers,
    }
}

#[derive(Default)]
struct World {
    results: Results,
    reasons: HashMap<String, Reason>,
    terminal: bool,
    verdict: Option<Verdict>,
    resizes: Vec<PodCondition>,
}

impl World {
    fn status(&self, pod: &Pod, observed: &ObservedPod, previous: &PodStatus) -> PodStatus {
        compute(&Input {
            pod,
            observed,
            previous,
            reasons: &self.reasons,
            results: &self.results,
            host_ips: &["192.0.2.1".parse().unwrap()],
            runtime_name: "containerd",
            terminal: self.terminal,
            verdict: self.verdict.as_ref(),
            resizes: &self.resizes,
            now: "2026-01-01T00:00:00.5Z".parse().unwrap(),
        })
    }
}

fn condition<'a>(
    status: &'a PodStatus,
    type_: &str,
) -> (&'a str, Option<&'a str>, Option<&'a str>) {
    let found =
        status.conditions.iter().flatten().find(|condition| condition.type_ == type_).unwrap();
    (&found.status, found.reason.as_deref(), found.message.as_deref())
}

#[test]
fn a_pod_without_containers_yet_is_pending_and_says_what_it_waits_for() {
    let pod =
        pod(json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}));
    let status = World::default().status(&pod, &ObservedPod::default(), &PodStatus::default());
    assert_eq!(spec::phase(&status), "Pending");
    assert_eq!(status.start_time.as_ref().unwrap().0.to_string(), "2026-01-01T00:00:00Z");
    assert_eq!(
        condition(&status, "Ready"),
        ("False", Some("ContainersNotReady"), Some("containers with unready status: [a b]"))
    );
    assert_eq!(condition(&status, "Initialized").0, "True");
    assert_eq!(condition(&status, "PodReadyToStartContainers").0, "False");
    let state = status.container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(state.waiting.unwrap().reason.unwrap(), "ContainerCreating");
}

#[test]
fn a_running_pod_is_ready_when_its_probes_say_so() {
    let pod =
        pod(json!({"containers": [{"name": "a", "readinessProbe": {"tcpSocket": {"port": 1}}}]}));
    let world = World::default();
    let observed = observed(vec![container("a", State::Running, 0)]);
    let status = world.status(&pod, &observed, &PodStatus::default());
    assert_eq!(spec::phase(&status), "Running");
    assert_eq!(condition(&status, "Ready").0, "False");
    world.results.set(Kind::Readiness, &"a".into(), Outcome::Success);
    let status = world.status(&pod, &observed, &status);
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(status.pod_ip.as_deref(), Some("10.244.0.7"));
    assert_eq!(status.host_ip.as_deref(), Some("192.0.2.1"));
    let first = &status.container_statuses.unwrap()[0];
    assert_eq!(first.container_id.as_deref(), Some("containerd://a"));
    assert_eq!((first.ready, first.started), (true, Some(true)));
}

#[test]
fn a_crashing_container_waits_in_back_off_and_keeps_how_it_ended() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let mut world = World::default();
    let reason = Reason { reason: "CrashLoopBackOff", message: "back-off 10s".into() };
    world.reasons.insert("a".into(), reason);
    let status = world.status(
        &pod,
        &observed(vec![container("a", State::Exited, 3)]),
        &PodStatus::default(),
    );
    assert_eq!(spec::phase(&status), "Running");
    let first = &status.container_statuses.unwrap()[0];
    let waiting = first.state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("CrashLoopBackOff"));
    let ended = first.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, ended.reason.as_deref()), (3, Some("Error")));
}

#[test]
fn ended_pods_have_succeeded_or_failed_by_their_exit_codes() {
    for (policy, code, phase, reason) in [
        ("Never", 0, "Succeeded", "PodCompleted"),
        ("Never", 1, "Failed", "PodFailed"),
        ("OnFailure", 0, "Succeeded", "PodCompleted"),
    ] {
        let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
        let observed = observed(vec![container("a", State::Exited, code)]);
        let status = World::default().status(&pod, &observed, &PodStatus::default());
        assert_eq!(spec::phase(&status), phase);
        assert_eq!(condition(&status, "Ready"), ("False", Some(reason), None));
    }
}

#[test]
fn init_containers_hold_the_pod_back_and_fail_it() {
    let spec = json!({"restartPolicy": "Never", "initContainers": [{"name": "i"}],
        "containers": [{"name": "a"}]});
    let pod = pod(spec);
    let world = World::default();
    let running = observed(vec![container("i", State::Running, 0)]);
    let status = world.status(&pod, &running, &PodStatus::default());
    assert_eq!(spec::phase(&status), "Pending");
    assert_eq!(
        condition(&status, "Initialized"),
        ("False", Some("ContainersNotInitialized"), Some("containers with incomplete status: [i]"))
    );
    let failed = observed(vec![container("i", State::Exited, 1)]);
    assert_eq!(spec::phase(&world.status(&pod, &failed, &status)), "Failed");
}

#[test]
fn a_verdict_fails_the_pod_and_a_final_phase_never_changes() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let verdict = Verdict { reason: "OutOfcpu".into(), message: "no cpu".into() };
    let world = World { verdict: Some(verdict), ..World::default() };
    let status = world.status(&pod, &ObservedPod::default(), &PodStatus::default());
    assert_eq!((spec::phase(&status), status.reason.as_deref()), ("Failed", Some("OutOfcpu")));
    let running = observed(vec![container("a", State::Running, 0)]);
    let later = World::default().status(&pod, &running, &status);
    assert_eq!((spec::phase(&later), later.reason.as_deref()), ("Failed", Some("OutOfcpu")));
}

#[test]
fn readiness_gates_and_foreign_conditions_are_kept() {
    let mut pod = pod(json!({"containers": [{"name": "a"}],
        "readinessGates": [{"conditionType": "example.com/lb"}]}));
    let observed = observed(vec![container("a", State::Running, 0)]);
    let status = World::default().status(&pod, &observed, &PodStatus::default());
    assert_eq!(condition(&status, "Ready").1, Some("ReadinessGatesNotReady"));
    pod.status.as_mut().unwrap().conditions = serde_json::from_value(json!([
        {"type": "example.com/lb", "status": "True"}
    ]))
    .unwrap();
    let status = World::default().status(&pod, &observed, &status);
    assert_eq!(condition(&status, "Ready").0, "True");
    assert_eq!(condition(&status, "example.com/lb").0, "True");
}

#[test]
fn a_container_that_was_lost_counts_as_ended() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let world = World::default();
    let running = observed(vec![container("a", State::Running, 0)]);
    let before = world.status(&pod, &running, &PodStatus::default());
    let status = world.status(&pod, &observed(vec![]), &before);
    assert_eq!(spec::phase(&status), "Running");
    let first = &status.container_statuses.unwrap()[0];
    assert_eq!(first.restart_count, 1);
    let ended = first.last_state.clone().unwrap().terminated.unwrap();
    assert_eq!(ended.reason.as_deref(), Some("ContainerStatusUnknown"));
}

#[test]
fn a_container_tells_what_it_was_made_with() {
    let spec = |limit: &str| {
        pod(json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a"}, {"name": "b", "resources":
                {"requests": {"cpu": "1"}, "limits": {"memory": limit}}}, {"name": "c"}],
        }))
    };
    let shown = |status: &PodStatus, name: &str| {
        let mut all =
            status.container_statuses.iter().chain(&status.init_container_statuses).flatten();
        let found = serde_json::to_value(all.find(|status| status.name == name).unwrap()).unwrap();
        (found["resources"].clone(), found["allocatedResources"].clone())
    };
    let world = World::default();
    let running = observed(vec![
        container("b", State::Running, 0),
        container("a", State::Exited, 1),
        container("i", State::Exited, 0),
    ]);
    let status = world.status(&spec("1Gi"), &running, &PodStatus::default());
    let asked = json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}});
    assert_eq!(shown(&status, "a"), (json!({}), Value::Null));
    assert_eq!(shown(&status, "i"), (json!({}), Value::Null));
    assert_eq!(shown(&status, "b"), (asked.clone(), json!({"cpu": "1"})));
    assert_eq!(shown(&status, "c"), (Value::Null, Value::Null));

    let later = world.status(&spec("2Gi"), &running, &status);
    assert_eq!(shown(&later, "b").0, asked);
    let anew = observed(vec![Observed { id: "b2".into(), ..container("b", State::Running, 0) }]);
    let later = world.status(&spec("2Gi"), &anew, &later);
    assert_eq!(shown(&later, "b").0["limits"]["memory"], "2Gi");
}

#[test]
fn a_resize_is_told_of_while_the_pod_runs() {
    let pod = pod(json!({"containers": [{"name": "a"}]}));
    let resize = json!({"type": "PodResizePending", "status": "True", "reason": "Deferred"});
    let mut world =
        World { resizes: vec![serde_json::from_value(resize).unwrap()], ..World::default() };
    let running = observed(vec![container("a", State::Running, 0)]);
    let status = world.status(&pod, &running, &PodStatus::default());
    assert_eq!(condition(&status, "PodResizePending"), ("True", Some("Deferred"), None));
    let mut shown = pod.clone();
    shown.status = Some(status.clone());
    world.resizes.clear();
    let later = world.status(&shown, &running, &status);
    assert!(later.conditions.iter().flatten().all(|own| own.type_ != "PodResizePending"));
}
