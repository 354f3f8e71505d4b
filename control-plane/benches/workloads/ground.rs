//! What is measured on.

use crate::figures::Figures;
use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::{Api, api::ListParams};
use kubeplane::testing::TestCluster;
use parking_lot::Mutex;
use std::{
    fs::File,
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
pub(crate) struct Apart {
    child: Child,
    /// What it says.
    log: PathBuf,
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How much of what it said last is shown when it ends by itself.
const LAST_WORDS: usize = 20;

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
        let log = cluster.directory().join("controllers.log");
        let file = File::create(&log)?;
        let child = command.stdout(Stdio::null()).stderr(file).spawn();
        Ok(Self { child: child.with_context(|| format!("{who:?}"))?, log })
    }

    /// What it computed so far, in user and kernel.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let (_, rest) = stat.rsplit_once(") ").context("stat")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Fails when it has ended, for then nothing more comes.
    fn check(&mut self) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
        anyhow::bail!("the controllers have ended: {status}\n{}", last.join("\n"))
    }

    /// Its resident memory, in KiB.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }
}

/// A cluster with nodes and a scheduler, and the controllers that are measured.
pub(crate) struct Ground {
    pub(crate) cluster: TestCluster,
    pub(crate) apart: Option<Mutex<Apart>>,
    /// Whether what goes wrong is ours.
    pub(crate) is_own: bool,
}

/// The longest time that is waited for controllers to come to rest after their start.
const REST: u32 = 120;

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
        let ground = Self { cluster, apart, is_own: !matches!(who, Who::Original(_)) };
        let accounts: Api<ServiceAccount> = Api::default_namespaced(ground.cluster.client());
        let works = async || anyhow::Ok(accounts.get_opt("default").await?.is_some());
        ground.until("the controllers do not work", works).await?;
        ground.rest().await?;
        Ok(ground)
    }

    /// Nothing is to be left of the start, as thousands of nodes that are looked at for the first time: waits until the
    /// controllers compute no less from one second to the next.
    async fn rest(&self) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut last = f64::MAX;
        for _ in 0..REST {
            let before = self.cpu()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let now = (self.cpu()? - before).as_secs_f64();
            if now < 0.05 || (now > last * 0.8 && now < 0.5) {
                return Ok(());
            }
            last = now;
        }
        Ok(())
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
