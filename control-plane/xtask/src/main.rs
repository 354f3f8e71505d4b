//! Generators and checks of the workspace.
//!
//! ```text
//!   cargo xtask protos [--check]     */proto/*.proto -> */src/generated/*.rs
//! ```

mod protos;

use clap::{Parser, Subcommand};

/// Generators and checks of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate the Rust code of the .proto files.
    Protos(protos::Options),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Protos(options) => protos::run(&options),
    }
}
