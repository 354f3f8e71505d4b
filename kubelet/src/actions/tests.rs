use super::*;
use crate::{allocation::Figures, observed::ObservedSandbox};
use serde_json::{Value, json};

fn pod(spec: Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"uid": "u", "name": "p", "namespace": "n"}, "spec": spec}),
    )
    .unwrap()
}

fn sandbox() -> ObservedPod {
    ObservedPod {
        sandboxes: vec![ObservedSandbox {
            id: "s".into(),
            attempt: 0,
            ready: true,
            created_at: 1,
            ips: vec!["10.0.0.1".into()],
            host_network: false,
        }],
        containers: Vec::new(),
    }
}

fn container(name: &str, state: State, exit_code: i32) -> Observed {
    Observed {
        id: name.into(),
        name: name.into(),
        state,
        created_at: 1,
        started_at: 1,
        finished_at: 2,
        exit_code,
        reason: String::new(),
        message: String::new(),
        image: String::new(),
        image_ref: String::new(),
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

fn with(mut observed: ObservedPod, containers: Vec<Observed>) -> ObservedPod {
    observed.containers = containers;
    observed
}

#[test]
fn a_new_pod_gets_a_sandbox_and_then_its_first_init_container() {
    let simple = pod(json!({"containers": [{"name": "a"}, {"name": "b"}]}));
    let actions = compute(&simple, &ObservedPod::default(), &Results::default());
    assert!(actions.create_sandbox && actions.kill_pod);
    assert_eq!(actions.start, [0, 1]);
    let init = pod(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    let actions = compute(&init, &ObservedPod::default(), &Results::default());
    assert_eq!((actions.init, actions.start), (vec![0], vec![]));
}

#[test]
fn init_containers_run_one_after_the_other() {
    let pod = pod(json!({
        "initContainers": [{"name": "i"}, {"name": "j"}], "containers": [{"name": "a"}]
    }));
    let step = |containers| compute(&pod, &with(sandbox(), containers), &Results::default());
    assert_eq!(step(vec![]).init, [0]);
    assert!(step(vec![container("i", State::Running, 0)]).init.is_empty());
    assert_eq!(step(vec![container("i", State::Exited, 0)]).init, [1]);
    assert_eq!(step(vec![container("i", State::Exited, 1)]).init, [0]);
    let done = step(vec![container("j", State::Exited, 0), container("i", State::Exited, 0)]);
    assert_eq!((done.init, done.start), (vec![], vec![0]));
}

#[test]
fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let pod = pod(json!({"restartPolicy": "Never",
        "initContainers": [{"name": "i"}], "containers": [{"name": "a"}]}));
    let observed = with(sandbox(), vec![container("i", State::Exited, 3)]);
    let actions = compute(&pod, &observed, &Results::default());
    assert!(actions.kill_pod && !actions.create_sandbox);
}

#[test]
fn a_running_sidecar_lets_the_next_one_start_and_is_restarted_when_it_ends() {
    let pod =
        pod(json!({"initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}],
        "containers": [{"name": "a"}]}));
    let step = |containers| compute(&pod, &with(sandbox(), containers), &Results::default());
    assert_eq!(step(vec![container("s", State::Running, 0)]).init, [1]);
    let both = vec![container("i", State::Running, 0), container("s", State::Exited, 0)];
    assert_eq!(step(both).init, [0]);
}

#[test]
fn ended_containers_start_again_as_the_policy_says() {
    for (policy, code, starts) in
        [("Always", 0, true), ("OnFailure", 0, false), ("OnFailure", 1, true), ("Never", 1, false)]
    {
        let pod = pod(json!({"restartPolicy": policy, "containers": [{"name": "a"}]}));
        let observed = with(sandbox(), vec![container("a", State::Exited, code)]);
        let actions = compute(&pod, &observed, &Results::default());
        assert_eq!(!actions.start.is_empty(), starts, "{policy} {code}");
        assert_eq!(actions.kill_pod, !starts, "{policy} {code}");
    }
}

#[test]
fn failed_liveness_and_changed_images_replace_a_container() {
    let pod = pod(json!({"containers": [{"name": "a", "image": "x:2"}]}));
    let results = Results::default();
    let id: ContainerId = "a".into();
    results.set(crate::probes::Kind::Liveness, &id, Outcome::Failure);
    let observed = with(sandbox(), vec![container("a", State::Running, 0)]);
    let actions = compute(&pod, &observed, &results);
    assert_eq!(actions.kill[0].message, "Container a failed liveness probe, will be restarted");
    assert_eq!(actions.start, [0]);
    let mut old = container("a", State::Running, 0);
    old.hash = Some(1);
    let actions = compute(&pod, &with(sandbox(), vec![old]), &Results::default());
    assert_eq!(actions.kill[0].message, "Container a definition changed, will be restarted");
}

#[test]
fn a_dead_sandbox_is_made_anew_unless_the_pod_is_done() {
    let mut observed = with(sandbox(), vec![container("a", State::Exited, 0)]);
    observed.sandboxes[0].ready = false;
    let always = pod(json!({"containers": [{"name": "a"}]}));
    let actions = compute(&always, &observed, &Results::default());
    assert!(actions.create_sandbox);
    assert_eq!(actions.attempt, 1);
    let never = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a"}]}));
    let actions = compute(&never, &observed, &Results::default());
    assert!(actions.kill_pod && !actions.create_sandbox);
}

/// A running container that was told these limits, in thousandths of a processor and in bytes.
fn limited(name: &str, cpu_limit: i64, memory_limit: i64) -> Observed {
    let figures = Figures { cpu_limit, memory_limit, ..Figures::default() };
    Observed { actuated: Some(figures), ..container(name, State::Running, 0) }
}

#[test]
fn what_is_taken_away_comes_before_what_is_given() {
    let limits = |cpu: &str, memory: &str| json!({"limits": {"cpu": cpu, "memory": memory}});
    let pod = pod(json!({"containers": [
        {"name": "more", "resources": limits("2", "20")}, {"name": "less", "resources": limits("500m", "20")},
        {"name": "same", "resources": limits("1", "10")}, {"name": "mixed", "resources": limits("1", "5")}]}));
    let running = ["more", "less", "same", "mixed"].map(|name| limited(name, 1000, 10));
    let actions = compute(&pod, &with(sandbox(), running.to_vec()), &Results::default());
    let names = |updates: &[resize::Update]| -> Vec<String> {
        updates.iter().map(|update| update.name.clone()).collect()
    };
    assert_eq!(names(&actions.resize.memory), ["mixed", "more", "less"]);
    assert_eq!(names(&actions.resize.cpu), ["less", "more"]);
    assert!(actions.kill.is_empty() && actions.start.is_empty());
}

#[test]
fn a_container_starts_anew_for_what_its_policy_says() {
    let container = |name: &str, resource: &str| {
        json!({"name": name, "resources": {"limits": {"cpu": "2", "memory": "10"}},
            "resizePolicy": [{"resourceName": resource, "restartPolicy": "RestartContainer"}]})
    };
    let mut sidecar = container("s", "cpu");
    sidecar["restartPolicy"] = json!("Always");
    let containers = [container("cpu", "cpu"), container("memory", "memory")];
    let pod = pod(json!({"initContainers": [sidecar], "containers": containers}));
    let running = ["cpu", "memory", "s"].map(|name| limited(name, 1000, 10));
    let observed = with(sandbox(), running.to_vec());
    assert!(resize::is_going(&pod, &observed));
    let actions = compute(&pod, &observed, &Results::default());
    assert_eq!((actions.start, actions.init), (vec![0], vec![0]));
    let messages: Vec<_> = actions.kill.iter().map(|kill| kill.message.as_str()).collect();
    let expected = ["Container s resize requires restart", "Container cpu resize requires restart"];
    assert_eq!(messages, expected);
    let changed: Vec<_> = actions.resize.cpu.iter().map(|update| update.name.as_str()).collect();
    assert_eq!(changed, ["memory"]);
}

#[test]
fn an_init_container_is_changed_while_it_runs() {
    let pod = pod(json!({"initContainers": [{"name": "i", "resources": {"limits": {"cpu": "2"}}}],
        "containers": [{"name": "a"}]}));
    let observed = with(sandbox(), vec![limited("i", 1000, 0)]);
    assert!(resize::is_going(&pod, &observed));
    let actions = compute(&pod, &observed, &Results::default());
    assert_eq!(actions.resize.cpu[0].to.cpu_limit, 2000);
    assert!(actions.kill.is_empty() && actions.init.is_empty() && actions.start.is_empty());
}
