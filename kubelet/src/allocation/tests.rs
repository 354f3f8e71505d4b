use super::*;
use serde_json::{Value, json};

fn pod(containers: Value) -> Arc<Pod> {
    Arc::new(serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap())
}

fn asking(cpu: &str, memory: &str) -> Arc<Pod> {
    pod(json!([{"name": "a", "resources":
        {"requests": {"cpu": cpu, "example.com/x": "1"}, "limits": {"memory": memory}}}]))
}

fn cpu(pod: &Pod) -> String {
    let requests = spec::containers(pod)[0].resources.clone().unwrap().requests.unwrap();
    requests["cpu"].0.clone()
}

#[test]
fn figures_are_those_of_the_api() {
    let figures = Figures::of(spec::containers(&asking("0.25", "64Mi"))[0].resources.as_ref());
    let expected = Figures { cpu_request: 250, memory_limit: 64 << 20, ..Figures::default() };
    assert_eq!(figures, expected);
    let told = figures.to_resources();
    assert_eq!(told.requests.unwrap()["cpu"].0, "250m");
    assert_eq!(told.limits.unwrap()["memory"].0, "64Mi");
    assert_eq!(Figures::of(None).to_resources(), ResourceRequirements::default());
}

#[test]
fn a_pod_has_what_it_was_given_until_it_is_given_more() {
    let given = Allocation::of(&asking("100m", "64Mi"));
    assert!(!given.differs(&asking("0.1", "65536Ki")), "the same amounts in other words");
    let asked = asking("200m", "64Mi");
    assert!(given.differs(&asked));
    let shown = given.apply(&asked);
    assert_eq!(cpu(&shown), "100m");
    assert!(Arc::ptr_eq(&Allocation::of(&asked).apply(&asked), &asked));
}

#[test]
fn what_is_not_yet_taken_away_counts() {
    let asked = asking("100m", "64Mi");
    let given = Allocation::of(&asked);
    let has = |milli: i64| {
        let figures = Figures { cpu_request: milli, ..Figures::default() };
        Actuated::from([("a".to_owned(), figures)])
    };
    let counted = given.counted(&asked, &has(300));
    assert_eq!(cpu(&counted), "300m");
    let requests = spec::containers(&counted)[0].resources.clone().unwrap().requests.unwrap();
    assert_eq!(requests["example.com/x"].0, "1");
    assert_eq!(cpu(&given.counted(&asked, &has(50))), "100m");
}

#[test]
fn what_was_given_is_kept_over_restarts() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("pod");
    let (given, asked) = (asking("100m", "64Mi"), asking("200m", "64Mi"));
    let figures = Figures::of(spec::containers(&given)[0].resources.as_ref());
    let kept = Kept {
        allocated: Allocation::of(&given),
        actuated: Actuated::from([("a".to_owned(), figures)]),
    };
    kept.write(&dir).unwrap();
    assert_eq!(Kept::read(&dir, &asked), kept);
    fs::write(dir.join(FILE), "no JSON").unwrap();
    assert_eq!(Kept::read(&dir, &asked).allocated, Allocation::of(&asked));
}

#[test]
fn what_was_not_kept_is_as_the_status_tells() {
    let home = tempfile::tempdir().unwrap();
    let mut asked = Pod::clone(&asking("200m", "64Mi"));
    let told =
        json!({"requests": {"cpu": "100m", "example.com/x": "1"}, "limits": {"memory": "64Mi"}});
    let status = json!({"containerStatuses": [{"name": "a", "containerID": "x://1", "resources": told,
        "image": "", "imageID": "", "ready": true, "restartCount": 0}]});
    asked.status = serde_json::from_value(status).unwrap();
    let kept = Kept::read(home.path(), &asked);
    assert_eq!(kept.actuated["a"].cpu_request, 100);
    assert_eq!(cpu(&kept.allocated.apply(&Arc::new(asked))), "100m");
}
