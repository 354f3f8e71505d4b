//! What happens to requests that are under way when the way or the server goes.

use super::{
    replay::{assert_same, stages},
    *,
};
use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt, future::BoxFuture};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::{
    api::{AttachParams, AttachedProcess, LogParams},
    runtime::conditions::is_pod_running,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, SimplexStream, WriteHalf},
    task::JoinHandle,
};

const JANE: &str = "system:test:jane";
/// How long the store takes over each call for her.
const SLOW: Duration = Duration::from_secs(3);

fn her_client(cluster: &TestCluster) -> kube::Client {
    cluster.client_as(UserInfo::new(JANE, ["system:masters", GROUP_AUTHENTICATED]))
}

fn jane(cluster: &TestCluster) -> Api<ConfigMap> {
    Api::default_namespaced(her_client(cluster))
}

/// A cluster whose time stands still, and a write of hers that is under way and goes on only with time.
async fn writing(name: &str) -> (TestCluster, JoinHandle<kube::Result<ConfigMap>>) {
    let cluster = TestCluster::builder().paused().start().await.unwrap();
    cluster.faults().set(FaultPlan::seeded(1).slow_store(1.0, SLOW).only(JANE));
    let (maps, map) = (jane(&cluster), config_map(name));
    let writing = tokio::spawn(async move { maps.create(&PostParams::default(), &map).await });
    cluster.settle().await;
    assert!(!writing.is_finished(), "the store takes its time");
    (cluster, writing)
}

async fn error_of<T: std::fmt::Debug>(request: JoinHandle<kube::Result<T>>) -> String {
    let ended = timeout(PATIENCE, request).await.expect("it ends though no time passes");
    ended.unwrap().unwrap_err().to_string()
}

fn writes_of_jane(cluster: &TestCluster) -> Vec<String> {
    let writes = cluster.history().writes();
    writes.into_iter().filter(|write| write.by == JANE).map(|write| write.key).collect()
}

#[tokio::test]
async fn who_is_cut_off_hears_no_answer_to_what_is_under_way() {
    let (cluster, writing) = writing("one").await;
    let before = cluster.clock().elapsed();
    cluster.faults().cut("system:test:*");
    let error = error_of(writing).await;
    assert!(error.contains("cut off"), "{error}");
    assert_eq!(cluster.clock().elapsed(), before, "at once");
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    assert!(maps.get_opt("one").await.unwrap().is_none(), "not written yet");
    // The server does not know that nobody listens.
    cluster.advance(10 * SLOW).await;
    assert!(maps.get_opt("one").await.unwrap().is_some(), "it was begun");
    assert_eq!(writes_of_jane(&cluster), ["/registry/configmaps/default/one"]);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn others_are_answered_when_one_is_cut_off() {
    let (cluster, writing) = writing("one").await;
    cluster.faults().cut("system:test:joe");
    cluster.settle().await;
    assert!(!writing.is_finished(), "it was not she");
    cluster.advance(10 * SLOW).await;
    timeout(PATIENCE, writing).await.unwrap().unwrap().expect("written and told");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_planned_partition_cuts_what_the_same_user_has_under_way() {
    let (cluster, writing) = writing("one").await;
    cluster.faults().set(FaultPlan::seeded(1).partitions(1.0, SLOW).only(JANE));
    jane(&cluster).list(&ListParams::default()).await.unwrap_err();
    let error = error_of(writing).await;
    assert!(error.contains("cut off"), "{error}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_answers_nothing_that_is_under_way_and_ends_what_it_began() {
    let (cluster, writing) = writing("one").await;
    let reading = tokio::spawn({
        let maps = jane(&cluster);
        async move { maps.list(&ListParams::default().at("1").matching(EXACT)).await }
    });
    cluster.settle().await;
    assert!(!reading.is_finished(), "the store takes its time");
    timeout(PATIENCE, cluster.restart_api_server()).await.expect("time goes on for it");
    for error in [error_of(writing).await, error_of(reading).await] {
        assert!(error.contains("the API server went away"), "{error}");
    }
    cluster.faults().clear();
    cluster.advance(10 * SLOW).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    assert!(
        maps.get_opt("one").await.unwrap().is_some(),
        "a server that stops writes what it began"
    );
    assert_eq!(writes_of_jane(&cluster).len(), 1, "and nothing twice");
    cluster.stop().await.unwrap();
}

const EXACT: kube::api::VersionMatch = kube::api::VersionMatch::Exact;

/// A deployment comes up though ways are cut and servers go while requests are under way.
async fn interrupted(cluster: TestCluster) {
    let deployments: Api<Deployment> = Api::default_namespaced(cluster.client());
    deployments.create(&PostParams::default(), &web()).await.unwrap();
    let plan = FaultPlan::seeded(cluster.seed())
        .slow_store(0.3, Duration::from_secs(2))
        .partitions(0.1, Duration::from_secs(7));
    cluster.faults().set(plan);
    for _ in 0..4 {
        cluster.advance(Duration::from_secs(5)).await;
        cluster.faults().cut("system:kube-scheduler");
        cluster.advance(Duration::from_secs(3)).await;
        cluster.faults().heal("system:kube-scheduler");
        cluster.restart_api_server().await;
    }
    let struck = cluster.faults().struck();
    for fault in ["StoreDelay", "Partition"] {
        assert!(struck.iter().any(|line| line.contains(fault)), "{fault}: {struck:?}");
    }
    cluster.faults().clear();
    cluster.advance(Duration::from_secs(300)).await;
    let ready = deployments.get("web").await.unwrap().status.unwrap().ready_replicas;
    assert_eq!(ready, Some(4), "faults delay, no more:\n{}", struck.join("\n"));
}

#[test]
fn interrupted_requests_are_the_same_again() {
    let recorded = || {
        let builder = TestCluster::builder().controllers().scheduler().seed(11);
        record(builder.simulation(stages()), interrupted)
    };
    let one = recorded();
    assert_same(&one, &recorded());
}

/// The only node, and the user that it is.
const NODE: &str = "system:node:node-1";

/// A cluster with a node, on which the pod `web` said hello and runs on.
async fn with_a_pod() -> (TestCluster, Api<Pod>) {
    let builder = TestCluster::builder().controllers().scheduler().nodes(1);
    let cluster = builder.start().await.unwrap();
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{
        "name": "web", "image": "busybox", "command": ["sh", "-c", "echo hello; sleep 3600"]}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let running = await_condition(pods.clone(), "web", is_pod_running());
    timeout(PATIENCE, running).await.expect("the pod runs").unwrap();
    (cluster, pods)
}

/// The log of the pod, which goes on.
async fn following(pods: &Api<Pod>) -> impl AsyncBufRead + Unpin + use<> {
    let follow = LogParams { follow: true, ..LogParams::default() };
    let mut log = Box::pin(pods.log_stream("web", &follow).await.unwrap());
    let mut line = String::new();
    timeout(PATIENCE, log.read_line(&mut line)).await.expect("it says hello").unwrap();
    assert_eq!(line, "hello\n");
    log
}

/// A process in the pod that says what it is told.
struct Talk {
    input: WriteHalf<SimplexStream>,
    output: ReadHalf<SimplexStream>,
    status: BoxFuture<'static, Option<Status>>,
    /// Ends with it.
    _process: AttachedProcess,
}

impl Talk {
    async fn begin(pods: &Api<Pod>) -> Self {
        let streams = AttachParams::default().stdin(true).stdout(true).stderr(false);
        let mut process = pods.exec("web", ["cat"], &streams).await.unwrap();
        let status = Box::pin(process.take_status().unwrap());
        let (input, output) = (process.stdin().unwrap(), process.stdout().unwrap());
        let mut talk = Self { input, output, status, _process: process };
        talk.go_on().await;
        talk
    }

    async fn go_on(&mut self) {
        let mut said = [0; 6];
        let said = async {
            self.input.write_all(b"hello\n").await?;
            self.output.read_exact(&mut said).await?;
            Ok::<_, std::io::Error>(said)
        };
        let said = timeout(PATIENCE, said).await.expect("it comes back").unwrap();
        assert_eq!(&said, b"hello\n");
    }

    async fn ends_cut_off(self) {
        let status = timeout(PATIENCE, self.status).await.expect("it ends");
        assert!(status.is_none(), "not by itself: {status:?}");
    }
}

async fn figures(cluster: &TestCluster) -> kube::Result<String> {
    let path = "/api/v1/nodes/node-1/proxy/stats/summary";
    cluster.client().request_text(http::Request::get(path).body(Vec::new()).unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_through_a_node_ends_when_it_is_cut_off_and_fails_until_it_is_healed() {
    let (cluster, pods) = with_a_pod().await;
    let (log, talk) = (following(&pods).await, Talk::begin(&pods).await);
    figures(&cluster).await.unwrap();

    cluster.faults().cut(NODE);
    talk.ends_cut_off().await;
    let mut lines = log.lines();
    let ended = async { while let Some(Ok(_)) = lines.next().await {} };
    timeout(PATIENCE, ended).await.expect("the log ends");
    let is = |error: &kube::Error, code: u16, why: &str| matches!(error, kube::Error::Api(status) if status.code == code && status.message.contains(why));
    let error = pods.logs("web", &LogParams::default()).await.unwrap_err();
    assert!(is(&error, 500, "error dialing backend: dial tcp"), "{error}");
    let error = figures(&cluster).await.unwrap_err();
    assert!(is(&error, 503, "error trying to reach service: dial tcp"), "{error}");
    assert!(pods.exec("web", ["cat"], &AttachParams::default()).await.is_err());

    cluster.faults().heal(NODE);
    let asking = async {
        loop {
            match pods.logs("web", &LogParams::default()).await {
                Ok(log) => break log,
                // The kubelet asks who asks it as soon as it can again.
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    };
    assert_eq!(timeout(PATIENCE, asking).await.expect("the node is reached again"), "hello\n");
    figures(&cluster).await.unwrap();
    drop(Talk::begin(&pods).await);
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_loses_the_connections_that_it_took_over() {
    let (cluster, pods) = with_a_pod().await;
    let hers: Api<Pod> = Api::default_namespaced(her_client(&cluster));
    let (her_talk, mut talk) = (Talk::begin(&hers).await, Talk::begin(&pods).await);
    cluster.faults().cut(JANE);
    her_talk.ends_cut_off().await;
    talk.go_on().await;
    assert!(hers.exec("web", ["cat"], &AttachParams::default()).await.is_err());
    cluster.faults().heal(JANE);
    drop((Talk::begin(&hers).await, talk));
    cluster.stop().await.unwrap();
}
