//! The `kubeplane` binary: a whole cluster, or one component of it.

mod cli;
mod commands;

use clap::Parser;
use cli::{Cli, Command};
use kubeplane::ControlPlaneError;
use std::{io::IsTerminal as _, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// Objects are trees of small allocations, made and freed by several threads: the C library's allocator would be the
/// largest part of a write. Libraries leave the choice to their users.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "testing")]
    if let Some(program) = commands::StandIn::called() {
        return run(program.run());
    }
    let cli = Cli::parse();
    let command = cli.command.unwrap_or(Command::Serve(cli.serve));
    if let Err(error) = start_log(&command) {
        return fail(&error);
    }
    run(commands::run(command))
}

fn run(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let Err(error) = runtime.block_on(command) else { return ExitCode::SUCCESS };
    if let Some(ControlPlaneError::Hurried { .. }) = error.downcast_ref() {
        // Whoever is in a hurry does not wait for what blocks either.
        runtime.shutdown_background();
    }
    fail(&error)
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many errors already say what caused them.
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    eprintln!("kubeplane: {text}");
    ExitCode::FAILURE
}

fn start_log(command: &Command) -> anyhow::Result<()> {
    let log = match command {
        Command::Serve(args) => &args.log,
        Command::Apiserver(args) => &args.log,
        Command::Scheduler(args) => &args.log,
        Command::Controllers(args) => &args.log,
        Command::Kubelet(args) => &args.log,
        Command::Proxy(args) => &args.log,
        Command::Snapshot(args) => &args.log,
        #[cfg(feature = "testing")]
        Command::Testserver(args) => &args.log,
        #[cfg(feature = "testing")]
        Command::Simulate(args) => &args.log,
    };
    let filter = EnvFilter::try_new(&log.log)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}
