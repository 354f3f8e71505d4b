//! What the original does, and says, where things are not as usual.

use crate::world::{
    ACCOUNT, BUDGET, CLAIM, CONFIG_MAP, CRON_JOB, DAEMON_SET, DEPLOYMENT, ENDPOINTS, JOB, NODES,
    POD, REVISION, SECRET, SERVICE, SLICE, VOLUME, World, condition, items, number, says, template,
    text,
};
use kubeplane_controllers::Settings;
use serde_json::{Value, json};
use std::time::Duration;

const ROLLBACK: &str = "deprecated.deployment.rollback.rollback-to";

fn image(deployment: &Value) -> &str {
    text(deployment, "/spec/template/spec/containers/0/image")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_goes_back_to_the_revision_that_an_annotation_names() {
    let world = World::selected("deployment-controller").await;
    let labels = json!({"matchLabels": {"app": "web"}});
    let spec = json!({"replicas": 0, "selector": labels, "template": template("web")});
    world.make_spec(DEPLOYMENT, "web", spec).await;
    let of_revision = async |revision: &str, image_of: &str| {
        let what = format!("revision {revision} is {image_of}");
        let wish = |web: &Value| {
            let pointer = "/metadata/annotations/deployment.kubernetes.io~1revision";
            let asked = format!("/metadata/annotations/{ROLLBACK}");
            text(web, pointer) == revision && image(web) == image_of && text(web, &asked).is_empty()
        };
        world.until(DEPLOYMENT, "web", &what, wish).await
    };
    let back_to = async |revision: &str| {
        let asked = json!({"metadata": {"annotations": {ROLLBACK: revision}}});
        world.merge(DEPLOYMENT, "web", asked).await;
    };
    of_revision("1", "one").await;
    let containers = json!([{"name": "c", "image": "two"}]);
    let change = json!({"metadata": {"annotations": {"kubernetes.io/change-cause": "two"}},
        "spec": {"template": {"spec": {"containers": containers}}}});
    world.merge(DEPLOYMENT, "web", change).await;
    of_revision("2", "two").await;

    back_to("1").await;
    let web = of_revision("3", "one").await;
    assert_eq!(text(&web, "/metadata/annotations/kubernetes.io~1change-cause"), "");
    let said = world.told("web", "DeploymentRollback").await;
    assert_eq!(said, "Rolled back deployment \"web\" to revision 1");
    // Zero stands for the last one.
    back_to("0").await;
    let web = of_revision("4", "two").await;
    assert_eq!(text(&web, "/metadata/annotations/kubernetes.io~1change-cause"), "two");

    back_to("9").await;
    let said = world.told("web", "DeploymentRollbackRevisionNotFound").await;
    assert_eq!(said, "Unable to find the revision to rollback to.");
    of_revision("4", "two").await;
    back_to("4").await;
    let said = world.told("web", "DeploymentRollbackTemplateUnchanged").await;
    let same = "The rollback revision contains the same template as current deployment \"web\"";
    assert_eq!(said, same);
    of_revision("4", "two").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_without_any_time_is_told_of() {
    let world = World::selected("cronjob-controller").await;
    let containers = json!([{"name": "c", "image": "one"}]);
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": containers}});
    let spec = json!({"schedule": "59 23 31 2 *", "jobTemplate": {"spec": {"template": pod}}});
    world.make_spec(CRON_JOB, "never", spec).await;
    let said = world.told("never", "InvalidSchedule").await;
    assert_eq!(
        said,
        "invalid schedule: 59 23 31 2 * : time difference between two schedules is less than 1 second"
    );
}

/// A pod that is ready, bound to this node.
async fn ready_pod(world: &World, name: &str, node: &str) {
    let mut pod = template("web");
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["nodeName"] = json!(node);
    world.make(POD, pod).await;
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": world.now()}]);
    let ip = "10.244.0.1";
    let status =
        json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": ready});
    world.merge_status(POD, name, status).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_tells_of_pods_whose_node_is_not_there() {
    let world = World::selected("endpointslice-controller").await;
    let spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    world.make_spec(SERVICE, "web", spec).await;
    ready_pod(&world, "one", "late").await;
    let said = world.told("web", "FailedToUpdateEndpointSlices").await;
    assert_eq!(
        said,
        "Error updating Endpoint Slices for Service default/web: \
         skipping Pod one for Service default/web: Node late Not Found"
    );
    world.make(NODES, json!({"metadata": {"name": "late"}})).await;
    let what = "the pod is an endpoint once its node is there";
    world
        .until_all(SLICE, what, |all| {
            all.iter().map(|slice| items(slice, "/endpoints").len()).sum::<usize>() == 1
        })
        .await;
    let lines = ["endpoints_desired 1", "changes{operation=\"update\"} 1"];
    counted(&world, &lines.map(|line| format!("endpoint_slice_controller_{line}"))).await;
}

/// Waits for lines of metrics.
async fn counted(world: &World, lines: &[String]) {
    let check = async || {
        let told = world.cluster.metrics.encode_plain();
        let all = lines.iter().all(|line| told.lines().any(|own| own == line));
        if all { Ok(()) } else { Err(told) }
    };
    world.eventually("it is counted", check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_very_many_addresses_a_thousand_are_mirrored() {
    let world = World::selected("endpointslice-mirroring-controller").await;
    let ports = json!([{"port": 80}]);
    world.make_spec(SERVICE, "db", json!({"clusterIP": "None", "ports": ports})).await;
    let address = |index: i32| json!({"ip": format!("10.1.{}.{}", index / 250, index % 250 + 1)});
    let addresses: Vec<_> = (0..1001).map(address).collect();
    let subsets = json!([{"addresses": addresses, "ports": ports}]);
    world.make(ENDPOINTS, json!({"metadata": {"name": "db"}, "subsets": subsets})).await;
    let said = world.told("db", "TooManyAddressesToMirror").await;
    assert_eq!(
        said,
        "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. \
         1 addresses were skipped"
    );
    world
        .until_all(SLICE, "the others are mirrored", |all| {
            all.iter().map(|slice| items(slice, "/endpoints").len()).sum::<usize>() == 1000
        })
        .await;
    let line = "endpoint_slice_mirroring_controller_endpoints_desired 1000";
    counted(&world, &[line.to_owned()]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_subset_as_many_addresses_are_mirrored_as_is_said() {
    let mut world = World::selected("endpointslice-mirroring-controller").await;
    let mut settings = Settings::default();
    settings.mirroring_max_endpoints_per_subset = 2;
    world.cluster.set(settings).await;
    let ports = json!([{"port": 80}]);
    world.make_spec(SERVICE, "db", json!({"clusterIP": "None", "ports": ports})).await;
    let addresses = json!([{"ip": "10.1.0.1"}, {"ip": "10.1.0.2"}, {"ip": "10.1.0.3"}]);
    let subsets = json!([{"addresses": addresses, "ports": ports}]);
    world.make(ENDPOINTS, json!({"metadata": {"name": "db"}, "subsets": subsets})).await;
    let said = world.told("db", "TooManyAddressesToMirror").await;
    assert_eq!(
        said,
        "A max of 2 addresses can be mirrored to EndpointSlices per Endpoints subset. \
         1 addresses were skipped"
    );
    world
        .until_all(SLICE, "the others are mirrored", |all| {
            all.iter().map(|slice| items(slice, "/endpoints").len()).sum::<usize>() == 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_and_claims_are_counted_when_somebody_asks() {
    let world = World::selected("persistentvolume-binder-controller").await;
    let size = json!({"storage": "1Gi"});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "slow",
        "resources": {"requests": size}});
    world.make_spec(CLAIM, "one", spec).await;
    let spec = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
        "capacity": size, "hostPath": {"path": "/tmp/one"}});
    world.make_spec(VOLUME, "one", spec).await;
    let lines = [
        "total_pv_count{plugin_name=\"kubernetes.io/host-path\",volume_mode=\"Filesystem\"} 1",
        "unbound_pv_count{storage_class=\"fast\"} 1",
        "unbound_pvc_count{namespace=\"default\",storage_class=\"slow\",volume_attributes_class=\"\"} 1",
    ];
    counted(&world, &lines.map(|line| format!("pv_collector_{line}"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_says_which_selector_found_pods_without_a_controller() {
    let world = World::selected("disruption-controller").await;
    let mut pod = template("web");
    pod["metadata"]["name"] = json!("alone");
    world.make(POD, pod).await;
    let spec = json!({"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}});
    world.make_spec(BUDGET, "web", spec).await;
    let said = world.told("web", "UnmanagedPods").await;
    let selector = "(selector: &LabelSelector{MatchLabels:map[string]string{app: web,},\
                    MatchExpressions:[]LabelSelectorRequirement{},})";
    assert!(said.contains(selector), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_finished_about_a_node_is_finished_by_whoever_comes_next() {
    let world = World::selected("node-lifecycle-controller").await;
    world.cluster.stop_controllers().await;
    let labels = json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/arch": "386"});
    world.make(NODES, json!({"metadata": {"name": "lost", "labels": labels}})).await;
    let unready = json!([{"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
        "lastHeartbeatTime": world.now()}]);
    world.merge_status(NODES, "lost", json!({"conditions": unready})).await;
    ready_pod(&world, "one", "lost").await;
    world.cluster.start_controllers().await;

    let marked = |pod: &Value| condition(pod, "Ready").is_some_and(|own| own["status"] == "False");
    world.until(POD, "one", "it is not taken to be ready any more", marked).await;
    assert_eq!(world.told("one", "NodeNotReady").await, "Node is not ready");
    let old = |node: &Value, name: &str| {
        text(node, &format!("/metadata/labels/beta.kubernetes.io~1{name}")).to_owned()
    };
    world
        .until(NODES, "lost", "its labels have their old names, too", |node| {
            old(node, "os") == "linux" && old(node, "arch") == "amd64"
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_keeps_so_many_revisions_those_in_use_included() {
    let world = World::selected("daemonset-controller").await;
    world.make(NODES, json!({"metadata": {"name": "node"}})).await;
    let spec = json!({"selector": {"matchLabels": {"app": "d"}}, "template": template("d"),
        "updateStrategy": {"type": "OnDelete"}, "revisionHistoryLimit": 1});
    world.make_spec(DAEMON_SET, "d", spec).await;
    world.pods(1).await;
    let numbers = |all: &[Value]| {
        let mut numbers: Vec<_> = all.iter().map(|own| number(own, "/revision")).collect();
        numbers.sort_unstable();
        numbers
    };
    for (image, left) in [("two", [1, 2]), ("three", [1, 3])] {
        let containers = json!([{"name": "c", "image": image}]);
        let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        world.merge(DAEMON_SET, "d", change).await;
        let what = format!("{left:?} are left, of which the first is in use");
        world.until_all(REVISION, &what, |all| numbers(all) == left).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_counted_under_the_names_that_dashboards_know() {
    let world = World::selected("job-controller").await;
    let mut pod = template("j");
    pod["spec"]["restartPolicy"] = json!("Never");
    world.make_spec(JOB, "j", json!({"template": pod, "completions": 1})).await;
    let pods = world.pods(1).await;
    let name = text(&pods[0], "/metadata/name");
    world.merge_status(POD, name, json!({"phase": "Succeeded"})).await;
    let complete = |job: &Value| says(job, "Complete", "True", "CompletionsReached");
    world.until(JOB, "j", "it is complete", complete).await;
    let lines = [
        "jobs_finished_total{completion_mode=\"NonIndexed\",result=\"succeeded\",reason=\"CompletionsReached\"} 1",
        "job_pods_finished_total{completion_mode=\"NonIndexed\",result=\"succeeded\"} 1",
        "job_pods_creation_total{reason=\"new\",status=\"succeeded\"} 1",
        "terminated_pods_tracking_finalizer_total{event=\"add\"} 1",
        "terminated_pods_tracking_finalizer_total{event=\"delete\"} 1",
    ];
    counted(&world, &lines.map(|line| format!("job_controller_{line}"))).await;
    let told = world.cluster.metrics.encode_plain();
    let syncs = "job_controller_job_sync_duration_seconds_count{completion_mode=\"NonIndexed\"";
    assert!(told.contains(syncs), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_pods_that_have_ended_as_many_are_kept_as_is_said() {
    let mut world = World::selected("pod-garbage-collector-controller").await;
    for name in ["a", "b", "c"] {
        let mut pod = template("done");
        pod["metadata"]["name"] = json!(name);
        world.make(POD, pod).await;
        world.merge_status(POD, name, json!({"phase": "Succeeded"})).await;
    }
    let mut settings = Settings::default();
    settings.terminated_pod_gc_threshold = 1;
    world.cluster.set(settings).await;
    world.gone(POD, "a").await;
    world.gone(POD, "b").await;
    assert!(world.find(POD, "c").await.is_some(), "the latest by time and name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_nobody_uses_are_kept_as_long_as_is_said() {
    let mut world = World::start().await;
    let mut settings = Settings::default();
    settings.legacy_service_account_token_clean_up_period = Duration::from_secs(48 * 3600);
    world.cluster.set(settings).await;
    let since = world.now()[..10].to_owned();
    let tracking = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking"}, "data": {"since": since}});
    let maps = world.api_in(CONFIG_MAP, "kube-system");
    maps.create(&Default::default(), &serde_json::from_value(tracking).unwrap()).await.unwrap();
    let listed = json!([{"name": "auto"}]);
    world.make(ACCOUNT, json!({"metadata": {"name": "robot"}, "secrets": listed})).await;
    let token = json!({"metadata": {"name": "auto",
            "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token"});
    world.make(SECRET, token).await;
    let made = |secret: &Value| secret.pointer("/data/token").is_some();
    world.until(SECRET, "auto", "its token is made", made).await;
    // Far less than the year that is usual.
    world.pass(10 * 24 * 3600);
    let check = async || {
        world.pass(3600);
        match world.find(SECRET, "auto").await {
            None => Ok(()),
            Some(secret) => Err(format!("{secret:#}")),
        }
    };
    world.eventually("it goes", check).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_parts_of_nodes_are_as_large_as_is_said() {
    let mut world = World::start().await;
    let mut settings = Settings::default();
    settings.node_cidr_mask_size_ipv4 = 26;
    settings.node_cidr_mask_size_ipv6 = 72;
    world.cluster.set(settings).await;
    world.cluster.give_ranges(&["10.8.0.0/23", "fd00::/63"]).await;
    for (node, ranges) in
        [("a", ["10.8.0.0/26", "fd00::/72"]), ("b", ["10.8.0.64/26", "fd00::100:0:0:0/72"])]
    {
        world.make(NODES, json!({"metadata": {"name": node}})).await;
        let wish = |own: &Value| own["spec"]["podCIDRs"] == json!(ranges);
        world.until(NODES, node, "it has its parts", wish).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_says_whether_a_pod_names_it_where_that_is_switched_on() {
    let world = World::gated("PersistentVolumeClaimUnusedSinceTime=true").await;
    let storage = json!({"requests": {"storage": "1Gi"}});
    let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": storage});
    world.make_spec(CLAIM, "data", spec).await;
    let says_so = async |status: &str, reason: &str| {
        let wish = |claim: &Value| says(claim, "Unused", status, reason);
        let claim = world.until(CLAIM, "data", reason, wish).await;
        text(condition(&claim, "Unused").unwrap(), "/message").to_owned()
    };
    let said = says_so("True", "NoPodsUsingPVC").await;
    assert_eq!(said, "No pods are currently referencing this PVC");
    let mut pod = template("user");
    pod["metadata"]["name"] = json!("user");
    let source = json!({"claimName": "data"});
    pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": source}]);
    world.make(POD, pod).await;
    let said = says_so("False", "PodUsingPVC").await;
    assert_eq!(said, "A pod is currently referencing this PVC");
    world.merge_status(POD, "user", json!({"phase": "Succeeded"})).await;
    says_so("True", "NoPodsUsingPVC").await;
}
