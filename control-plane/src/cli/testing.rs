use super::LogArgs;
use clap::Args;
use std::{net::SocketAddr, path::PathBuf};

#[derive(Debug, Clone, Args)]
pub(crate) struct TestserverArgs {
    /// Where the API server listens; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Run built-in controllers: all of them, or these: `*`, names, and `-name` to leave one out.
    #[arg(long, value_name = "NAMES", num_args = 0..=1, default_missing_value = "*", require_equals = true)]
    pub(crate) controllers: Option<String>,
    /// Run the scheduler.
    #[arg(long)]
    pub(crate) scheduler: bool,
    /// So many nodes with kubelets, whose containers are simulated.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) nodes: u16,
    #[command(flatten)]
    pub(crate) simulation: SimulationArgs,
    /// Also write the kubeconfig to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where names, uids and everything else by chance come from.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}

/// Nodes without machines.
#[derive(Debug, Clone, Args)]
pub(crate) struct SimulationArgs {
    /// So many nodes without kubelets, whose pods run because their status says so.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) simulated_nodes: u32,
    /// A file of manifests of the kinds Nodes and PodStages. May be given several times.
    #[arg(long, value_name = "FILE")]
    pub(crate) simulation: Vec<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct SimulateArgs {
    /// The cluster, and who writes to it.
    #[arg(long, env = "KUBECONFIG")]
    pub(crate) kubeconfig: PathBuf,
    #[command(flatten)]
    pub(crate) simulation: SimulationArgs,
    #[command(flatten)]
    pub(crate) log: LogArgs,
}
