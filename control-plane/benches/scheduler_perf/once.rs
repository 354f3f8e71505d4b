//! One run of a row, on a cluster of its own and with the scheduler that is asked for.

use super::{
    process::Chosen,
    rows::Row,
    run::{Measured, run},
};
use kubeplane::{
    ControlPlane,
    api::ApiOptions,
    clock::Seed,
    handlers::admission::AdmissionPlugins,
    scheduler::{
        Profile, Scheduler,
        config::{Configuration, Registry},
    },
    testing::TestCluster,
};
use std::time::Duration;

/// What is not over by then is given up, whatever moves.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What came of it, or what went wrong.
pub(crate) async fn once(
    row: &Row,
    divisor: usize,
    scheduler: &Chosen,
) -> Result<Measured, String> {
    let off = ["ServiceAccount", "TaintNodesByCondition"];
    let admission = AdmissionPlugins::new().switch(&[], &off).map_err(|error| error.to_string())?;
    let options = ApiOptions { admission, ..ApiOptions::default() };
    let mut builder = TestCluster::builder().options(options);
    if let Some(names) = row.controllers() {
        builder = builder.controllers_named(names);
    }
    if scheduler.is_apart() {
        builder = builder.listen();
    }
    let cluster = builder.start().await.map_err(|error| error.to_string())?;
    let outcome = measure(&cluster, row, divisor, scheduler).await;
    cluster.stop().await.map_err(|error| error.to_string())?;
    outcome
}

async fn measure(
    cluster: &TestCluster,
    row: &Row,
    divisor: usize,
    scheduler: &Chosen,
) -> Result<Measured, String> {
    let within = async {
        let limited = tokio::time::timeout(LIMIT, run(cluster.client(), row, divisor)).await;
        limited.unwrap_or_else(|_| Err(format!("not over after {LIMIT:?}")))
    };
    if scheduler.is_apart() {
        let Some(mut apart) = scheduler.start(cluster, row.configuration)? else {
            return Err("no scheduler was started".to_owned());
        };
        return tokio::select! {
            done = within => done.map_err(|why| format!("{why}\n{}", apart.last())),
            why = apart.ended() => Err(why),
        };
    }
    let inside = Scheduler::builder(cluster.client()).seed(Seed::new(1));
    let inside = inside.profiles(profiles(cluster, row.configuration)?);
    let inside = inside.build().map_err(|error| error.to_string())?;
    let mut outcome = Err("the scheduler ended".to_owned());
    let plane = ControlPlane::new().with(inside);
    plane.run_until(async { outcome = within.await }).await.map_err(|error| error.to_string())?;
    outcome
}

/// The profiles a configuration describes beside what it always says; none where it says nothing more, as the default is
/// then the scheduler's own.
fn profiles(cluster: &TestCluster, more: &str) -> Result<Vec<Profile>, String> {
    if more.is_empty() {
        return Ok(Vec::new());
    }
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration{more}"
    );
    let read = Configuration::parse(text.as_bytes());
    let made = read.and_then(|own| own.profiles(&Registry::new(cluster.client())));
    made.map_err(|error| error.to_string())
}
