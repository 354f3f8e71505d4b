use super::*;
use serde_json::json;
use std::time::Duration;

const NOW: &str = "2026-01-01T01:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A pod that asks for `cpu`, started long ago and in this phase.
fn pod(number: usize, cpu: &str, phase: &str, ready: bool) -> Arc<Pod> {
    let ready = if ready { "True" } else { "False" };
    let pod = json!({
        "metadata": {"name": format!("p{number}"), "namespace": "ns"},
        "spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": cpu}}},
            {"name": "b", "resources": {"requests": {"cpu": cpu}}}]},
        "status": {"phase": phase, "startTime": "2026-01-01T00:00:00Z", "conditions": [
            {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:10Z"}]}});
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn pods(count: usize, cpu: &str) -> Vec<Arc<Pod>> {
    (0..count).map(|number| pod(number, cpu, "Running", true)).collect()
}

fn metrics(values: &[i64]) -> Metrics {
    let one = |(number, value): (usize, &i64)| {
        let window = SignedDuration::from_secs(60);
        (format!("p{number}"), PodMetric { value: *value, at: now(), window })
    };
    values.iter().enumerate().map(one).collect()
}

fn target(pods: &[Arc<Pod>]) -> Target<'_> {
    let count = i32::try_from(pods.len()).unwrap();
    let tolerances = Tolerances { down: 0.1, up: 0.1 };
    let starting = Starting::of(&Settings::default());
    Target { pods, wanted: count, present: count, tolerances, starting, now: now() }
}

/// Replicas for 100 per cent of what is asked for when the pods use these thousandths of processors.
fn replicas(pods: &[Arc<Pod>], used: &[i64], percent: i32) -> Result<i32, String> {
    utilization(&target(pods), metrics(used), percent, "cpu", "").map(|found| found.replicas)
}

#[test]
fn replicas_follow_use() {
    // As in the original's tests: three pods that ask for one processor each in two containers of a half.
    let three = pods(3, "500m");
    let found = utilization(&target(&three), metrics(&[300, 500, 700]), 30, "cpu", "").unwrap();
    assert_eq!(found, Utilization { replicas: 5, percent: 50, average: 500 });
    let five = pods(5, "500m");
    assert_eq!(replicas(&five, &[100, 300, 500, 250, 250], 50), Ok(3));
    assert_eq!(replicas(&three, &[1010, 1030, 1020], 100), Ok(3));
}

#[test]
fn how_long_a_pod_is_starting_is_for_the_settings_to_say() {
    let three = pods(3, "500m");
    let by = |initialization: u64| {
        let settings = Settings {
            horizontal_pod_autoscaler_cpu_initialization_period: Duration::from_secs(
                initialization,
            ),
            ..Settings::default()
        };
        let target = Target { starting: Starting::of(&settings), ..target(&three) };
        let early = PodMetric {
            value: 1000,
            at: "2026-01-01T00:00:30Z".parse().unwrap(),
            window: SignedDuration::from_secs(60),
        };
        let mut all = metrics(&[1000, 1000]);
        all.insert("p2".to_owned(), early);
        utilization(&target, all, 50, "cpu", "").unwrap().replicas
    };
    // One of three was measured while it started; it counts as using nothing where that is long.
    assert_eq!([by(300), by(2 * 3600)], [6, 4]);
    let settings = Settings {
        horizontal_pod_autoscaler_initial_readiness_delay: Duration::ZERO,
        ..Settings::default()
    };
    let unready = [pod(0, "500m", "Running", true), pod(1, "500m", "Running", false)];
    let never = Target { starting: Starting::of(&settings), ..target(&unready) };
    let used = |target: &Target<'_>| {
        utilization(target, metrics(&[1000, 1000]), 50, "cpu", "").unwrap().replicas
    };
    assert_eq!([used(&target(&unready)), used(&never)], [2, 4]);
}

#[test]
fn each_direction_has_a_tolerance_of_its_own() {
    let three = pods(3, "500m");
    let by = |down: f64, up: f64, used: i64| {
        let target = Target { tolerances: Tolerances { down, up }, ..target(&three) };
        let found = utilization(&target, metrics(&[used; 3]), 50, "cpu", "");
        found.unwrap().replicas
    };
    // At 70 instead of 50 per cent, and at 20.
    assert_eq!([by(0.1, 0.5, 700), by(0.1, 0.3, 700)], [3, 5]);
    assert_eq!([by(0.7, 0.1, 200), by(0.5, 0.1, 200)], [3, 2]);
    assert_eq!([by(0.7, 0.1, 700), by(0.1, 0.5, 200)], [5, 2]);
}

#[test]
fn pods_without_figures_keep_from_extremes() {
    let four = pods(4, "500m");
    // Going down, they are taken to use all they ask for.
    assert_eq!(replicas(&four, &[100, 100, 100], 50), Ok(3));
    // Going up, they are taken to use nothing.
    let three = pods(3, "500m");
    assert_eq!(replicas(&three, &[1000, 1000], 50), Ok(4));
}

#[test]
fn pods_that_are_not_ready_do_not_make_it_larger() {
    let mut three = pods(3, "500m");
    three[2] = pod(2, "500m", "Pending", false);
    assert_eq!(replicas(&three, &[1000, 1000, 1000], 50), Ok(4));
    three[2] = pod(2, "500m", "Failed", false);
    assert_eq!(replicas(&three, &[1000, 1000, 1000], 50), Ok(4));
    // Nor do those that started a moment ago, nor those that were never ready.
    three[2] = pod(2, "500m", "Running", false);
    assert_eq!(replicas(&three, &[1000, 1000, 1000], 50), Ok(4));
}

#[test]
fn what_cannot_be_computed_is_told() {
    let two = pods(2, "500m");
    let error = |metrics: &[i64], container: &str, resource: &str| {
        let found =
            utilization(&target(&two), super::tests::metrics(metrics), 50, resource, container);
        found.unwrap_err()
    };
    assert_eq!(
        error(&[], "", "cpu"),
        "did not receive metrics for targeted pods (pods might be unready)"
    );
    assert_eq!(error(&[1, 1], "c", "cpu"), "container c not found in Pod p0");
    assert_eq!(error(&[1, 1], "", "memory"), "missing request for memory in container a of Pod p0");
    let none: [Arc<Pod>; 0] = [];
    let why = replicas(&none, &[1], 50).unwrap_err();
    assert_eq!(why, "no pods returned by selector while calculating replica count");
}

#[test]
fn averages_and_shared_figures() {
    let three = pods(3, "500m");
    assert_eq!(
        average(&target(&three), metrics(&[20_000, 10_000, 30_000]), 15_000, ""),
        Ok((4, 20_000))
    );
    assert_eq!(value(&target(&three), 20_000, 15_000), Ok(4));
    assert_eq!(value(&target(&three), 15_100, 15_000), Ok(3));
    let zero = Target { wanted: 0, ..target(&three) };
    assert_eq!(value(&zero, 250, 100), Ok(3));
    assert_eq!(value_per_pod(&target(&three), 8_600, 2_150), (4, 2_867));
    assert_eq!(value_per_pod(&target(&three), i64::MAX, 1).0, i32::MAX);
}
