//! One file per sub-command.

mod admission;
mod apiserver;
mod audit;
mod components;
mod etcd;
mod keys;
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
use futures::future::{FutureExt as _, LocalBoxFuture};
use kubeplane::{ControlPlane, shutdown_signal};

/// On the heap: a stack that once held the largest of them keeps that memory.
pub(crate) fn run(command: Command) -> LocalBoxFuture<'static, anyhow::Result<()>> {
    match command {
        Command::Serve(args) => serve::run(args).boxed_local(),
        Command::Apiserver(args) => apiserver::run(args).boxed_local(),
        Command::Scheduler(args) => components::scheduler(args).boxed_local(),
        Command::Controllers(args) => components::controllers(*args).boxed_local(),
        Command::Kubelet(args) => kubelet::run(args).boxed_local(),
        Command::Proxy(args) => proxy::run(args).boxed_local(),
        Command::Snapshot(args) => snapshot::run(args).boxed_local(),
        #[cfg(feature = "testing")]
        Command::Testserver(args) => testserver::run(args).boxed_local(),
        #[cfg(feature = "testing")]
        Command::Simulate(args) => testserver::simulate(args).boxed_local(),
    }
}

/// Runs until a signal, saying on one line each when components are ready and when they have stopped; a second signal
/// ends it at once.
async fn supervise(plane: ControlPlane) -> anyhow::Result<()> {
    let plane = plane.on_ready(|name| eprintln!("{name} ready"));
    let plane = plane.on_stopped(|name| eprintln!("{name} stopped"));
    let signal = async {
        shutdown_signal().await;
        eprintln!("stopping (a second signal ends it at once)");
    };
    plane.run_until_hurried(signal, shutdown_signal()).await?;
    eprintln!("stopped");
    Ok(())
}
