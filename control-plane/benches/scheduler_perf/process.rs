//! The scheduler that is measured.

use kubeplane::testing::TestCluster;
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How much of what a process said is shown when it ends, in lines.
const LAST: usize = 20;

/// Which scheduler it is.
#[derive(Debug, Clone)]
pub(crate) enum Chosen {
    /// Ours, in this process.
    Inside,
    /// Ours, in a process of its own.
    Own,
    /// The original's kube-scheduler at this path.
    Original(PathBuf),
}

impl Chosen {
    /// What the variable `SCHEDULER` says: nothing, `own`, or a path.
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "" => Self::Inside,
            "own" => Self::Own,
            path => Self::Original(path.into()),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Inside => "ours, in this process".to_owned(),
            Self::Own => "ours, in a process of its own".to_owned(),
            Self::Original(path) => path.display().to_string(),
        }
    }

    pub(crate) fn is_apart(&self) -> bool {
        !matches!(self, Self::Inside)
    }

    /// Starts it for a cluster that listens, with what is said beside its configuration as YAML; `None` when it runs in this
    /// process.
    pub(crate) fn start(&self, cluster: &TestCluster, more: &str) -> Result<Option<Apart>, String> {
        let directory = cluster.directory();
        let kubeconfig = cluster.kubeconfig().ok_or("the cluster does not listen")?;
        let config = configuration(directory, kubeconfig, more)?;
        let mut command = match self {
            Self::Inside => return Ok(None),
            Self::Own => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_kubeplane"));
                command.args(["scheduler", "--listen=127.0.0.1:0", "--data-dir"]);
                command.arg(directory.join("scheduler"));
                command.arg("--kubeconfig").arg(kubeconfig);
                command
            }
            Self::Original(path) => {
                let mut command = Command::new(path);
                // Nobody asks it anything.
                command.arg("--secure-port=0");
                command
            }
        };
        let log = directory.join("scheduler.log");
        let said = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        command.arg("--config").arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().map_err(|error| format!("{}: {error}", self.name()))?;
        Ok(Some(Apart { child, log }))
    }
}

/// The same for both: no election, and as many requests as the original's own measurement lets it make.
fn configuration(directory: &Path, kubeconfig: &Path, more: &str) -> Result<PathBuf, String> {
    let text = format!(
        "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {{leaderElect: false}}
clientConnection: {{kubeconfig: {:?}, qps: 5000, burst: 5000}}{more}
",
        kubeconfig.display().to_string()
    );
    let path = directory.join("scheduler.yaml");
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// A scheduler in a process of its own; it ends with this.
#[derive(Debug)]
pub(crate) struct Apart {
    child: Child,
    log: PathBuf,
}

impl Apart {
    /// Returns when the process has ended by itself, with what it said last.
    pub(crate) async fn ended(&mut self) -> String {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    break format!("the scheduler ended: {status}\n{}", self.last());
                }
                Ok(None) => tokio::time::sleep(Duration::from_millis(200)).await,
                Err(error) => break format!("the scheduler: {error}"),
            }
        }
    }

    /// What it said last.
    pub(crate) fn last(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST)..].join("\n")
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
