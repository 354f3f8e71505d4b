//! What is measured on.

use crate::figures::Figures;
use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, api::ListParams};
use kubeplane::testing::TestCluster;
use parking_lot::Mutex;
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const LOOK: Duration = Duration::from_millis(5);
/// What cannot be over by then never is.
const PATIENCE: Duration = Duration::from_secs(600);
/// The name of the figure that is compared.
pub(crate) const COMPUTED: &str = "  computed by the controllers";

/// Whose controllers.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    /// Ours, in this process.
    Here,
    /// Ours, in a process of their own.
    Apart,
    /// The original's kube-controller-manager, this program.
    Original(PathBuf),
}

/// The controllers in a process of their own.
pub(crate) struct Apart(Child);

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Apart {
    fn start(cluster: &TestCluster, who: &Who) -> anyhow::Result<Self> {
        let kubeconfig = cluster.kubeconfig().context("the cluster listens")?;
        let mut command = if let Who::Original(program) = who {
            let mut command = Command::new(program);
            command.args([
                "--leader-elect=false",
                "--kube-api-qps=100000",
                "--kube-api-burst=100000",
                "--secure-port=0",
                "--concurrent-deployment-syncs=50",
                "--concurrent-replicaset-syncs=50",
                "--concurrent-gc-syncs=50",
            ]);
            command
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_kubeplane"));
            command.args([
                "controllers",
                "--leader-elect=false",
                "--listen=127.0.0.1:0",
                "--data-dir",
            ]);
            command.arg(cluster.directory().join("controllers"));
            command
        };
        command.arg("--kubeconfig").arg(kubeconfig);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self(child.with_context(|| format!("{who:?}"))?))
    }

    /// What it computed so far, in user and kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let (_, rest) = stat.rsplit_once(") ").context("stat")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Fails when it has ended, for then nothing more comes.
    fn check(&mut self) -> anyhow::Result<()> {
        match self.0.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("the controllers have ended: {status}"),
        }
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

/// A cluster with nodes and a scheduler, and the controllers that are measured.
pub(crate) struct Ground {
    pub(crate) cluster: TestCluster,
    pub(crate) apart: Option<Mutex<Apart>>,
}

impl Ground {
    pub(crate) async fn new(nodes: u32, who: &Who) -> anyhow::Result<Self> {
        let builder = TestCluster::builder().scheduler().simulated_nodes(nodes.max(1));
        let builder = match who {
            Who::Here => builder.controllers(),
            Who::Apart | Who::Original(_) => builder.listen(),
        };
        let cluster = builder.start().await?;
        let apart = match who {
            Who::Here => None,
            Who::Apart | Who::Original(_) => Some(Mutex::new(Apart::start(&cluster, who)?)),
        };
        let ground = Self { cluster, apart };
        let accounts: Api<ServiceAccount> = Api::default_namespaced(ground.cluster.client());
        let works = async || anyhow::Ok(accounts.get_opt("default").await?.is_some());
        ground.until("the controllers do not work", works).await?;
        // Nothing is to be left of the start.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(ground)
    }

    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.apart.as_ref().map_or(Ok(Duration::ZERO), |apart| apart.lock().cpu())
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::default_namespaced(self.cluster.client())
    }

    pub(crate) async fn until(
        &self,
        what: &str,
        check: impl AsyncFn() -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !check().await? {
            anyhow::ensure!(begin.elapsed() < PATIENCE, "{what}");
            if let Some(apart) = &self.apart {
                apart.lock().check()?;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits for so many pods.
    pub(crate) async fn made(&self, count: usize) -> anyhow::Result<()> {
        let pods = self.pods();
        self.until("pods are missing", async || Ok(number_of(&pods).await? == count)).await
    }

    /// Waits until no pod is without what this field selector leaves out.
    pub(crate) async fn none(&self, fields: &str) -> anyhow::Result<()> {
        let (pods, left) = (self.pods(), ListParams::default().fields(fields).limit(1));
        self.until(fields, async || Ok(pods.list(&left).await?.items.is_empty())).await
    }

    /// Tells what the controllers computed since `cpu`, and ends everything.
    pub(crate) async fn finish(self, figures: &mut Figures, cpu: Duration) -> anyhow::Result<()> {
        if self.apart.is_some() {
            figures.tell(COMPUTED, self.cpu()?.saturating_sub(cpu), "-");
        }
        drop(self.apart);
        self.cluster.stop().await?;
        Ok(())
    }
}

/// How many objects there are: asked for one, and told how many remain.
pub(crate) async fn number_of<K>(api: &Api<K>) -> anyhow::Result<usize>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let list = api.list_metadata(&ListParams::default().limit(1)).await?;
    let rest = list.metadata.remaining_item_count.unwrap_or_default();
    Ok(list.items.len() + usize::try_from(rest)?)
}
