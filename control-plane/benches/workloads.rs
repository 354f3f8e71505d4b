//! How fast controllers are: `cargo bench -p kubeplane --bench workloads [PART...]`.
//!
//! Parts are `grow`, `roll`, `collect`, `many`, `steady`; all of them by default. Each line has the aim behind it. The
//! controllers run in this process; with `CONTROLLERS=own` in one of their own, of which the time it computed is told too, and
//! with `CONTROLLERS=PATH` that is the original's kube-controller-manager. `steady` always has them apart. `SCALE=10` makes
//! everything ten times smaller.
#![expect(clippy::print_stdout, reason = "the figures are what was asked for")]

use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt, stream};
use http::Request;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod, ServiceAccount},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use kubeplane::testing::TestCluster;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How many requests a client has under way.
const AT_ONCE: usize = 64;
const LOOK: Duration = Duration::from_millis(5);
/// What cannot be over by then never is.
const PATIENCE: Duration = Duration::from_secs(600);

fn tell(what: &str, figure: impl std::fmt::Display, aim: &str) {
    println!("{what:<58} {figure:>12}   aim {aim}");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// The controllers in a process of their own.
struct Apart(Child);

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Apart {
    fn start(cluster: &TestCluster, program: &str) -> anyhow::Result<Self> {
        let kubeconfig = cluster.kubeconfig().context("the cluster listens")?;
        let mut command = if program == "own" {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kubeplane"));
            command.args([
                "controllers",
                "--leader-elect=false",
                "--listen=127.0.0.1:0",
                "--data-dir",
            ]);
            command.arg(cluster.directory().join("controllers"));
            command
        } else {
            let mut command = Command::new(program);
            command.args([
                "--leader-elect=false",
                "--kube-api-qps=100000",
                "--kube-api-burst=100000",
            ]);
            command.args(["--secure-port=0", "--concurrent-deployment-syncs=50"]);
            command.args(["--concurrent-replicaset-syncs=50", "--concurrent-gc-syncs=50"]);
            command
        };
        command.arg("--kubeconfig").arg(kubeconfig);
        Ok(Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    /// What it computed so far, in user and kernel.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let (_, rest) = stat.rsplit_once(") ").context("stat")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Its resident memory, in KiB.
    fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

struct Ground {
    cluster: TestCluster,
    apart: Option<Apart>,
}

impl Ground {
    async fn new(nodes: u32, program: Option<&str>) -> anyhow::Result<Self> {
        let builder = TestCluster::builder().scheduler().simulated_nodes(nodes.max(1));
        let builder = match program {
            None => builder.controllers(),
            Some(_) => builder.listen(),
        };
        let cluster = builder.start().await?;
        let apart = program.map(|program| Apart::start(&cluster, program)).transpose()?;
        let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client());
        let begin = Instant::now();
        while accounts.get_opt("default").await?.is_none() {
            anyhow::ensure!(begin.elapsed() < PATIENCE, "the controllers do not work");
            tokio::time::sleep(LOOK).await;
        }
        // Nothing is to be left of the start.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(Self { cluster, apart })
    }

    fn cpu(&self) -> anyhow::Result<Duration> {
        self.apart.as_ref().map_or(Ok(Duration::ZERO), Apart::cpu)
    }

    fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.cluster.client())
    }

    async fn until(
        &self,
        what: &str,
        check: impl AsyncFn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !check().await? {
            anyhow::ensure!(begin.elapsed() < PATIENCE, "{what}");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits for so many pods.
    async fn made(&self, count: usize) -> anyhow::Result<()> {
        let pods = self.pods();
        self.until("pods are missing", async || Ok(number_of(&pods).await? == count)).await
    }

    /// Waits until no pod is without what this field selector leaves out.
    async fn none(&self, fields: &str) -> anyhow::Result<()> {
        let (pods, left) = (self.pods(), ListParams::default().fields(fields).limit(1));
        self.until(fields, async || Ok(pods.list(&left).await?.items.is_empty())).await
    }

    async fn finish(self, cpu: Duration) -> anyhow::Result<()> {
        if self.apart.is_some() {
            tell("  computed by the controllers", seconds(self.cpu()? - cpu), "-");
        }
        drop(self.apart);
        self.cluster.stop().await?;
        Ok(())
    }
}

/// How many objects there are: asked for one, and told how many remain.
async fn number_of<K>(api: &Api<K>) -> anyhow::Result<usize>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let list = api.list_metadata(&ListParams::default().limit(1)).await?;
    let rest = list.metadata.remaining_item_count.unwrap_or_default();
    Ok(list.items.len() + usize::try_from(rest)?)
}

fn deployment(name: &str, replicas: usize) -> anyhow::Result<Deployment> {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "strategy": rolling,
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "one"}]}}},
    }))?)
}

async fn grow(ground: Ground, scale: usize) -> anyhow::Result<()> {
    let count = 10_000 / scale;
    let deployments: Api<Deployment> = Api::default_namespaced(ground.cluster.client());
    deployments.create(&PostParams::default(), &deployment("web", 0)?).await?;
    let (cpu, begin) = (ground.cpu()?, Instant::now());
    let size = Patch::Merge(json!({"spec": {"replicas": count}}));
    deployments.patch("web", &PatchParams::default(), &size).await?;
    ground.made(count).await?;
    tell(&format!("a Deployment from 0 to {count} pods, made"), seconds(begin.elapsed()), "3 s");
    ground.none("spec.nodeName=").await?;
    tell("  bound", seconds(begin.elapsed()), "5 s");
    ground.none("status.phase=Pending").await?;
    tell("  running", seconds(begin.elapsed()), "-");
    ground
        .until("it is not ready", async || {
            let web = deployments.get("web").await?;
            let ready = web.status.and_then(|status| status.ready_replicas).unwrap_or_default();
            Ok(usize::try_from(ready)? == count)
        })
        .await?;
    tell("  ready, as its status says", seconds(begin.elapsed()), "-");
    ground.finish(cpu).await
}

/// Pods there are and pods that are ready, at the worst of all observed instants.
#[derive(Debug, Default)]
struct Seen {
    /// By name: whether it is ready.
    pods: HashMap<String, bool>,
    most: usize,
    least_ready: usize,
}

impl Seen {
    fn see(&mut self, event: WatchEvent<Pod>) {
        match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                let name = pod.metadata.name.clone().unwrap_or_default();
                if pod.metadata.deletion_timestamp.is_some() {
                    self.pods.remove(&name);
                } else {
                    self.pods.insert(name, kubeplane_workload::is_ready(&pod));
                }
            }
            WatchEvent::Deleted(pod) => {
                self.pods.remove(pod.metadata.name.as_deref().unwrap_or_default());
            }
            _ => return,
        }
        self.most = self.most.max(self.pods.len());
        let ready = self.pods.values().filter(|ready| **ready).count();
        self.least_ready = self.least_ready.min(ready);
    }
}

async fn roll(ground: Ground, scale: usize) -> anyhow::Result<()> {
    let count = 1_000 / scale;
    let deployments: Api<Deployment> = Api::default_namespaced(ground.cluster.client());
    deployments.create(&PostParams::default(), &deployment("web", count)?).await?;
    let settled = async || {
        let web = deployments.get("web").await?;
        let status = web.status.unwrap_or_default();
        let wanted = Some(i32::try_from(count)?);
        anyhow::Ok(
            status.observed_generation == web.metadata.generation
                && [status.replicas, status.updated_replicas, status.available_replicas]
                    == [wanted; 3],
        )
    };
    ground.until("it is not ready", &settled).await?;
    let pods = ground.pods();
    let list = pods.list(&ListParams::default()).await?;
    let mut seen = Seen { least_ready: count, ..Seen::default() };
    let version = list.metadata.resource_version.unwrap_or_default();
    list.items.into_iter().for_each(|pod| seen.see(WatchEvent::Added(pod)));
    seen.least_ready = count;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let watching = tokio::spawn(async move {
        let params = WatchParams::default().timeout(290);
        let mut events = pods.watch(&params, &version).await?.boxed();
        let mut stopped = stopped;
        loop {
            tokio::select! {
                biased;
                event = events.try_next() => match event? {
                    Some(event) => seen.see(event),
                    None => anyhow::bail!("the watch ended"),
                },
                _ = &mut stopped => return anyhow::Ok(seen),
            }
        }
    });
    let (cpu, begin) = (ground.cpu()?, Instant::now());
    let containers = json!([{"name": "c", "image": "two"}]);
    let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(change)).await?;
    ground.until("it is not rolled out", &settled).await?;
    tell(&format!("rolling update of {count} replicas"), seconds(begin.elapsed()), "5 s");
    let _ = stop.send(());
    let seen = watching.await??;
    let quarter = count / 4;
    let most = count + count.div_ceil(4);
    tell("  pods at once, most", seen.most, &format!("at most {most}"));
    tell("  ready pods, fewest", seen.least_ready, &format!("at least {}", count - quarter));
    anyhow::ensure!(
        seen.most <= most && seen.least_ready >= count - quarter,
        "a budget was violated"
    );
    ground.finish(cpu).await
}

async fn collect(ground: Ground, scale: usize) -> anyhow::Result<()> {
    let count = 10_000 / scale;
    let maps: Api<ConfigMap> = Api::default_namespaced(ground.cluster.client());
    let map = |name: String, owners: Value| -> anyhow::Result<ConfigMap> {
        Ok(serde_json::from_value(json!({"metadata": {"name": name, "ownerReferences": owners}}))?)
    };
    let owner = maps.create(&PostParams::default(), &map("owner".into(), json!([]))?).await?;
    let owners = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}]);
    let before = number_of(&maps).await? - 1;
    let made = stream::iter(0..count).map(|index| {
        let (maps, map) = (maps.clone(), map(format!("of-{index}"), owners.clone()));
        async move { anyhow::Ok(maps.create(&PostParams::default(), &map?).await.map(drop)?) }
    });
    made.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (cpu, begin) = (ground.cpu()?, Instant::now());
    maps.delete("owner", &DeleteParams::background()).await?;
    ground.until("dependents are left", async || Ok(number_of(&maps).await? == before)).await?;
    tell(&format!("{count} dependents deleted with their owner"), seconds(begin.elapsed()), "3 s");
    ground.finish(cpu).await
}

async fn many(ground: Ground, scale: usize) -> anyhow::Result<()> {
    let count = 1_000 / scale;
    let deployments: Api<Deployment> = Api::default_namespaced(ground.cluster.client());
    let (cpu, begin) = (ground.cpu()?, Instant::now());
    let made = stream::iter(0..count).map(|index| {
        let (deployments, web) = (deployments.clone(), deployment(&format!("web-{index}"), 10));
        async move { anyhow::Ok(deployments.create(&PostParams::default(), &web?).await.map(drop)?) }
    });
    made.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    ground.made(count * 10).await?;
    tell(
        &format!("{count} Deployments of 10 replicas, pods made"),
        seconds(begin.elapsed()),
        "5 s",
    );
    ground.none("status.phase=Pending").await?;
    tell("  running", seconds(begin.elapsed()), "-");
    ground.finish(cpu).await
}

/// How many bytes of JSON all objects of a kind are.
async fn json_of(ground: &Ground, path: &str) -> anyhow::Result<usize> {
    let request = Request::get(path).body(Vec::new())?;
    Ok(ground.cluster.client().request_text(request).await?.len())
}

async fn steady(ground: Ground, scale: usize) -> anyhow::Result<()> {
    let count = 100_000 / scale;
    let sets = 20;
    let deployments: Api<Deployment> = Api::default_namespaced(ground.cluster.client());
    for index in 0..sets {
        let web = deployment(&format!("web-{index}"), count / sets)?;
        deployments.create(&PostParams::default(), &web).await?;
    }
    ground.made(count / sets * sets).await?;
    ground.none("status.phase=Pending").await?;
    // Until nothing follows from that any more.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let apart = ground.apart.as_ref().context("the controllers are apart")?;
    let (before, begin) = (apart.cpu()?, Instant::now());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let share = (apart.cpu()? - before).as_secs_f64() / begin.elapsed().as_secs_f64();
    tell(
        &format!("{count} pods and no change, computed"),
        format!("{:.2} %", share * 100.0),
        "1 % of a core",
    );
    let mut cached = 0;
    for path in [
        "/api/v1/pods",
        "/api/v1/nodes",
        "/apis/apps/v1/replicasets",
        "/apis/coordination.k8s.io/v1/leases",
    ] {
        cached += json_of(&ground, path).await?;
    }
    let resident = apart.resident()? * 1024;
    let ratio = resident as f64 / cached as f64;
    let mebibytes = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
    tell("  memory", mebibytes(resident as f64), "-");
    tell("  the JSON of what they cache", mebibytes(cached as f64), "-");
    tell("  memory for each byte of it", format!("{ratio:.2}"), "2");
    let cpu = apart.cpu()?;
    ground.finish(cpu).await
}

fn main() -> anyhow::Result<()> {
    let measured = std::env::args().any(|own| own == "--bench");
    let wanted: Vec<_> = std::env::args().skip(1).filter(|part| !part.starts_with("--")).collect();
    let is_wanted = |part: &str| wanted.is_empty() || wanted.iter().any(|own| own == part);
    let scale = std::env::var("SCALE").ok().and_then(|own| own.parse().ok());
    // `cargo test --benches` only wants to know that it runs.
    let scale = scale.unwrap_or(if measured { 1 } else { 100 });
    let program = std::env::var("CONTROLLERS").ok();
    let nodes = u32::try_from(5_000 / scale)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ground = || Ground::new(nodes, program.as_deref());
    runtime.block_on(async {
        if is_wanted("grow") {
            grow(ground().await?, scale).await?;
        }
        if is_wanted("roll") {
            roll(ground().await?, scale).await?;
        }
        if is_wanted("collect") {
            collect(ground().await?, scale).await?;
        }
        if is_wanted("many") {
            many(ground().await?, scale).await?;
        }
        if is_wanted("steady") && (measured || !wanted.is_empty()) {
            let own = program.as_deref().unwrap_or("own");
            steady(Ground::new(nodes, Some(own)).await?, scale).await?;
        }
        anyhow::Ok(())
    })
}
