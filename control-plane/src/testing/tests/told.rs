//! What a failed test tells, so that it can be run again.

use super::*;
use crate::testing::story::{SEED, Story};
use std::process::{Command, ExitCode};

/// A builder whose cluster tells here what it would print.
fn telling(builder: TestClusterBuilder) -> (TestClusterBuilder, Arc<Mutex<String>>) {
    let kept = Arc::new(Mutex::new(String::new()));
    let story = Story { kept: Some(kept.clone()), ..Story::default() };
    (TestClusterBuilder { story: Some(story), ..builder }, kept)
}

/// A write, and a fault that strikes.
async fn busy(cluster: &TestCluster) {
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    maps.create(&PostParams::default(), &config_map("telling")).await.unwrap();
    cluster.faults().set(FaultPlan::seeded(1).conflicts(1.0).only("jane"));
    let jane = UserInfo::new("jane", ["system:masters", GROUP_AUTHENTICATED]);
    let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client_as(jane));
    maps.replace("telling", &PostParams::default(), &config_map("telling")).await.unwrap_err();
}

#[track_caller]
fn assert_told(kept: &Mutex<String>, seed: u64, words: &[&str]) {
    let told = kept.lock().clone();
    let seed = format!("-- again with KUBEPLANE_SEED={seed}\n");
    for word in words.iter().copied().chain([seed.as_str()]) {
        assert_eq!(told.matches(word).count(), 1, "{word} is to be told once: {told}");
    }
}

const WRITE: &str = "create /registry/configmaps/default/telling by kubernetes-admin";
const FAULT: &str = "jane 0: PUT /api/v1/namespaces/default/configmaps/telling: Conflict";

#[test]
fn a_test_that_panics_or_returns_an_error_tells_seed_writes_and_faults() {
    for paused in [false, true] {
        let builder = TestCluster::builder().seed(41);
        let builder = if paused { builder.paused() } else { builder };
        let (builder, kept) = telling(builder);
        let test = async |cluster: TestCluster| {
            busy(&cluster).await;
            assert_eq!(cluster.seed(), 42, "wrong number");
        };
        catch_unwind(AssertUnwindSafe(|| run(builder, test))).unwrap_err();
        assert_told(&kept, 41, &[WRITE, FAULT]);

        let builder = TestCluster::builder().seed(43);
        let builder = if paused { builder.paused() } else { builder };
        let (builder, kept) = telling(builder);
        let failed: Result<(), String> = run(builder, async |cluster| {
            busy(&cluster).await;
            Err("wrong number".to_owned())
        });
        assert_eq!(failed, Err("wrong number".to_owned()));
        assert_told(&kept, 43, &[WRITE, FAULT]);
    }
}

#[test]
fn a_test_that_passes_tells_nothing() {
    let (builder, kept) = telling(TestCluster::builder());
    let passed: Result<(), String> = run(builder, async |cluster| {
        busy(&cluster).await;
        Ok(())
    });
    assert_eq!(passed, Ok(()));
    let (builder, other) = telling(TestCluster::builder());
    let code = run(builder, async |_| ExitCode::SUCCESS);
    assert!(!code.has_failed() && ExitCode::FAILURE.has_failed());
    assert_eq!((kept.lock().as_str(), other.lock().as_str()), ("", ""));
}

/// A part that fails at once, or when it has been ready.
#[derive(Debug)]
struct Failing {
    ready: bool,
}

#[async_trait::async_trait]
impl Component for Failing {
    fn name(&self) -> &str {
        "failing"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        if self.ready {
            lifecycle.ready();
            lifecycle.stopping().await;
        }
        Err("it broke".into())
    }
}

#[test]
fn a_part_that_fails_and_a_cluster_that_does_not_start_tell_the_seed() {
    for (ready, why) in [(true, "a part of the cluster failed"), (false, "does not start")] {
        let builder = TestCluster::builder().seed(44);
        let made = move |_: &ClusterParts| Ok::<_, BoxError>(Failing { ready });
        let (builder, kept) = telling(builder.component(made));
        let test = async |cluster: TestCluster| busy(&cluster).await;
        let panic = catch_unwind(AssertUnwindSafe(|| run(builder, test))).unwrap_err();
        let panic = panic.downcast_ref::<String>().unwrap();
        assert!(panic.contains(why) && panic.contains("it broke"), "{panic}");
        let words: &[&str] = if ready { &[WRITE, FAULT] } else { &[] };
        assert_told(&kept, 44, words);
    }
}

#[test]
fn a_cluster_in_a_test_of_another_runtime_tells_when_that_panics() {
    let (builder, kept) = telling(TestCluster::builder().seed(45));
    let test = async {
        let cluster = builder.start().await.unwrap();
        busy(&cluster).await;
        assert_eq!(cluster.seed(), 42, "wrong number");
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(test))).unwrap_err();
    assert_told(&kept, 45, &[WRITE, FAULT]);

    let (builder, kept) = telling(TestCluster::builder());
    runtime.block_on(async { drop(builder.start().await.unwrap()) });
    assert_eq!(kept.lock().as_str(), "");
}

/// Runs itself in processes of other environments.
#[tokio::test]
async fn the_seed_of_the_environment_is_that_of_clusters_without_their_own() {
    const NAME: &str = "the_seed_of_the_environment_is_that_of_clusters_without_their_own";
    let Ok(asked) = std::env::var(SEED) else {
        let module = module_path!().split_once("::").unwrap().1;
        for seed in ["4711", "many"] {
            let mut this = Command::new(std::env::current_exe().unwrap());
            let this = this.args(["--exact", &format!("{module}::{NAME}")]).env(SEED, seed);
            let output = this.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{seed}: {said}");
        }
        return;
    };
    match asked.parse::<u64>() {
        Ok(seed) => {
            let cluster = TestCluster::start().await.unwrap();
            assert_eq!(cluster.seed(), seed);
            cluster.stop().await.unwrap();
        }
        Err(_) => {
            let error = TestCluster::start().await.unwrap_err();
            assert_eq!(error.to_string(), format!("KUBEPLANE_SEED={asked} is no number"));
        }
    }
    let own = TestCluster::builder().seed(7).start().await.unwrap();
    assert_eq!(own.seed(), 7);
    own.stop().await.unwrap();
}
