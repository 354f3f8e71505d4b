//! The command line.

mod audit;
mod controllers;
mod flags;
#[cfg(feature = "testing")]
mod testing;

use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use kubeplane::{runtime::RuntimeChoice, runtime_cri::SimulatedOptions};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

pub(crate) use audit::AuditArgs;
pub(crate) use controllers::{ElectionArgs, ManagerArgs, SettingsArgs};
pub(crate) use flags::flags;
#[cfg(feature = "testing")]
pub(crate) use testing::{SimulateArgs, SimulationArgs, TestserverArgs};

/// A Kubernetes control plane in one binary.
#[derive(Debug, Parser)]
#[command(name = "kubeplane", version, about, long_about = None, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    /// What to run; a whole cluster by default.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A whole single-node cluster in this process (the default).
    Serve(ServeArgs),
    /// An API server on a store.
    Apiserver(ApiserverArgs),
    /// The scheduler, against a kubeconfig.
    Scheduler(SchedulerArgs),
    /// The controller manager, against a kubeconfig.
    Controllers(Box<ControllersArgs>),
    /// A node's kubelet, against a kubeconfig.
    Kubelet(KubeletArgs),
    /// The service proxy of a node, against a kubeconfig.
    Proxy(ProxyArgs),
    /// Save, restore or look at the embedded store.
    Snapshot(SnapshotArgs),
    /// A cluster in memory for tests: prints its kubeconfig when it is ready, ends when its input does.
    #[cfg(feature = "testing")]
    Testserver(TestserverArgs),
    /// Nodes without machines, against a kubeconfig.
    #[cfg(feature = "testing")]
    Simulate(SimulateArgs),
}

/// Where objects are stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum StoreChoice {
    /// In the data directory.
    #[default]
    Embedded,
    /// In etcd, at these URLs.
    Etcd(Vec<String>),
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("etcd=")) {
            ("memory" | "embedded", _) => Ok(Self::Embedded),
            (_, Some(urls)) if !urls.is_empty() => {
                Ok(Self::Etcd(urls.split(',').map(str::to_owned).collect()))
            }
            _ => Err("expected memory or etcd=URL[,URL...]".into()),
        }
    }
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogArgs {
    /// What to log: a level, or directives as in `info,kubeplane_apiserver=debug`.
    #[arg(long, env = "KUBEPLANE_LOG", default_value = "warn")]
    pub(crate) log: String,
}

/// What an API server needs to know.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApiArgs {
    /// Where data, keys and kubeconfigs are kept.
    #[arg(long, env = "KUBEPLANE_DATA_DIR", default_value = "./kubeplane-data")]
    pub(crate) data_dir: PathBuf,
    /// Where the API server listens; port 0 picks a free one.
    #[arg(long, default_value = "0.0.0.0:6443")]
    pub(crate) listen: SocketAddr,
    /// The address others reach this machine at; found out by default.
    #[arg(long)]
    pub(crate) advertise_address: Option<IpAddr>,
    /// Further names or addresses the serving certificate is good for.
    #[arg(long = "tls-san", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// Where objects are stored: memory (in the data directory) or etcd=URL[,URL...].
    #[arg(long, default_value = "memory")]
    pub(crate) store: StoreArg,
    #[command(flatten)]
    pub(crate) etcd: EtcdArgs,
    /// Feature gates: Name=true,Other=false. May be given several times.
    #[arg(long, value_name = "GATES")]
    pub(crate) feature_gates: Vec<String>,
    /// Switch group-versions on and off: group/version=true, group/version/resource=false, api/all, api/ga,
    /// api/beta or api/alpha. May be given several times.
    #[arg(long, value_name = "VERSIONS")]
    pub(crate) runtime_config: Vec<String>,
    #[command(flatten)]
    pub(crate) admission: AdmissionArgs,
    #[command(flatten)]
    pub(crate) audit: AuditArgs,
    /// Cluster addresses of Services: a range, or two of different families with a comma between, the first of
    /// which is what Services get by default.
    #[arg(
        long,
        alias = "service-cluster-ip-range",
        value_delimiter = ',',
        default_value = "10.96.0.0/16"
    )]
    pub(crate) service_cidr: Vec<IpNet>,
    /// Do not make the StorageClass standard, whose volumes are directories of nodes.
    #[arg(long)]
    pub(crate) no_local_storage: bool,
    /// Acknowledge writes of keys that begin so before they are on the disk (embedded store), as in
    /// /registry/leases/; a loss of power may lose the last of them. May be given several times.
    #[arg(long = "store-relaxed-prefix", value_name = "PREFIX")]
    pub(crate) relaxed: Vec<String>,
    /// Start although a file of the embedded store is damaged, and drop what cannot be read. What was dropped
    /// is said; it is lost.
    #[arg(long)]
    pub(crate) accept_data_loss_from_damaged_store: bool,
}

/// Which admission steps run.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdmissionArgs {
    /// Admission steps to run beside those that run by default, as in AlwaysPullImages.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) enable_admission_plugins: Vec<String>,
    /// Admission steps not to run.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) disable_admission_plugins: Vec<String>,
    /// A file with an AdmissionConfiguration, for PodSecurity, EventRateLimit and ResourceQuota.
    #[arg(long, value_name = "FILE")]
    pub(crate) admission_control_config_file: Option<PathBuf>,
}

/// How to be let in by etcd, for `--store etcd=...`.
#[derive(Debug, Clone, Args)]
pub(crate) struct EtcdArgs {
    /// The authorities (PEM) of etcd's certificates, for https URLs. These files are read for each connection.
    #[arg(long)]
    pub(crate) etcd_cafile: Option<PathBuf>,
    /// The certificate (PEM) to show etcd.
    #[arg(long, requires = "etcd_keyfile")]
    pub(crate) etcd_certfile: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, requires = "etcd_certfile")]
    pub(crate) etcd_keyfile: Option<PathBuf>,
    /// The user to be for etcd; the password is in --etcd-password-file or KUBEPLANE_ETCD_PASSWORD.
    #[arg(long)]
    pub(crate) etcd_user: Option<String>,
    /// A file with the password of that user, read at each login.
    #[arg(long, requires = "etcd_user")]
    pub(crate) etcd_password_file: Option<PathBuf>,
    /// What all keys in etcd begin with.
    #[arg(long, default_value = "/registry")]
    pub(crate) etcd_prefix: String,
}

/// [`StoreChoice`] as clap wants it.
pub(crate) type StoreArg = StoreChoice;

/// What a node needs to know.
#[derive(Debug, Clone, Args)]
pub(crate) struct NodeArgs {
    /// The node's name; the machine's by default.
    #[arg(long)]
    pub(crate) node_name: Option<String>,
    /// The container runtime: auto, simulated or cri=SOCKET.
    #[arg(long, default_value = "auto")]
    pub(crate) runtime: RuntimeChoice,
    /// Where the kubelet listens; port 0 picks a free one.
    #[arg(long, default_value = "0.0.0.0:10250")]
    pub(crate) kubelet_listen: SocketAddr,
    /// The range this node's pods have their addresses from.
    #[arg(long, default_value = "10.244.0.0/24")]
    pub(crate) pod_cidr: IpNet,
    /// Where network configurations of the runtime are looked for.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub(crate) cni_conf_dir: PathBuf,
    /// After which time a simulated container ends whose command is not known, if its pod's restart policy is
    /// Never or OnFailure; as in 500ms, 5s or 1m 30s.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub(crate) simulated_exit_delay: Duration,
}

impl NodeArgs {
    /// How a simulated runtime is to behave, if it comes to one.
    pub(crate) fn simulated(&self) -> SimulatedOptions {
        SimulatedOptions {
            exit_delay: self.simulated_exit_delay,
            pod_cidr: self.pod_cidr.to_string(),
            ..SimulatedOptions::default()
        }
    }
}

/// A time that is not negative, with its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let signed = text.parse::<jiff::SignedDuration>().map_err(|error| error.to_string())?;
    Duration::try_from(signed).map_err(|_| "must not be negative".to_owned())
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Do not run the service proxy, even where it could.
    #[arg(long)]
    pub(crate) no_proxy: bool,
    /// Which controllers to run: `*`, names, and `-name` to leave one out.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub(crate) controllers: Vec<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ApiserverArgs {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    /// Also write a kubeconfig for the kubelet of this node; may be given several times.
    #[arg(long = "node", value_name = "NAME")]
    pub(crate) nodes: Vec<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What a component in a process of its own needs to know.
#[derive(Debug, Clone, Args)]
pub(crate) struct ComponentArgs {
    /// How to reach the API server, and as whom.
    #[arg(long, env = "KUBECONFIG")]
    pub(crate) kubeconfig: PathBuf,
    /// Where keys are kept; certificates are made from the authority found in it.
    #[arg(long, env = "KUBEPLANE_DATA_DIR", default_value = "./kubeplane-data")]
    pub(crate) data_dir: PathBuf,
}

/// What a component's health and metrics are served with, and who may read them beside those who show a token.
#[derive(Debug, Clone, Args)]
pub(crate) struct ClientArgs {
    /// The authorities (PEM) whose client certificates are believed; by default those that the kubeconfig
    /// trusts.
    #[arg(long)]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// The certificate it serves with (PEM, with those between it and the authority); by default one of the authority
    /// found in the data directory, else a self-signed one.
    #[arg(long, requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SchedulerArgs {
    /// Only ask the scheduler something.
    #[command(subcommand)]
    pub(crate) question: Option<SchedulerQuestion>,
    #[command(flatten)]
    pub(crate) component: ComponentArgs,
    /// A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): profiles, plugins and their arguments.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Where health and metrics are served.
    #[arg(long, default_value = "127.0.0.1:10259")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) clients: ClientArgs,
    /// Feature gates: Name=true,Other=false. May be given several times; those of the API server are to be the same.
    #[arg(long, value_name = "GATES")]
    pub(crate) feature_gates: Vec<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// What the scheduler can be asked.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SchedulerQuestion {
    /// What each plugin says of each node for a pod, as the cluster is now.
    Explain {
        /// The pod.
        pod: String,
        /// Its namespace.
        #[arg(long, short, default_value = "default")]
        namespace: String,
        /// `table` or `json`.
        #[arg(long, short, default_value = "table", value_parser = ["table", "json"])]
        output: String,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ControllersArgs {
    #[command(flatten)]
    pub(crate) component: ComponentArgs,
    /// Which controllers to run: `*`, names, and `-name` to leave one out.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub(crate) controllers: Vec<String>,
    /// Run only while holding a lease, by default `kube-system/kube-controller-manager`.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true")]
    pub(crate) leader_elect: bool,
    #[command(flatten)]
    pub(crate) election: ElectionArgs,
    /// Where health and metrics are served.
    #[arg(long, default_value = "127.0.0.1:10257")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) clients: ClientArgs,
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    #[command(flatten)]
    pub(crate) manager: ManagerArgs,
    /// Feature gates: Name=true,Other=false. May be given several times; those of the API server are to be the same.
    #[arg(long, value_name = "GATES")]
    pub(crate) feature_gates: Vec<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct KubeletArgs {
    #[command(flatten)]
    pub(crate) component: ComponentArgs,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// The node's address; found out by default.
    #[arg(long)]
    pub(crate) node_ip: Option<IpAddr>,
    /// The certificate the kubelet serves with (PEM, with those between it and the authority); by default
    /// one of the authority found in the data directory, else a self-signed one.
    #[arg(long, requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The key of that certificate (PEM).
    #[arg(long, requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// A kubeconfig whose user may ask for the node's client certificate, as one with a bootstrap token. It is used when
    /// the one of --kubeconfig is not there, or its certificate has ended: that is then written anew, with the
    /// certificate in --cert-dir, for which another is asked before it ends.
    #[arg(long, value_name = "FILE")]
    pub(crate) bootstrap_kubeconfig: Option<PathBuf>,
    /// Ask for the next client certificate through the API before the present one, of whatever kubeconfig, ends, and at
    /// once where that is not the node's own. The kubeconfig stays as it is: what is in --cert-dir counts more.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) rotate_certificates: bool,
    /// Where a client certificate that was asked for is kept with its key, as kubelet-client-current.pem; by default
    /// kubelet/pki in the data directory.
    #[arg(long, value_name = "DIR")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// Ask for a serving certificate through the API, and for the next one in time. Who may must approve it.
    #[arg(long)]
    pub(crate) rotate_server_certificates: bool,
    /// The authorities (PEM) whose client certificates are believed; by default those that the kubeconfig
    /// trusts.
    #[arg(long)]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Feature gates: Name=true,Other=false. May be given several times; those of the API server are to be the same.
    #[arg(long, value_name = "GATES")]
    pub(crate) feature_gates: Vec<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ProxyArgs {
    #[command(flatten)]
    pub(crate) component: ComponentArgs,
    /// The node's name; the machine's by default.
    #[arg(long)]
    pub(crate) node_name: Option<String>,
    /// The node's address; found out by default.
    #[arg(long)]
    pub(crate) node_ip: Option<IpAddr>,
    /// The range of all pods' addresses.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub(crate) cluster_cidr: IpNet,
    /// Where health and metrics are served.
    #[arg(long, default_value = "127.0.0.1:10256")]
    pub(crate) listen: SocketAddr,
    #[command(flatten)]
    pub(crate) clients: ClientArgs,
    /// Feature gates: Name=true,Other=false. May be given several times; those of the API server are to be the same.
    #[arg(long, value_name = "GATES")]
    pub(crate) feature_gates: Vec<String>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    pub(crate) action: SnapshotAction,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SnapshotAction {
    /// Write everything stored to a file, also while the server runs and writes.
    Save {
        /// The file; it holds secrets.
        file: PathBuf,
        #[command(flatten)]
        source: SnapshotSource,
    },
    /// Make a data directory of a file. The directory must not hold a store yet.
    Restore {
        /// The file.
        file: PathBuf,
        /// The data directory of the server to be started on it.
        #[arg(long, env = "KUBEPLANE_DATA_DIR", default_value = "./kubeplane-data")]
        data_dir: PathBuf,
        /// How far the revision jumps, so that clients that saw later ones than the file's begin anew.
        #[arg(long, default_value_t = 1_000_000_000)]
        bump_revision: u64,
    },
    /// Say what a file holds.
    Status {
        /// The file.
        file: PathBuf,
    },
}

/// Where a snapshot comes from.
#[derive(Debug, Clone, Args)]
pub(crate) struct SnapshotSource {
    /// The data directory; the server that runs on it is asked, and if none does it is read.
    #[arg(long, env = "KUBEPLANE_DATA_DIR", default_value = "./kubeplane-data")]
    pub(crate) data_dir: PathBuf,
    /// Ask the server of this kubeconfig instead, whose user must be in system:masters or have a rule for it.
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(arguments: &[&str]) -> Result<NodeArgs, String> {
        let line = ["kubeplane"].iter().chain(arguments);
        let parsed = Cli::try_parse_from(line).map_err(|error| error.to_string())?;
        Ok(parsed.serve.node)
    }

    #[test]
    fn the_delay_of_simulated_containers_is_a_flag() {
        let options = node(&[]).unwrap().simulated();
        assert_eq!(options.exit_delay, Duration::from_secs(1));
        let given = ["--simulated-exit-delay=1m 30s", "--pod-cidr=10.7.0.0/24"];
        let options = node(&given).unwrap().simulated();
        assert_eq!(options.exit_delay, Duration::from_secs(90));
        assert_eq!(options.pod_cidr, "10.7.0.0/24");
        for wrong in ["soon", "5", "-1s"] {
            let error = node(&[&format!("--simulated-exit-delay={wrong}")]).unwrap_err();
            assert!(error.contains("--simulated-exit-delay"), "{error}");
        }
    }
}
