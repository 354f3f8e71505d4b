//! The server and kubectl as processes.

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(1);
const KUBECONFIG: &str = "admin.kubeconfig";

/// The program that is measured.
pub(crate) fn program() -> OsString {
    std::env::var_os("KUBEPLANE").unwrap_or_else(|| env!("CARGO_BIN_EXE_kubeplane").into())
}

/// A running `kubeplane serve`; killed when dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it on these data and waits until `/readyz` says so.
    pub(crate) fn start(data: &Path, more: &[String]) -> anyhow::Result<Self> {
        let [port, kubelet] = [free_port()?, free_port()?];
        let child = Command::new(program())
            .arg("serve")
            .arg(format!("--data-dir={}", data.display()))
            .arg(format!("--listen=0.0.0.0:{port}"))
            .arg(format!("--kubelet-listen=0.0.0.0:{kubelet}"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("the program")?;
        let mut server = Self(child);
        let url = format!("https://127.0.0.1:{port}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(server.ready(&data.join(KUBECONFIG), &url))?;
        Ok(server)
    }

    async fn ready(&mut self, kubeconfig: &Path, url: &str) -> anyhow::Result<()> {
        let begin = Instant::now();
        while let Err(error) = ask(kubeconfig, url).await {
            if let Some(status) = self.0.try_wait()? {
                anyhow::bail!("it ended: {status}");
            }
            anyhow::ensure!(begin.elapsed() < PATIENCE, "it is not ready: {error}");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Resident memory in MiB.
    pub(crate) fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Asks it to stop and waits for its end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        let status = self.0.wait()?;
        anyhow::ensure!(status.success(), "it did not stop well: {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that was stopped is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file is there from the first start on, with an address that may be that of the last one.
async fn ask(kubeconfig: &Path, url: &str) -> anyhow::Result<()> {
    let file = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
    config.cluster_url = url.parse()?;
    let request = http::Request::get("/readyz").body(Vec::new())?;
    kube::Client::try_from(config)?.request_text(request).await?;
    Ok(())
}

/// The administrator's kubectl.
pub(crate) struct Kubectl(PathBuf);

impl Kubectl {
    pub(crate) fn of(data: &Path) -> Self {
        Self(data.join(KUBECONFIG))
    }

    /// What it prints, if it does not fail.
    pub(crate) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut kubectl = Command::new("kubectl");
        let output = kubectl.arg("--kubeconfig").arg(&self.0).args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "kubectl {arguments:?}: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks again until a field of an object is so.
    pub(crate) fn wait_for(&self, value: &str, get: &[&str], field: &str) -> anyhow::Result<()> {
        let output = format!("--output=jsonpath={field}");
        let arguments = [get, &[output.as_str()]].concat();
        let begin = Instant::now();
        while self.run(&arguments)? != value {
            anyhow::ensure!(begin.elapsed() < PATIENCE, "{field} of {get:?} is not {value}");
        }
        Ok(())
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
