//! One file per sub-command.

mod admission;
mod apiserver;
mod audit;
mod components;
mod etcd;
mod kubelet;
mod machine;
mod proxy;
mod serve;
mod setup;
mod snapshot;
#[cfg(feature = "testing")]
mod standin;
#[cfg(feature = "testing")]
mod testserver;

#[cfg(feature = "testing")]
pub(crate) use standin::StandIn;

use crate::cli::Command;
use kubeplane::{ControlPlane, shutdown_signal};

pub(crate) async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Apiserver(args) => apiserver::run(args).await,
        Command::Scheduler(args) => components::scheduler(args).await,
        Command::Controllers(args) => components::controllers(args).await,
        Command::Kubelet(args) => kubelet::run(args).await,
        Command::Proxy(args) => proxy::run(args).await,
        Command::Snapshot(args) => snapshot::run(args).await,
        #[cfg(feature = "testing")]
        Command::Testserver(args) => testserver::run(args).await,
        #[cfg(feature = "testing")]
        Command::Simulate(args) => testserver::simulate(args).await,
    }
}

/// Runs until a signal, saying on one line each when components are ready.
async fn supervise(plane: ControlPlane) -> anyhow::Result<()> {
    let plane = plane.on_ready(|name| eprintln!("{name} ready"));
    let signal = async {
        shutdown_signal().await;
        eprintln!("stopping");
    };
    plane.run_until(signal).await?;
    eprintln!("stopped");
    Ok(())
}
