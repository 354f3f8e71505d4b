//! What is measured.

use crate::{
    figures::{Figure, Figures},
    ground::{Ground, number_of},
};
use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt, stream};
use http::Request;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// How many requests a client has under way.
const AT_ONCE: usize = 64;
/// How long a cluster without changes is looked at, and how often.
const SAMPLE: Duration = Duration::from_secs(20);
const SAMPLES: usize = 5;

fn deployment(name: &str, replicas: usize) -> anyhow::Result<Deployment> {
    let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "strategy": rolling,
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": "one"}]}}},
    }))?)
}

pub(crate) async fn grow(
    ground: Ground,
    figures: &mut Figures,
    scale: usize,
) -> anyhow::Result<()> {
    let count = 10_000 / scale;
    let deployments: Api<Deployment> = Api::default_namespaced(ground.cluster.client());
    deployments.create(&PostParams::default(), &deployment("web", 0)?).await?;
    let (cpu, begin) = (ground.cpu()?, Instant::now());
    let size = Patch::Merge(json!({"spec": {"replicas": count}}));
    deployments.patch("web", &PatchParams::default(), &size).await?;
    ground.made(count).await?;
    figures.tell(&format!("a Deployment from 0 to {count} pods, made"), begin.elapsed(), "3 s");
    ground.none("spec.nodeName=").await?;
    figures.tell("  bound", begin.elapsed(), "5 s");
    ground.none("status.phase=Pending").await?;
    figures.tell("  running", begin.elapsed(), "-");
    ground
        .until("it is not ready", async || {
            let web = deployments.get("web").await?;
            let ready = web.status.and_then(|status| status.ready_replicas).unwrap_or_default();
            Ok(usize::try_from(ready)? == count)
        })
        .await?;
    figures.tell("  ready, as its status says", begin.elapsed(), "-");
    ground.finish(figures, cpu).await
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

    /// Sees every change after this version, however long it takes.
    async fn follow(&mut self, pods: &Api<Pod>, mut version: String) -> anyhow::Result<()> {
        let params = WatchParams::default().timeout(290);
        loop {
            let mut events = pods.watch(&params, &version).await?.boxed();
            while let Some(event) = events.try_next().await? {
                match &event {
                    WatchEvent::Added(pod)
                    | WatchEvent::Modified(pod)
                    | WatchEvent::Deleted(pod) => {
                        version = pod.metadata.resource_version.clone().unwrap_or_default();
                    }
                    WatchEvent::Bookmark(mark) => {
                        version.clone_from(&mark.metadata.resource_version);
                    }
                    WatchEvent::Error(status) => anyhow::bail!("{}", status.message),
                }
                self.see(event);
            }
        }
    }
}

pub(crate) async fn roll(
    ground: Ground,
    figures: &mut Figures,
    scale: usize,
) -> anyhow::Result<()> {
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
        tokio::select! {
            biased;
            _ = stopped => {}
            ended = seen.follow(&pods, version) => ended?,
        }
        anyhow::Ok(seen)
    });
    let (cpu, begin) = (ground.cpu()?, Instant::now());
    let containers = json!([{"name": "c", "image": "two"}]);
    let change = json!({"spec": {"template": {"spec": {"containers": containers}}}});
    deployments.patch("web", &PatchParams::default(), &Patch::Merge(change)).await?;
    ground.until("it is not rolled out", &settled).await?;
    figures.tell(&format!("rolling update of {count} replicas"), begin.elapsed(), "5 s");
    let _ = stop.send(());
    let seen = watching.await??;
    let quarter = count / 4;
    let most = count + count.div_ceil(4);
    figures.tell(
        "  pods at once, most",
        Figure::Number(seen.most as f64),
        &format!("at most {most}"),
    );
    figures.tell(
        "  ready pods, fewest",
        Figure::Number(seen.least_ready as f64),
        &format!("at least {}", count - quarter),
    );
    let kept = seen.most <= most && seen.least_ready >= count - quarter;
    // What the original does is only told.
    anyhow::ensure!(kept || !ground.is_own, "a budget was violated");
    ground.finish(figures, cpu).await
}

pub(crate) async fn collect(
    ground: Ground,
    figures: &mut Figures,
    scale: usize,
) -> anyhow::Result<()> {
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
    figures.tell(&format!("{count} dependents deleted with their owner"), begin.elapsed(), "3 s");
    ground.finish(figures, cpu).await
}

pub(crate) async fn many(
    ground: Ground,
    figures: &mut Figures,
    scale: usize,
) -> anyhow::Result<()> {
    let count = 1_000 / scale;
    let deployments: Api<Deployment> = Api::default_namespaced(ground.cluster.client());
    let (cpu, begin) = (ground.cpu()?, Instant::now());
    let made = stream::iter(0..count).map(|index| {
        let (deployments, web) = (deployments.clone(), deployment(&format!("web-{index}"), 10));
        async move { anyhow::Ok(deployments.create(&PostParams::default(), &web?).await.map(drop)?) }
    });
    made.buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await?;
    ground.made(count * 10).await?;
    figures.tell(&format!("{count} Deployments of 10 replicas, pods made"), begin.elapsed(), "5 s");
    ground.none("status.phase=Pending").await?;
    figures.tell("  running", begin.elapsed(), "-");
    ground.finish(figures, cpu).await
}

/// How many objects are read at a time.
const PAGE: usize = 2_000;

/// How many bytes of JSON all objects of a kind are: whole, and without what caches leave out, who manages which field.
async fn json_of(ground: &Ground, path: &str) -> anyhow::Result<[usize; 2]> {
    let client = ground.cluster.client();
    let (mut sizes, mut more) = ([0; 2], String::new());
    loop {
        let uri = format!("{path}?limit={PAGE}&continue={more}");
        let text = client.request_text(Request::get(uri).body(Vec::new())?).await?;
        let mut page: Value = serde_json::from_str(&text)?;
        for item in page["items"].as_array_mut().into_iter().flatten() {
            if let Some(metadata) = item["metadata"].as_object_mut() {
                metadata.remove("managedFields");
            }
        }
        sizes[0] += text.len();
        sizes[1] += page.to_string().len();
        more = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        if more.is_empty() {
            return Ok(sizes);
        }
    }
}

/// `whole` to look as long as it takes for a figure that says something.
pub(crate) async fn steady(
    ground: Ground,
    figures: &mut Figures,
    scale: usize,
    whole: bool,
) -> anyhow::Result<()> {
    let count = 100_000 / scale;
    let sets = 20;
    let deployments: Api<Deployment> = Api::default_namespaced(ground.cluster.client());
    for index in 0..sets {
        let web = deployment(&format!("web-{index}"), count / sets)?;
        deployments.create(&PostParams::default(), &web).await?;
    }
    ground.made(count / sets * sets).await?;
    ground.none("status.phase=Pending").await?;
    let sample = if whole { SAMPLE } else { Duration::from_secs(1) };
    // Until nothing follows from that any more.
    tokio::time::sleep(sample).await;
    let apart = ground.apart.as_ref().context("the controllers are apart")?;
    let begun = ground.cpu()?;
    for _ in 0..SAMPLES {
        let (before, begin) = (ground.cpu()?, Instant::now());
        tokio::time::sleep(sample).await;
        let share = (ground.cpu()? - before).as_secs_f64() / begin.elapsed().as_secs_f64();
        let what = format!("{count} pods and no change, computed");
        figures.tell(&what, Figure::Percent(share), "1 % of a core");
    }
    let mut cached = [0; 2];
    for path in [
        "/api/v1/pods",
        "/api/v1/nodes",
        "/apis/apps/v1/replicasets",
        "/apis/apps/v1/deployments",
        "/apis/coordination.k8s.io/v1/leases",
    ] {
        let sizes = json_of(&ground, path).await?;
        cached = [cached[0] + sizes[0], cached[1] + sizes[1]];
    }
    let resident = apart.lock().resident()? as f64 * 1024.0;
    let [whole, kept] = cached.map(|size| size as f64);
    figures.tell("  memory", Figure::Bytes(resident), "-");
    figures.tell("  the JSON of what they cache", Figure::Bytes(whole), "-");
    figures.tell("  memory for each byte of it", Figure::Number(resident / whole), "2");
    figures.tell("  the same without managed fields", Figure::Bytes(kept), "-");
    figures.tell("  memory for each byte of that", Figure::Number(resident / kept), "-");
    ground.finish(figures, begun).await
}
