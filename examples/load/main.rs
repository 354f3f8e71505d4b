//! Puts one load on any API servers, in turn, and prints what each did side by side.
//!
//! ```text
//!   load --server ours=ours.kubeconfig,PID --server original=theirs.kubeconfig,PID,ETCD-PID
//!
//!   for every phase, round by round:   ours ──> original ──> ours ──> original ...
//!   median of the rounds:              operations a second, per second of the server's own CPU time,
//!                                      latency at 50 %, 99 % and the most, resident memory
//! ```
//!
//! The processes are on this machine: their CPU time and memory are read from `/proc`. Requests travel over HTTP/2 as those
//! of client-go do, and answers are read but not parsed, so that the client costs little. The namespace `load` is made, filled
//! and emptied. `beside-original` starts the original and ours, and puts the load on them.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

mod connection;
mod fixture;
mod meter;
mod phases;
mod report;
mod server;

use clap::Parser;
use phases::Plan;
use server::Server;

/// Puts one load on any API servers, in turn.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// NAME=KUBECONFIG[,PID...]: a server, and the processes that it is made of.
    #[arg(long = "server", required = true)]
    servers: Vec<String>,
    /// The phases to run; all of them if none is named.
    #[arg(long, value_delimiter = ',')]
    phases: Vec<String>,
    /// How often each phase is run on each server.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Requests in flight.
    #[arg(long, default_value_t = 64)]
    concurrency: usize,
    /// Connections they share.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Objects of a phase that writes.
    #[arg(long, default_value_t = 3000)]
    objects: usize,
    /// Pods of about 10 KiB that are there when lists are made.
    #[arg(long, default_value_t = 30_000)]
    pods: usize,
    /// Watchers of the fan-out.
    #[arg(long, default_value_t = 5000)]
    watchers: usize,
    /// Informers that sync at once.
    #[arg(long, default_value_t = 50)]
    informers: usize,
    /// CustomResourceDefinitions that are installed at once.
    #[arg(long, default_value_t = 500)]
    definitions: usize,
}

/// Runs the phases; returns the lines of the table.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<Vec<String>> {
    let mut servers = Vec::new();
    for text in &arguments.servers {
        servers.push(Server::connect(text, arguments.connections).await?);
    }
    let plan = Plan {
        concurrency: arguments.concurrency,
        objects: arguments.objects,
        pods: arguments.pods,
        watchers: arguments.watchers,
        informers: arguments.informers,
        definitions: arguments.definitions,
    };
    for server in &servers {
        fixture::prepare(server).await?;
    }
    let mut table = report::Table::new(servers.iter().map(|server| server.name.clone()).collect());
    let chosen =
        |name: &str| arguments.phases.is_empty() || arguments.phases.iter().any(|p| p == name);
    for group in phases::groups() {
        if !group.phases.iter().any(|phase| chosen(phase.name)) {
            continue;
        }
        for server in &servers {
            (group.fill)(server, &plan).await?;
        }
        for _ in 0..arguments.rounds {
            for phase in group.phases.iter().filter(|phase| group.chained || chosen(phase.name)) {
                for (column, server) in servers.iter().enumerate() {
                    // What one cannot do is to be seen of the others.
                    match (phase.run)(server, &plan).await {
                        Ok(sample) if chosen(phase.name) => {
                            table.add(phase.name, column, sample);
                        }
                        Ok(_) => {}
                        Err(error) => println!("{} {} failed: {error}", phase.name, server.name),
                    }
                }
            }
        }
        for server in &servers {
            // What was found out until then is not lost.
            if let Err(error) = fixture::empty(server).await {
                println!("{} could not be emptied: {error}", server.name);
            }
        }
    }
    Ok(table.lines())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run(Arguments::parse()).await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
