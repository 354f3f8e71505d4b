use super::*;
use serde_json::json;

fn object(value: Value) -> Object {
    Object::from_value(value).unwrap()
}

fn of(group: &'static str, plural: &'static str) -> Evaluator {
    Evaluator::of(&GroupResource::new(group, plural)).unwrap()
}

fn texts(evaluator: &Evaluator, value: Value) -> Vec<String> {
    let usage = evaluator.usage(&object(value), Timestamp::UNIX_EPOCH);
    usage.iter().map(|(name, amount)| format!("{name}={amount}")).collect()
}

#[test]
fn pods_take_what_their_containers_ask_for() {
    let pods = of("", "pods");
    let spec = json!({"containers": [{"name": "c", "resources": {
        "requests": {"cpu": "1", "memory": "1Gi", "example.com/gpu": "2"}, "limits": {"cpu": "2"}}}]});
    assert_eq!(
        texts(&pods, json!({"spec": spec})),
        [
            "count/pods=1",
            "cpu=1",
            "limits.cpu=2",
            "memory=1Gi",
            "pods=1",
            "requests.cpu=1",
            "requests.example.com/gpu=2",
            "requests.memory=1Gi",
        ]
    );
    let ended = json!({"spec": spec, "status": {"phase": "Succeeded"}});
    assert_eq!(texts(&pods, ended), ["count/pods=1"]);
    let gone = json!({"spec": spec, "metadata": {
        "deletionTimestamp": "1960-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30}});
    assert_eq!(texts(&pods, gone), ["count/pods=1"]);
    for name in ["requests.example.com/gpu", "hugepages-2Mi", "requests.hugepages-2Mi", "pods"] {
        assert!(pods.counts(name), "{name}");
    }
    for name in ["services", "count/services", "requests.storage", "example.com/gpu"] {
        assert!(!pods.counts(name), "{name}");
    }
}

#[test]
fn services_and_claims_are_charged_by_kind() {
    let ports = json!([{"port": 80}, {"port": 81, "nodePort": 30000}]);
    let service = |kind: &str, given: bool| {
        let service =
            json!({"spec": {"type": kind, "ports": ports, "allocateLoadBalancerNodePorts": given}});
        texts(&of("", "services"), service).join(" ")
    };
    let expect = |balancers: i64, ports: i64| {
        format!(
            "count/services=1 services=1 services.loadbalancers={balancers} services.nodeports={ports}"
        )
    };
    assert_eq!(service("ClusterIP", true), expect(0, 0));
    assert_eq!(service("NodePort", true), expect(0, 2));
    assert_eq!(service("LoadBalancer", true), expect(1, 2));
    assert_eq!(service("LoadBalancer", false), expect(1, 1));
    let claim = json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1.5"}}}});
    assert_eq!(
        texts(&of("", "persistentvolumeclaims"), claim),
        [
            "count/persistentvolumeclaims=1",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims=1",
            "gold.storageclass.storage.k8s.io/requests.storage=2",
            "persistentvolumeclaims=1",
            "requests.storage=2",
        ]
    );
    assert_eq!(texts(&of("", "secrets"), json!({})), ["count/secrets=1", "secrets=1"]);
    assert_eq!(texts(&of("apps", "deployments"), json!({})), ["count/deployments.apps=1"]);
    assert!(Evaluator::of(&GroupResource::new("events.k8s.io", "events")).is_none());
}

#[test]
fn devices_are_charged_by_class_with_the_largest_alternative() {
    let claim = json!({"spec": {"devices": {"requests": [
        {"exactly": {"deviceClassName": "gpu", "count": 2}},
        {"firstAvailable": [{"deviceClassName": "gpu", "count": 1}, {"deviceClassName": "nic", "allocationMode": "All"}]},
    ]}}});
    assert_eq!(
        texts(&of("resource.k8s.io", "resourceclaims"), claim),
        [
            "count/resourceclaims.resource.k8s.io=1",
            "gpu.deviceclass.resource.k8s.io/devices=3",
            "nic.deviceclass.resource.k8s.io/devices=32",
        ]
    );
}

#[test]
fn scopes_pick_pods() {
    let pods = of("", "pods");
    let quota = |spec: Value| object(json!({"spec": spec, "status": {"hard": {"pods": "1"}}}));
    let selected = |operator: &str, values: Value| {
        quota(json!({"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": operator, "values": values}]}}))
    };
    let plain = object(json!({"spec": {"containers": [{"name": "c"}]}}));
    let high = object(json!({"spec": {"priorityClassName": "high", "activeDeadlineSeconds": 5,
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}));
    let cases = [
        (quota(json!({})), true, true),
        (quota(json!({"scopes": ["Terminating"]})), false, true),
        (quota(json!({"scopes": ["NotTerminating"]})), true, false),
        (quota(json!({"scopes": ["BestEffort"]})), true, false),
        (quota(json!({"scopes": ["NotBestEffort", "Terminating"]})), false, true),
        (quota(json!({"scopes": ["CrossNamespacePodAffinity"]})), false, false),
        (selected("Exists", json!([])), false, true),
        (selected("DoesNotExist", json!([])), true, false),
        (selected("In", json!(["high"])), false, true),
        (selected("In", json!(["low"])), false, false),
        (selected("NotIn", json!(["high"])), true, false),
    ];
    for (quota, of_plain, of_high) in cases {
        assert_eq!(pods.matches(&quota, &plain), of_plain, "{quota:?}");
        assert_eq!(pods.matches(&quota, &high), of_high, "{quota:?}");
    }
}
