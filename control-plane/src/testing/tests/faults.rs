//! What goes wrong when a test wants it to.

use super::{replay::cron_job, *};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::api::{Patch, PatchParams, WatchEvent, WatchParams};

const ALL: &str = "system:test:*";

fn user(cluster: &TestCluster, name: &str) -> Api<ConfigMap> {
    let user =
        UserInfo::new(format!("system:test:{name}"), ["system:masters", GROUP_AUTHENTICATED]);
    Api::default_namespaced(cluster.client_as(user))
}

fn undisturbed(cluster: &TestCluster) -> Api<ConfigMap> {
    Api::default_namespaced(cluster.client())
}

async fn patched(maps: &Api<ConfigMap>) -> kube::Result<ConfigMap> {
    let patch = Patch::Merge(json!({"data": {"a": "b"}}));
    maps.patch("one", &PatchParams::default(), &patch).await
}

#[tokio::test]
async fn planned_faults_strike_and_are_told() {
    let cluster = TestCluster::start().await.unwrap();
    let maps = user(&cluster, "jane");
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();

    cluster.faults().set(FaultPlan::seeded(1).conflicts(1.0).only(ALL));
    let error = patched(&maps).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 409), "{error}");

    cluster.faults().set(FaultPlan::seeded(1).failing_store(1.0).only(ALL));
    let error = maps.create(&PostParams::default(), &config_map("two")).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code >= 500), "{error}");

    cluster.faults().set(FaultPlan::seeded(1).timeouts(2.0).only(ALL));
    let error = maps.create(&PostParams::default(), &config_map("three")).await.unwrap_err();
    assert!(error.to_string().contains("timed out"), "{error}");

    assert_eq!(cluster.faults().struck().len(), 3, "{:?}", cluster.faults().struck());
    cluster.faults().clear();
    patched(&maps).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn who_is_cut_off_hears_and_says_nothing_until_it_is_healed() {
    let cluster = TestCluster::start().await.unwrap();
    let maps = user(&cluster, "jane");
    let mut events = std::pin::pin!(maps.watch(&WatchParams::default(), "0").await.unwrap());
    cluster.faults().cut(ALL);
    let ended = async { while let Some(Ok(_)) = futures::StreamExt::next(&mut events).await {} };
    timeout(PATIENCE, ended).await.expect("the watch ends");
    assert!(maps.list(&ListParams::default()).await.is_err());
    Api::<ConfigMap>::default_namespaced(cluster.client())
        .list(&ListParams::default())
        .await
        .unwrap();
    cluster.faults().heal(ALL);
    maps.list(&ListParams::default()).await.unwrap();
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_outlive_a_restart_of_the_server() {
    let cluster = TestCluster::builder().listen().start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();
    cluster.restart_api_server().await;
    maps.get("kept").await.unwrap();
    let file = kube::config::Kubeconfig::read_from(cluster.kubeconfig().unwrap()).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await.unwrap();
    let outside: Api<ConfigMap> = Api::default_namespaced(kube::Client::try_from(config).unwrap());
    outside.get("kept").await.expect("the server is where it was");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_compaction_ends_watches_from_before_it() {
    let cluster = TestCluster::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    cluster.compact().await.unwrap();
    let list = ListParams::default().at("2").matching(kube::api::VersionMatch::Exact);
    let error = maps.list(&list).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 410), "{error}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_planned_compaction_takes_the_past_away() {
    let cluster = TestCluster::start().await.unwrap();
    let maps = user(&cluster, "jane");
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    let then = cluster.revision();
    let old = ListParams::default().at(&then.to_string()).matching(kube::api::VersionMatch::Exact);
    assert_eq!(maps.list(&old).await.unwrap().items[0].metadata.name.as_deref(), Some("one"));
    // A server that starts now remembers nothing of what was before.
    cluster.restart_api_server().await;

    cluster.faults().set(FaultPlan::seeded(1).compactions(1.0).only(ALL));
    for name in ["two", "three"] {
        maps.create(&PostParams::default(), &config_map(name)).await.unwrap();
    }
    let struck = cluster.faults().struck();
    assert!(struck.iter().any(|line| line.ends_with("store create: Compaction")), "{struck:?}");
    let error = maps.list(&old).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.code == 410), "{error}");
    // A watch says so as its answer, or as its first event.
    let error = match maps.watch(&WatchParams::default(), "1").await {
        Err(kube::Error::Api(status)) => status.code,
        Err(other) => panic!("{other}"),
        Ok(events) => {
            let mut events = std::pin::pin!(events);
            let first = timeout(PATIENCE, futures::StreamExt::next(&mut events)).await.unwrap();
            match first {
                Some(Ok(WatchEvent::Error(status))) => status.code,
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(error, 410);
    let now = maps.list(&ListParams::default()).await.unwrap();
    let names: Vec<_> = now.iter().filter_map(|map| map.metadata.name.as_deref()).collect();
    assert_eq!(names, ["one", "three", "two"], "what is there now is not touched");
    cluster.stop().await.unwrap();
}

/// Asks until it is answered.
async fn answered(maps: &Api<ConfigMap>, name: &str) {
    let asking = async {
        while maps.get(name).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, asking).await.expect("the server is back");
}

#[tokio::test]
async fn a_planned_restart_fails_requests_until_the_server_is_back() {
    let cluster = TestCluster::start().await.unwrap();
    let maps = user(&cluster, "jane");
    maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();
    let mut events = std::pin::pin!(maps.watch(&WatchParams::default(), "0").await.unwrap());
    cluster.faults().set(FaultPlan::seeded(1).restarts(1.0).only(ALL));
    let error = maps.get("kept").await.unwrap_err().to_string();
    assert!(error.contains("the API server went away"), "{error}");
    cluster.faults().clear();
    let ended = async { while let Some(Ok(_)) = futures::StreamExt::next(&mut events).await {} };
    timeout(PATIENCE, ended).await.expect("the watch ends with its server");
    answered(&maps, "kept").await;
    patched(&maps).await.expect_err("there is none of that name");
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    patched(&maps).await.expect("it writes as before");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_planned_partition_lasts_as_long_as_it_says() {
    let cluster = TestCluster::builder().paused().start().await.unwrap();
    let (jane, joe) = (user(&cluster, "jane"), user(&cluster, "joe"));
    let plan = FaultPlan::seeded(1).partitions(0.5, Duration::from_secs(30));
    cluster.faults().set(plan.only("system:test:jane"));
    let (mut well, mut cut) = (0, 0);
    for _ in 0..20 {
        match jane.list(&ListParams::default()).await {
            Ok(_) => well += 1,
            Err(error) => {
                cut += 1;
                assert!(error.to_string().contains("cut off"), "{error}");
                cluster.advance(Duration::from_secs(29)).await;
                jane.list(&ListParams::default()).await.expect_err("not healed yet");
                joe.list(&ListParams::default()).await.expect("he is not concerned");
                cluster.advance(Duration::from_secs(1)).await;
            }
        }
    }
    assert!(well > 2 && cut > 2, "{well} were answered, {cut} not");
    let told = cluster.faults().struck();
    assert_eq!(told.len(), cut, "one line for each: {told:?}");
    cluster.faults().clear();
    jane.list(&ListParams::default()).await.expect("healed with the plan");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_partition_ends_the_watches_of_who_is_cut_off() {
    let cluster = TestCluster::builder().paused().start().await.unwrap();
    let maps = user(&cluster, "jane");
    let mut events = std::pin::pin!(maps.watch(&WatchParams::default(), "0").await.unwrap());
    let plan = FaultPlan::seeded(1).partitions(1.0, Duration::from_secs(30)).only(ALL);
    cluster.faults().set(plan);
    maps.list(&ListParams::default()).await.unwrap_err();
    let ended = async { while let Some(Ok(_)) = futures::StreamExt::next(&mut events).await {} };
    timeout(PATIENCE, ended).await.expect("the watch ends");
    cluster.stop().await.unwrap();
}

/// By how much the clock is off that a simulated node goes by, and what is told of it.
async fn node_skew(plan: FaultPlan) -> (SignedDuration, String) {
    let builder = TestCluster::builder().faults(plan).paused().simulated_nodes(1);
    let cluster = builder.start().await.unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client());
    let node = nodes.get("simulated-1").await.unwrap();
    let beat = node.status.unwrap().conditions.unwrap()[0].last_heartbeat_time.clone().unwrap().0;
    let skew = beat.duration_since(node.metadata.creation_timestamp.unwrap().0);
    let told = cluster.faults().struck().into_iter();
    let told: Vec<_> = told.filter(|line| line.starts_with("simulated-1: Skew")).collect();
    assert_eq!(told.len(), 1, "once for each part: {told:?}");
    cluster.stop().await.unwrap();
    (skew, told[0].clone())
}

#[tokio::test]
async fn clocks_are_off_by_plan_and_by_the_same_for_one_seed() {
    let plan = |seed| FaultPlan::seeded(seed).skews(Duration::from_secs(100_000));
    let (skew, told) = node_skew(plan(1)).await;
    assert!(!skew.is_zero() && skew.abs() < SignedDuration::from_secs(100_100), "{skew:?}");
    assert_eq!(node_skew(plan(1)).await.1, told);
    assert_ne!(node_skew(plan(2)).await.1, told);
}

#[tokio::test]
async fn a_clock_of_a_part_that_is_not_there_is_refused() {
    let hour = SignedDuration::from_hours(1);
    let builder = TestCluster::builder().scheduler().skew("scheduler", hour);
    let error = builder.start().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no part of the cluster is called \"scheduler\"; these are: kube-scheduler"
    );
}

#[tokio::test]
async fn a_slow_store_takes_the_clusters_time() {
    let cluster = TestCluster::builder().paused().start().await.unwrap();
    let plan = FaultPlan::seeded(1).slow_store(1.0, Duration::from_secs(5)).only(ALL);
    cluster.faults().set(plan);
    let maps = user(&cluster, "jane");
    let writing =
        tokio::spawn(async move { maps.create(&PostParams::default(), &config_map("slow")).await });
    cluster.advance(Duration::from_secs(60)).await;
    let created = timeout(PATIENCE, writing).await.unwrap().unwrap().unwrap();
    let write =
        cluster.history().writes().into_iter().find(|write| write.key.ends_with("/slow")).unwrap();
    assert!(write.at.to_string().as_str() >= "2026-01-01T00:00:05Z", "{write}: {created:?}");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_part_may_have_another_time() {
    let [hour, back] = [1, -2].map(SignedDuration::from_hours);
    let builder = TestCluster::builder().paused().simulated_nodes(2);
    let builder = builder.skew("simulated-nodes", hour).skew("simulated-2", back);
    let cluster = builder.clone().start().await.unwrap();
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client());
    for (name, skew) in [("simulated-1", hour), ("simulated-2", back)] {
        let node = nodes.get(name).await.unwrap();
        let created = node.metadata.creation_timestamp.unwrap().0;
        let conditions = node.status.unwrap().conditions.unwrap();
        let beat = conditions[0].last_heartbeat_time.clone().unwrap().0;
        assert_eq!(beat.duration_since(created), skew, "{name}");
    }
    cluster.stop().await.unwrap();
    let error = builder.skew("simulated-3", hour).start().await.unwrap_err().to_string();
    assert!(error.contains("no part of the cluster is called \"simulated-3\""), "{error}");
}

#[test]
fn controllers_do_things_by_their_own_clock() {
    let builder = TestCluster::builder().controllers_named("cronjob-controller").paused();
    let builder = builder.skew("kube-controller-manager", SignedDuration::from_mins(30));
    run(builder, async |cluster| {
        let crons: Api<CronJob> = Api::default_namespaced(cluster.client());
        crons.create(&PostParams::default(), &cron_job()).await.unwrap();
        cluster.advance(Duration::from_secs(20 * 60)).await;
        let jobs: Api<Job> = Api::default_namespaced(cluster.client());
        assert!(jobs.list(&ListParams::default()).await.unwrap().items.is_empty(), "0:50 for them");
        cluster.advance(Duration::from_secs(20 * 60)).await;
        let made = jobs.list(&ListParams::default()).await.unwrap().items;
        assert_eq!(made.len(), 1, "1:10 for them");
        let at = made[0].metadata.creation_timestamp.clone().unwrap().0.to_string();
        assert_eq!(at, "2026-01-01T00:30:00Z", "for everybody else");
    });
}

#[tokio::test]
async fn a_lost_request_was_not_carried_out_and_a_lost_answer_is_of_one_that_was() {
    let cluster = TestCluster::start().await.unwrap();
    cluster.faults().set(FaultPlan::seeded(3).timeouts(1.0).only(ALL));
    let (maps, all) = (user(&cluster, "jane"), undisturbed(&cluster));
    let mut ends = BTreeSet::new();
    for number in 0..20 {
        let name = format!("map-{number}");
        let before = cluster.faults().struck().len();
        let made = maps.create(&PostParams::default(), &config_map(&name)).await;
        let struck = cluster.faults().struck();
        let end = struck.get(before).and_then(|line| line.rsplit(' ').next()).unwrap_or("answered");
        match made {
            Ok(_) => assert_eq!(end, "answered"),
            Err(error) => assert!(error.to_string().contains("timed out"), "{end}: {error}"),
        }
        let is_there = all.get_opt(&name).await.unwrap().is_some();
        assert_eq!(is_there, end != "RequestLost", "{end}: {name}");
        ends.insert(end.to_owned());
    }
    let wanted = ["AnswerLost", "RequestLost", "answered"].map(str::to_owned);
    assert_eq!(ends, wanted.into(), "each of these by chance");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn dropped_watches_end_after_as_many_pieces_as_is_told() {
    let cluster = TestCluster::start().await.unwrap();
    cluster.faults().set(FaultPlan::seeded(1).dropped_watches(1.0).only(ALL));
    let (maps, all) = (user(&cluster, "jane"), undisturbed(&cluster));
    let mut lengths = BTreeSet::new();
    for round in 0..6 {
        let now =
            all.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
        let mut events = std::pin::pin!(maps.watch(&WatchParams::default(), &now).await.unwrap());
        let mut seen = 0;
        // One after the other, so that each is a piece of its own.
        for number in 0..5 {
            let map = config_map(&format!("map-{round}-{number}"));
            all.create(&PostParams::default(), &map).await.unwrap();
            let next = timeout(PATIENCE, futures::StreamExt::next(&mut events)).await;
            let Ok(Some(Ok(WatchEvent::Added(_)))) = next else {
                assert!(matches!(next, Ok(None)), "{next:?}");
                break;
            };
            seen += 1;
        }
        let told = cluster.faults().struck().pop().unwrap();
        let wanted = format!("WatchDropped {{ after: {seen} }}");
        assert!(seen < 5 && told.ends_with(&wanted), "{seen} were seen: {told}");
        lengths.insert(seen);
    }
    assert!(lengths.len() > 1, "not always the same: {lengths:?}");
    cluster.stop().await.unwrap();
}
