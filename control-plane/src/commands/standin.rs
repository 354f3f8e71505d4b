//! What the binary is under other names: the two programs that envtest of controller-runtime starts.
//!
//! Links called `kube-apiserver` and `etcd` that lead to it are what `TEST_ASSET_KUBE_APISERVER` and
//! `TEST_ASSET_ETCD`, or the directory in `KUBEBUILDER_ASSETS`, ask for. The API server keeps its objects in memory;
//! the etcd says that it is well, and stores nothing. Flags that neither needs are taken and have no effect.

use super::admission;
use crate::cli::AdmissionArgs;
use anyhow::{Context as _, bail};
use axum::{Json, Router, routing::get};
use kubeplane::{
    api::ApiOptions, auth::X509, clock, pki::Identity, shutdown_signal, testing::TestCluster,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};
use tokio::net::TcpListener;

/// Flags with a meaning here.
const APISERVER_FLAGS: [&str; 9] = [
    "bind-address",
    "cert-dir",
    "client-ca-file",
    "disable-admission-plugins",
    "enable-admission-plugins",
    "feature-gates",
    "runtime-config",
    "secure-port",
    "service-cluster-ip-range",
];
const ETCD_FLAGS: [&str; 1] = ["listen-client-urls"];

/// A program the binary stands in for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StandIn {
    Apiserver,
    Etcd,
}

impl StandIn {
    /// Which one it was called as, if any.
    pub(crate) fn called() -> Option<Self> {
        let program = PathBuf::from(std::env::args_os().next()?);
        match program.file_name()?.to_str()? {
            "kube-apiserver" => Some(Self::Apiserver),
            "etcd" => Some(Self::Etcd),
            _ => None,
        }
    }

    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if arguments.iter().any(|argument| matches!(argument.as_str(), "--help" | "-h")) {
            return self.help();
        }
        let flags = flags(&arguments)?;
        match self {
            Self::Apiserver => apiserver(&flags).await,
            Self::Etcd => etcd(&flags).await,
        }
    }

    /// As envtest looks for flags in it.
    fn help(self) -> anyhow::Result<()> {
        let known = match self {
            Self::Apiserver => &APISERVER_FLAGS[..],
            Self::Etcd => &ETCD_FLAGS[..],
        };
        let mut out = io::stdout().lock();
        writeln!(out, "kubeplane, standing in. Flags that are not named here have no effect:\n")?;
        for flag in known {
            writeln!(out, "  --{flag} VALUE")?;
        }
        Ok(())
    }
}

type Flags = BTreeMap<String, String>;

/// `--name=value`, `--name value` or `--name`; of several the last.
fn flags(arguments: &[String]) -> anyhow::Result<Flags> {
    let mut flags = Flags::new();
    let mut rest = arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        let Some(flag) = argument.strip_prefix("--").or(argument.strip_prefix('-')) else {
            bail!("{argument:?} is no flag");
        };
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let value = rest.next_if(|next| !next.starts_with('-'));
                (flag, value.cloned().unwrap_or_else(|| "true".to_owned()))
            }
        };
        flags.insert(name.to_owned(), value);
    }
    Ok(flags)
}

/// A flag's value as its type, with the flag named when it is none.
fn read<T: std::str::FromStr>(flags: &Flags, name: &str) -> anyhow::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    flags.get(name).map(|value| value.parse().with_context(|| format!("--{name}"))).transpose()
}

fn list(flags: &Flags, name: &str) -> Vec<String> {
    flags.get(name).into_iter().flat_map(|names| names.split(',')).map(str::to_owned).collect()
}

async fn apiserver(flags: &Flags) -> anyhow::Result<()> {
    let address = read(flags, "bind-address")?.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let listen = SocketAddr::new(address, read(flags, "secure-port")?.unwrap_or(6443));
    let mut options = ApiOptions {
        admission: admission::plugins(&AdmissionArgs {
            enable_admission_plugins: list(flags, "enable-admission-plugins"),
            disable_admission_plugins: list(flags, "disable-admission-plugins"),
            admission_control_config_file: None,
        })?,
        features: read(flags, "feature-gates")?.unwrap_or_default(),
        versions: read(flags, "runtime-config")?.unwrap_or_default(),
        ..ApiOptions::default()
    };
    if let Some(ranges) = flags.get("service-cluster-ip-range") {
        let ranges: Result<_, _> = ranges.split(',').map(str::parse).collect();
        options.service_ranges = ranges.context("--service-cluster-ip-range")?;
    }
    let mut builder = TestCluster::builder().options(options).listen_on(listen);
    if let Some(directory) = flags.get("cert-dir").map(Path::new)
        && directory.join("apiserver.crt").exists()
    {
        let certificate = text(&directory.join("apiserver.crt"))?;
        let key = text(&directory.join("apiserver.key"))?;
        builder = builder.serving(Identity { certificate, key });
    }
    if let Some(file) = flags.get("client-ca-file") {
        let authorities = text(Path::new(file))?;
        X509::from_pem(&authorities, clock::real()).with_context(|| file.clone())?;
        builder = builder.api(move |server| {
            // Known to be good.
            match X509::from_pem(&authorities, clock::real()) {
                Ok(users) => server.authenticate(users),
                Err(_) => server,
            }
        });
    }
    let cluster = builder.start().await?;
    shutdown_signal().await;
    cluster.stop().await?;
    Ok(())
}

fn text(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("{}", file.display()))
}

async fn etcd(flags: &Flags) -> anyhow::Result<()> {
    let urls = flags.get("listen-client-urls").map_or("http://127.0.0.1:2379", String::as_str);
    let first = urls.split(',').next().unwrap_or_default();
    let address = first.trim_start_matches("http://").trim_end_matches('/');
    let listener = TcpListener::bind(address).await.with_context(|| first.to_owned())?;
    let well = async || Json(json!({"health": "true", "reason": ""}));
    let router = Router::new().route("/health", get(well));
    axum::serve(listener, router).with_graceful_shutdown(shutdown_signal()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::flags;

    #[test]
    fn flags_are_taken_in_every_form() {
        let arguments = ["--a=b", "--c", "d", "-e", "--f=g=h", "--a=i"].map(str::to_owned);
        let expected = [("a", "i"), ("c", "d"), ("e", "true"), ("f", "g=h")];
        let read = flags(&arguments).unwrap();
        let read: Vec<_> =
            read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(read, expected);
        assert!(flags(&["a".to_owned()]).is_err());
    }
}
