//! Time that stands still, and runs that are the same again.

use super::*;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    ByteString,
    api::{
        authentication::v1::{TokenRequest, TokenReview},
        batch::v1::{CronJob, Job},
        certificates::v1::CertificateSigningRequest,
        core::v1::ServiceAccount,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};

pub(super) fn cron_job() -> CronJob {
    serde_json::from_value(json!({
        "metadata": {"name": "tick"},
        "spec": {
            "schedule": "0 * * * *",
            "jobTemplate": {"spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "tick", "image": "tick"}],
            }}}},
        },
    }))
    .unwrap()
}

/// How often a run is repeated to see whether it is the same: each time all hash maps have another order.
const REPEATED: usize = 2;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_day_of_a_cron_job_passes_at_once() {
    let builder = TestCluster::builder().controllers_named("cronjob-controller").paused();
    run(builder, async |cluster| {
        let crons: Api<CronJob> = Api::default_namespaced(cluster.client());
        crons.create(&PostParams::default(), &cron_job()).await.unwrap();
        cluster.advance(24 * HOUR + HOUR / 2).await;
        let cron = crons.get("tick").await.unwrap().status.unwrap();
        assert_eq!(cron.last_schedule_time.unwrap().0.to_string(), "2026-01-02T00:00:00Z");
        let jobs: Api<Job> = Api::default_namespaced(cluster.client());
        assert_eq!(jobs.list(&ListParams::default()).await.unwrap().items.len(), 24);
        let runs = |write: &Write| write.kind == WriteKind::Create && write.key.contains("/jobs/");
        assert_eq!(cluster.history().writes().iter().filter(|write| runs(write)).count(), 24);
    });
}

/// Whether the API server knows whose token this is.
async fn is_known(cluster: &TestCluster, token: &str) -> bool {
    let reviews: Api<TokenReview> = Api::all(cluster.client());
    let review = serde_json::from_value(json!({"spec": {"token": token}})).unwrap();
    let review = reviews.create(&PostParams::default(), &review).await.unwrap();
    review.status.unwrap().authenticated == Some(true)
}

#[test]
fn tokens_and_certificates_go_by_the_time_of_the_cluster() {
    // Nothing that is made by the machine's clock is good then.
    let start: Timestamp = "2039-06-07T08:09:10Z".parse().unwrap();
    let builder = TestCluster::builder().controllers_named("serviceaccount-controller");
    run(builder.paused_at(start), async |cluster| {
        let authority = cluster.directory().join("pki").join("ca.crt");
        assert_good(&std::fs::read_to_string(authority).unwrap(), start);

        let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client());
        let wish = json!({"spec": {"audiences": [], "expirationSeconds": 600}});
        let wish: TokenRequest = serde_json::from_value(wish).unwrap();
        let given = accounts.create_token_request("default", &PostParams::default(), &wish).await;
        let given = given.unwrap().status.unwrap();
        let (token, until) = (given.token.unwrap(), given.expiration_timestamp.unwrap().0);
        assert_eq!(until.duration_since(cluster.clock().now()), SignedDuration::from_mins(10));
        assert!(is_known(&cluster, &token).await);
        cluster.advance(Duration::from_secs(599)).await;
        assert!(is_known(&cluster, &token).await, "its time is not over");
        cluster.advance(Duration::from_secs(60)).await;
        assert!(!is_known(&cluster, &token).await, "its time is over");
    });
}

/// A deployment that grows, is scheduled, and is there in the end, whatever goes wrong meanwhile.
async fn grow(cluster: TestCluster) {
    let plan = FaultPlan::seeded(cluster.seed());
    let plan = plan.conflicts(0.05).timeouts(0.02).dropped_watches(0.3).failing_store(0.01);
    cluster.faults().set(plan);
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &web()).await.unwrap();
    cluster.advance(Duration::from_secs(60)).await;
    let more = kube::api::Patch::Merge(json!({"spec": {"replicas": 9}}));
    deployments.patch("web", &Default::default(), &more).await.unwrap();
    cluster.advance(Duration::from_secs(120)).await;
    cluster.restart_api_server().await;
    cluster.advance(Duration::from_secs(120)).await;
    let struck = cluster.faults().struck();
    assert!(!struck.is_empty());
    let ready = deployments.get("web").await.unwrap().status.unwrap().ready_replicas;
    assert_eq!(ready, Some(9), "faults delay, no more:\n{}", struck.join("\n"));
}

pub(super) fn stages() -> kubeplane_simulated::Simulation {
    let stages = "
kind: Nodes
metadata: {name: sim}
spec: {count: 5}
---
kind: PodStages
spec: {startDelay: 200ms, startJitter: 2s, readyDelay: 300ms}
";
    stages.parse().unwrap()
}

#[test]
fn components_get_over_what_goes_wrong() {
    let builder = TestCluster::builder().controllers().scheduler().paused().seed(5);
    run(builder.simulation(stages()), grow);
}

/// What a user does, with names, uids, times and faults.
async fn story(cluster: TestCluster) {
    let plan = FaultPlan::seeded(cluster.seed()).conflicts(0.2).timeouts(0.2).failing_store(0.1);
    cluster.faults().set(plan.only("jane"));
    let jane = UserInfo::new("jane", ["system:masters", GROUP_AUTHENTICATED]);
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client_as(jane));
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"generateName": "m-"}})).unwrap();
    let change = kube::api::Patch::Merge(json!({"data": {"now": "other"}}));
    for _ in 0..20 {
        let made = maps.create(&PostParams::default(), &map).await;
        cluster.advance(Duration::from_secs(90)).await;
        let Ok(made) = made else { continue };
        let name = made.metadata.name.unwrap();
        let _ = maps.patch(&name, &Default::default(), &change).await;
        if cluster.revision().is_multiple_of(3) {
            let _ = maps.delete(&name, &Default::default()).await;
        }
    }
    cluster.restart_api_server().await;
    assert!(!cluster.faults().struck().is_empty());
}

fn recorded(seed: u64) -> History {
    record(TestCluster::builder().seed(seed), story)
}

/// Fails where two histories part.
pub(super) fn assert_same(one: &History, two: &History) {
    if one.to_bytes() != two.to_bytes() {
        let (one, two) = (one.writes(), two.writes());
        let differs =
            one.iter().zip(&two).position(|(a, b)| a != b).unwrap_or(one.len().min(two.len()));
        let around = |writes: &[Write]| {
            let lines: Vec<_> = writes
                .iter()
                .skip(differs.saturating_sub(8))
                .take(16)
                .map(|write| format!("{write} {}", String::from_utf8_lossy(&write.value)))
                .collect();
            lines.join("\n")
        };
        panic!(
            "{} and {} writes, other from {differs} on:\n{}\n---\n{}",
            one.len(),
            two.len(),
            around(&one),
            around(&two)
        );
    }
}

#[test]
fn one_seed_writes_the_same_bytes_twice() {
    let one = recorded(5);
    assert_same(&one, &recorded(5));
    assert!(one.writes().iter().filter(|write| write.by == "jane").count() > 10, "{one}");
    assert_ne!(one.to_bytes(), recorded(6).to_bytes(), "another seed is another run");
}

/// Everything that runs in one process: the controllers, the scheduler and nodes, while things go wrong.
fn recorded_with_components(seed: u64) -> History {
    let builder = TestCluster::builder().controllers().scheduler().seed(seed);
    record(builder.simulation(stages()), grow)
}

#[test]
fn one_seed_writes_the_same_bytes_twice_with_all_components() {
    let one = recorded_with_components(5);
    (0..REPEATED).for_each(|_| assert_same(&one, &recorded_with_components(5)));
    for writer in [
        "system:kube-scheduler",
        "system:simulated-nodes:sim-1",
        "system:serviceaccount:kube-system:deployment-controller",
        "system:serviceaccount:kube-system:replicaset-controller",
    ] {
        assert!(one.writes().iter().any(|write| write.by == writer), "{writer}: {one}");
    }
    assert_ne!(one.to_bytes(), recorded_with_components(6).to_bytes(), "another seed, another run");
}

/// Histories that go, servers that start anew, and clocks that are off, while a deployment comes up and grows.
async fn shaken(cluster: TestCluster) {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &web()).await.unwrap();
    let plan = FaultPlan::seeded(cluster.seed()).compactions(0.2).skews(Duration::from_secs(2));
    // Each part lists dozens of kinds anew after a restart: more often than this, one would follow the other.
    cluster.faults().set(plan.restarts(0.008));
    let jane = UserInfo::new("system:test:jane", ["system:masters", GROUP_AUTHENTICATED]);
    let asked: Api<Deployment> = Api::default_namespaced(cluster.client_as(jane));
    let more = kube::api::Patch::Merge(json!({"spec": {"replicas": 9}}));
    for round in 0..240 {
        // There may be no server at the moment.
        let _ = asked.get("web").await;
        cluster.advance(Duration::from_millis(500)).await;
        if round % 40 == 39 {
            let _ = deployments.patch("web", &Default::default(), &more).await;
        }
    }
    let struck = cluster.faults().struck();
    for fault in ["Compaction", "Restart", "Skew"] {
        assert!(struck.iter().any(|line| line.contains(fault)), "{fault}: {struck:#?}");
    }
    cluster.faults().clear();
    cluster.advance(Duration::from_secs(300)).await;
    let ready = deployments.get("web").await.unwrap().status.unwrap().ready_replicas;
    assert_eq!(ready, Some(9), "faults delay, no more:\n{}", struck.join("\n"));
}

#[test]
fn planned_compactions_restarts_and_skews_are_the_same_again() {
    // By this seed she meets two restarts in her first hundred requests.
    let recorded = |seed| {
        let builder = TestCluster::builder().controllers().scheduler().seed(seed);
        record(builder.simulation(stages()), shaken)
    };
    let one = recorded(13);
    assert_same(&one, &recorded(13));
    assert!(one.writes().iter().any(|write| write.by == "system:kube-scheduler"), "{one}");
}

/// A kind of a test's own.
fn widgets() -> CustomResourceDefinition {
    serde_json::from_value(json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "size": {"type": "integer", "default": 3}}}},
            }}}],
        },
    }))
    .unwrap()
}

fn widgets_in(cluster: &TestCluster, namespace: &str) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("example.com", "v1", "Widget");
    let kind = ApiResource::from_gvk_with_plural(&kind, "widgets");
    Api::namespaced_with(cluster.client(), namespace, &kind)
}

/// A certificate is asked for and given.
async fn ask_for_certificate(cluster: &TestCluster, request: &str) {
    let requests: Api<CertificateSigningRequest> = Api::all(cluster.client());
    let asked = json!({"metadata": {"name": "jane"}, "spec": {
        "request": ByteString(request.as_bytes().to_vec()), "usages": ["client auth"],
        "signerName": "kubernetes.io/kube-apiserver-client",
    }});
    let asked = serde_json::from_value(asked).unwrap();
    requests.create(&PostParams::default(), &asked).await.unwrap();
    let approved = json!({"status": {"conditions": [
        {"type": "Approved", "status": "True", "reason": "Test", "message": "of course"}]}});
    let approved = kube::api::Patch::Merge(approved);
    requests.patch_subresource("approval", "jane", &Default::default(), &approved).await.unwrap();
    cluster.advance(Duration::from_secs(5)).await;
    let given = requests.get("jane").await.unwrap().status.unwrap().certificate;
    let given = String::from_utf8(given.expect("signed by the controller").0).unwrap();
    assert_good(&given, cluster.clock().now());
}

/// Fails when a certificate is not good at this time.
fn assert_good(certificate: &str, now: Timestamp) {
    let own = kubeplane_pki::inspect(certificate).unwrap();
    let (from, until) = (own.not_before, own.not_after);
    assert!(from <= now && now < until, "good from {from} to {until}, not at {now}");
}

/// A job, a kind of its own, a certificate, and a namespace that goes with all that is in it.
async fn errands(cluster: TestCluster, request: &str) {
    cluster.advance(Duration::from_secs(5)).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client());
    let team = serde_json::from_value(json!({"metadata": {"name": "team"}})).unwrap();
    namespaces.create(&PostParams::default(), &team).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "team");
    let made = widgets_in(&cluster, "team");
    for number in 0..5 {
        maps.create(&PostParams::default(), &config_map(&format!("map-{number}"))).await.unwrap();
        let widget = json!({"apiVersion": "example.com/v1", "kind": "Widget",
            "metadata": {"generateName": "w-"}, "spec": {}});
        let widget: DynamicObject = serde_json::from_value(widget).unwrap();
        let widget = made.create(&PostParams::default(), &widget).await.unwrap();
        assert_eq!(widget.data["spec"]["size"], 3);
    }
    let jobs: Api<Job> = Api::namespaced(cluster.client(), "team");
    let job = json!({"metadata": {"name": "work"}, "spec": {
        "completions": 4, "parallelism": 2,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}},
    }});
    cluster.advance(Duration::from_secs(5)).await;
    jobs.create(&PostParams::default(), &serde_json::from_value(job).unwrap()).await.unwrap();
    cluster.advance(Duration::from_secs(120)).await;
    let status = jobs.get("work").await.unwrap().status.unwrap();
    assert_eq!(status.succeeded, Some(4), "{status:?}");
    ask_for_certificate(&cluster, request).await;
    namespaces.delete("team", &Default::default()).await.unwrap();
    cluster.advance(Duration::from_secs(120)).await;
    assert!(namespaces.get_opt("team").await.unwrap().is_none(), "gone with all that was in it");
}

#[test]
fn jobs_custom_kinds_certificates_and_namespaces_are_the_same_again() {
    use kubeplane_pki::{Request, SigningRequest, Usage, generate_key};
    // Who asks for a certificate has a key of his own.
    let asked =
        SigningRequest::create(&Request::new("jane", Usage::Client), &generate_key().unwrap());
    let asked = asked.unwrap();
    let recorded = |seed| {
        let builder = TestCluster::builder().controllers().scheduler().crd(widgets()).seed(seed);
        record(builder.simulation(stages()), async |cluster| errands(cluster, &asked).await)
    };
    let one = recorded(8);
    (0..REPEATED).for_each(|_| assert_same(&one, &recorded(8)));
    for (kind, key) in [
        (WriteKind::Delete, "/registry/namespaces/team"),
        (WriteKind::Delete, "/registry/example.com/widgets/team/"),
        (WriteKind::Delete, "/registry/jobs/team/work"),
        (WriteKind::Update, "/registry/certificatesigningrequests/jane"),
    ] {
        let is_it = |write: &Write| write.kind == kind && write.key.starts_with(key);
        assert!(one.writes().iter().any(is_it), "{kind} {key}: {one}");
    }
}
