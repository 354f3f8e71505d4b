//! The original's side: etcd and kube-apiserver, started as envtest starts them.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use kubeplane_pki::{
    Authority, Kubeconfig, KubeconfigUser, Request, Usage, generate_key, public_key,
};
use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long it may take until it serves.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(5);

/// Both binaries, where envtest looks for them.
pub(crate) struct Assets {
    etcd: PathBuf,
    server: PathBuf,
}

impl Assets {
    /// Those named by envtest's variables, if both are there.
    pub(crate) fn find() -> Option<Self> {
        let folder = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let find = |variable: &str, name: &str| {
            let own = std::env::var_os(variable).map(PathBuf::from);
            own.or_else(|| Some(folder.as_ref()?.join(name))).filter(|path| path.exists())
        };
        Some(Self {
            etcd: find("TEST_ASSET_ETCD", "etcd")?,
            server: find("TEST_ASSET_KUBE_APISERVER", "kube-apiserver")?,
        })
    }

    /// Starts both with an empty directory.
    pub(crate) fn start(&self) -> anyhow::Result<Original> {
        let home = tempfile::tempdir()?;
        let secrets = Secrets::write(home.path())?;
        let [clients, peers, serving] = [free_port()?, free_port()?, free_port()?];
        let etcd = Command::new(&self.etcd)
            .arg(format!("--data-dir={}", home.path().join("etcd").display()))
            .arg(format!("--listen-client-urls=http://127.0.0.1:{clients}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{clients}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peers}"))
            .arg("--unsafe-no-fsync")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("etcd")?;
        let mut original = Original { etcd, server: None, home, kubeconfig: PathBuf::new() };
        let server = Command::new(&self.server)
            .arg("--advertise-address=127.0.0.1")
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={serving}"))
            .arg(format!("--etcd-servers=http://127.0.0.1:{clients}"))
            .arg("--allow-privileged=true")
            .arg("--authorization-mode=RBAC")
            .arg("--disable-admission-plugins=ServiceAccount")
            .arg("--service-cluster-ip-range=10.0.0.0/24")
            .arg("--service-account-issuer=https://127.0.0.1/")
            .args(
                [
                    ("service-account-key-file", "sa.pub"),
                    ("service-account-signing-key-file", "sa.key"),
                    ("client-ca-file", "ca.crt"),
                    ("tls-cert-file", "serving.crt"),
                    ("tls-private-key-file", "serving.key"),
                ]
                .map(|(option, file)| {
                    format!("--{option}={}", original.home.path().join(file).display())
                }),
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("kube-apiserver")?;
        original.server = Some(server);
        original.kubeconfig = secrets.kubeconfig(original.home.path(), serving)?;
        Ok(original)
    }
}

/// A running pair; both end with it.
pub(crate) struct Original {
    etcd: Child,
    server: Option<Child>,
    home: TempDir,
    kubeconfig: PathBuf,
}

impl Original {
    /// Makes a first object, as soon as it can be made.
    pub(crate) async fn make_first(&mut self, map: &ConfigMap) -> anyhow::Result<()> {
        let begin = Instant::now();
        let file = kube::config::Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(file, &Default::default()).await?;
        let maps: Api<ConfigMap> = Api::default_namespaced(kube::Client::try_from(config)?);
        while let Err(error) = maps.create(&PostParams::default(), map).await {
            if let Some(ended) = self.ended()? {
                anyhow::bail!("it ended: {ended}");
            }
            anyhow::ensure!(begin.elapsed() < PATIENCE, "it does not serve: {error}");
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// How one of both ended, if it did.
    fn ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        for child in self.server.iter_mut().chain([&mut self.etcd]) {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }

    /// Of both processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.server.iter().chain([&self.etcd]).map(Child::id).collect()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        for child in self.server.iter_mut().chain([&mut self.etcd]) {
            // A process that ended by itself is no less gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

struct Secrets {
    authority: Authority,
}

impl Secrets {
    fn write(home: &Path) -> anyhow::Result<Self> {
        let now = jiff::Timestamp::now();
        let authority = Authority::generate("original", now)?;
        let serving = Request::new("kube-apiserver", Usage::Server)
            .names(["localhost"])
            .addresses([Ipv4Addr::LOCALHOST.into()]);
        let serving = authority.issue(&serving, now)?;
        std::fs::write(home.join("ca.crt"), authority.certificate())?;
        std::fs::write(home.join("serving.crt"), &serving.certificate)?;
        std::fs::write(home.join("serving.key"), &serving.key)?;
        let tokens = generate_key()?;
        std::fs::write(home.join("sa.pub"), public_key(&tokens)?)?;
        std::fs::write(home.join("sa.key"), tokens)?;
        Ok(Self { authority })
    }

    fn kubeconfig(&self, home: &Path, port: u16) -> anyhow::Result<PathBuf> {
        let admin = Request::new("admin", Usage::Client).organization("system:masters");
        let admin = self.authority.issue(&admin, jiff::Timestamp::now())?;
        let path = home.join("kubeconfig");
        Kubeconfig {
            cluster: "original".to_owned(),
            server: format!("https://127.0.0.1:{port}"),
            authority: self.authority.certificate().to_owned(),
            user: "admin".to_owned(),
            credentials: KubeconfigUser::Certificate(admin),
        }
        .write(&path)?;
        Ok(path)
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
