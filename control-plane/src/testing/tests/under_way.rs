//! What happens to requests that are under way when the way or the server goes.

use super::{
    replay::{assert_same, stages},
    *,
};
use tokio::task::JoinHandle;

const JANE: &str = "system:test:jane";
/// How long the store takes over each call for her.
const SLOW: Duration = Duration::from_secs(3);

fn jane(cluster: &TestCluster) -> Api<ConfigMap> {
    let user = UserInfo::new(JANE, ["system:masters", GROUP_AUTHENTICATED]);
    Api::default_namespaced(cluster.client_as(user))
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
