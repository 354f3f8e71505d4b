//! What a cluster inside a test costs: `cargo bench -p kubeplane --bench clusters [PART...]`.
//!
//! Parts are `start`, `testserver`, `original`, `memory`, `nodes`; all of them by default. Each line has the aim behind it.
//! The part `original` is etcd and kube-apiserver as envtest starts them; they are found by envtest's own variables
//! (`KUBEBUILDER_ASSETS`, or `TEST_ASSET_ETCD` and `TEST_ASSET_KUBE_APISERVER`).
#![expect(clippy::print_stdout, reason = "the figures are what was asked for")]

mod original;

use anyhow::Context as _;
use futures::{StreamExt, stream};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use kubeplane::testing::TestCluster;
use serde_json::json;
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// How often what takes milliseconds is done.
const ROUNDS: usize = 30;
/// The original takes seconds.
const ORIGINAL_ROUNDS: usize = 3;
const NODES: u32 = 5_000;
const PODS: usize = 10_000;
/// How many requests a client has under way.
const AT_ONCE: usize = 64;
/// Long enough for each lease to be renewed once.
const RENEWAL: Duration = Duration::from_secs(12);

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn tell(what: &str, figure: impl std::fmt::Display, aim: &str) {
    println!("{what:<58} {figure:>10}   aim {aim}");
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: kube::api::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..ConfigMap::default()
    }
}

/// From nothing to the first object made, and from the wish to stop to the end.
async fn start() -> anyhow::Result<()> {
    let (mut starts, mut stops) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let cluster = TestCluster::start().await?;
        let maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
        maps.create(&PostParams::default(), &map("first")).await?;
        starts.push(begin.elapsed());
        let begin = Instant::now();
        cluster.stop().await?;
        stops.push(begin.elapsed());
    }
    tell("in-process start to first create, median", millis(median(starts)), "30 ms");
    tell("stop, longest", millis(stops.into_iter().max().unwrap_or_default()), "50 ms");
    Ok(())
}

/// From the start of the process to the end of its kubeconfig.
fn testserver() -> anyhow::Result<()> {
    let mut starts = Vec::new();
    let mut idle = 0;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut server = Command::new(env!("CARGO_BIN_EXE_kubeplane"))
            .arg("testserver")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let out = BufReader::new(server.stdout.take().context("its output")?);
        let whole = out.lines().map_while(Result::ok).any(|line| line == "...");
        anyhow::ensure!(whole, "it did not start");
        starts.push(begin.elapsed());
        idle = idle.max(resident(server.id())?);
        drop(server.stdin.take());
        server.wait()?;
    }
    tell("testserver, process to ready, median", millis(median(starts)), "100 ms");
    tell("testserver, memory when ready, most", mebibytes(idle), "30 MiB");
    Ok(())
}

/// The same of the original: from no process to the first object made.
async fn original() -> anyhow::Result<()> {
    let Some(assets) = original::Assets::find() else {
        tell("the original", "-", "needs KUBEBUILDER_ASSETS");
        return Ok(());
    };
    let (mut starts, mut idle, mut stops) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ORIGINAL_ROUNDS {
        let begin = Instant::now();
        let mut original = assets.start()?;
        original.make_first(&map("first")).await?;
        starts.push(begin.elapsed());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let both = original.processes().into_iter().map(resident);
        idle.push(both.sum::<anyhow::Result<u64>>()?);
        let begin = Instant::now();
        drop(original);
        stops.push(begin.elapsed());
    }
    idle.sort_unstable();
    tell("the original, processes to first create, median", millis(median(starts)), "-");
    tell("the original, memory of both when idle, median", mebibytes(idle[idle.len() / 2]), "-");
    tell("the original, killed, median", millis(median(stops)), "-");
    Ok(())
}

/// The resident memory of a process, in KiB.
fn resident(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

/// What this process takes for so many clusters that do nothing, less what it takes for none.
async fn memory() -> anyhow::Result<()> {
    let own = std::process::id();
    let before = resident(own)?;
    let mut clusters = vec![TestCluster::start().await?];
    tokio::time::sleep(Duration::from_secs(1)).await;
    tell("one idle cluster in a process", mebibytes(resident(own)?), "30 MiB");
    while clusters.len() < 100 {
        clusters.push(TestCluster::start().await?);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    tell("100 idle clusters in a process", mebibytes(resident(own)?), "1536 MiB");
    tell("  of it before the first", mebibytes(before), "-");
    for cluster in clusters {
        cluster.stop().await?;
    }
    Ok(())
}

async fn nodes() -> anyhow::Result<()> {
    let begin = Instant::now();
    // Pods have an account, which a controller makes.
    let builder = TestCluster::builder().controllers_named("serviceaccount-controller");
    let cluster = builder.simulated_nodes(NODES).start().await?;
    tell(&format!("{NODES} simulated nodes ready"), millis(begin.elapsed()), "3000 ms");
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let begin = Instant::now();
    let made = stream::iter(0..PODS).map(|number| {
        let pods = pods.clone();
        async move {
            let node = format!("simulated-{}", number as u32 % NODES + 1);
            let pod = json!({"metadata": {"name": format!("pod-{number}")}, "spec": {
                "nodeName": node, "containers": [{"name": "main", "image": "example"}]}});
            pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
            anyhow::Ok(())
        }
    });
    let made: Vec<_> = made.buffer_unordered(AT_ONCE).collect().await;
    made.into_iter().collect::<anyhow::Result<()>>()?;
    tell(&format!("  {PODS} pods made"), millis(begin.elapsed()), "-");
    let pending = ListParams::default().fields("status.phase=Pending").limit(1);
    while !pods.list(&pending).await?.items.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tell(&format!("{PODS} pods running"), millis(begin.elapsed()), "4000 ms");
    let now = cluster.clock().now();
    tokio::time::sleep(RENEWAL).await;
    let leases: Api<Lease> = Api::namespaced(cluster.client(), "kube-node-lease");
    let all = leases.list(&ListParams::default()).await?.items;
    let renewed = all.iter().filter(|lease| {
        let spec = lease.spec.as_ref();
        spec.and_then(|spec| spec.renew_time.as_ref()).is_some_and(|time| time.0 > now)
    });
    tell("leases renewed since", format!("{} of {}", renewed.count(), all.len()), "all");
    cluster.stop().await?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let wanted: Vec<_> = std::env::args().skip(1).filter(|part| part != "--bench").collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|own| own == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if is_wanted("memory") {
        runtime.block_on(memory())?;
    }
    if is_wanted("start") {
        runtime.block_on(start())?;
    }
    if is_wanted("testserver") {
        testserver()?;
    }
    if is_wanted("original") {
        runtime.block_on(original())?;
    }
    if is_wanted("nodes") {
        runtime.block_on(nodes())?;
    }
    Ok(())
}
