//! LimitRanges: what containers get, and what is refused.

use crate::harness::Server;
use kubeplane_handlers::admission::LimitRanger;
use serde_json::{Value, json};

const RANGES: &str = "/api/v1/namespaces/default/limitranges";
const PODS: &str = "/api/v1/namespaces/default/pods";

async fn server(limits: Value) -> Server {
    let server = Server::with(|builder| builder.admit(LimitRanger)).await;
    let range = json!({"metadata": {"name": "limits"}, "spec": {"limits": limits}});
    server.admin("POST", RANGES, &range).await.expect(201);
    // A list shows every write before it, and so does the cache then.
    server.admin("GET", RANGES, &Value::Null).await.expect(200);
    server
}

fn pod(resources: Value) -> Value {
    json!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "i", "resources": resources}],
        "initContainers": [{"name": "first", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}}],
    }})
}

#[tokio::test]
async fn containers_get_defaults_and_pods_say_so() {
    let server = server(json!([{"type": "Container",
        "default": {"cpu": "500m", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}]))
    .await;
    let made = server.admin("POST", PODS, &pod(json!({"requests": {"memory": "5Mi"}}))).await;
    let made = made.expect(201);
    assert_eq!(
        made["spec"]["containers"][0]["resources"],
        json!({"requests": {"cpu": "100m", "memory": "5Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}})
    );
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu request for container c; cpu, memory limit for container c"
    );
}

#[tokio::test]
async fn bounds_are_held_for_containers_pods_and_claims() {
    let server = server(json!([
        {"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "4"}},
        {"type": "Pod", "max": {"memory": "2Gi"}},
        {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "5Gi"}},
    ]))
    .await;
    let of = |cpu: [&str; 2], memory: &str| json!({"requests": {"cpu": cpu[0], "memory": memory}, "limits": {"cpu": cpu[1], "memory": memory}});
    for (resources, why) in [
        (of(["10m", "40m"], "1Gi"), "minimum cpu usage per Container is 50m, but request is 10m"),
        (of(["1", "3"], "1Gi"), "maximum cpu usage per Container is 2, but limit is 3"),
        (
            of(["100m", "2"], "1Gi"),
            "cpu max limit to request ratio per Container is 4, but provided ratio is 20.000000",
        ),
        (of(["1", "1"], "3Gi"), "maximum memory usage per Pod is 2Gi, but limit is 3Gi"),
    ] {
        let refused = server.admin("POST", PODS, &pod(resources)).await;
        refused.forbidden(why);
        refused.forbidden("pods \"p\" is forbidden: ");
    }
    let several = server.admin("POST", PODS, &pod(of(["3", "3"], "3Gi"))).await;
    several.forbidden("[maximum cpu usage per Container is 2, but limit is 3, maximum memory usage per Pod is 2Gi, but limit is 3Gi]");
    server.admin("POST", PODS, &pod(of(["1", "2"], "1Gi"))).await.expect(201);
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let claim = |size: &str| {
        json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}}}})
    };
    let small = server.admin("POST", claims, &claim("1Mi")).await;
    small.forbidden("minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi");
    let large = server.admin("POST", claims, &claim("6Gi")).await;
    large.forbidden("maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi");
    server.admin("POST", claims, &claim("5Gi")).await.expect(201);
}

/// After cases of the original's own tests of its limits.
#[tokio::test]
async fn pods_are_counted_at_their_peak_and_must_say_what_is_bounded() {
    let same = |amounts: Value| json!({"requests": amounts, "limits": amounts});
    let container = |name: &str, own: Value| json!({"name": name, "image": "i", "resources": own});
    let plain = |own: Value| json!({"containers": [container("c", own)]});
    let memory = |amount: &str| same(json!({"memory": amount}));
    let after = |first: &str| {
        let mut spec = plain(memory("1Gi"));
        spec["initContainers"] = json!([container("first", memory(first))]);
        spec
    };
    let mut beside = after("1536Mi");
    beside["initContainers"][0]["restartPolicy"] = "Always".into();
    let mut whole = plain(memory("1Gi"));
    whole["resources"] = memory("3Gi");
    let mut two = plain(same(json!({"cpu": "3"})));
    let another = container("d", same(json!({"cpu": "3"})));
    two["containers"].as_array_mut().unwrap().push(another);
    let only_asked = json!({"requests": {"cpu": "1"}});
    let ratio = json!({"type": "Pod", "maxLimitRequestRatio": {"cpu": "4"}});
    let most = json!({"type": "Pod", "max": {"memory": "2Gi"}});
    for (limit, spec, why) in [
        (
            json!({"type": "Pod", "min": {"cpu": "50m"}}),
            plain(json!({})),
            "minimum cpu usage per Pod is 50m.  No request is specified",
        ),
        (
            most.clone(),
            plain(only_asked.clone()),
            "maximum memory usage per Pod is 2Gi.  No limit is specified",
        ),
        (
            ratio.clone(),
            plain(json!({})),
            "cpu max limit to request ratio per Pod is 4, but no request is specified or request is 0",
        ),
        (
            ratio,
            plain(only_asked),
            "cpu max limit to request ratio per Pod is 4, but no limit is specified or limit is 0",
        ),
        (most.clone(), after("3Gi"), "maximum memory usage per Pod is 2Gi, but limit is 3Gi"),
        (most.clone(), beside, "maximum memory usage per Pod is 2Gi, but limit is 2560Mi"),
        (most.clone(), whole, "maximum memory usage per Pod is 2Gi, but limit is 3Gi"),
        (
            json!({"type": "Container", "max": {"cpu": "2"}}),
            two,
            "maximum cpu usage per Container is 2, but limit is 3",
        ),
    ] {
        let server = server(json!([limit])).await;
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        let refused = server.admin("POST", PODS, &pod).await.expect(403);
        assert_eq!(refused["message"], format!("pods \"p\" is forbidden: {why}"));
    }
    // Init containers that end run before the others, not beside them.
    let server = server(json!([most])).await;
    let pod = json!({"metadata": {"name": "p"}, "spec": after("2Gi")});
    server.admin("POST", PODS, &pod).await.expect(201);
}
