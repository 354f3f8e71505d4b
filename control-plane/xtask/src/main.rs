//! Generators and checks of the workspace.
//!
//! ```text
//!   cargo xtask protos [--check]     */proto/*.proto -> */src/generated/*.rs
//!   cargo xtask layers               the dependency edges of ARCHITECTURE.md
//!   cargo xtask docs                 each crate's first page has a diagram, an example and its contracts
//!   cargo xtask portable             what only Linux has is guarded
//!   cargo xtask sizes                files and functions that grew too large
//!   cargo xtask msrv                 nothing needs a newer Rust than Cargo.toml says
//!   cargo xtask api [--write]        what crates show the world, held against control-plane/xtask/api and CHANGELOG.md
//!   cargo xtask record-data          what `kubeplane serve` of this version keeps -> control-plane/tests/it/data
//!   cargo xtask layout               the functions that a start of the release program runs -> control-plane/layout
//!   cargo xtask schema [--check]     k8s-openapi + core/schema-facts -> core/src/generated/schema*
//! ```

mod api;
mod data;
mod docs;
mod layers;
mod layout;
mod msrv;
mod portable;
mod protos;
mod schema;
mod sizes;
mod workspace;

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
    /// Check that changed interfaces are recorded, told in the changelog, and that the version fits them.
    Api(api::Options),
    /// Generate the Rust code of the .proto files.
    Protos(protos::Options),
    /// Generate the table of every field of the built-in kinds.
    Schema(schema::Options),
    /// Check that each crate's first page has a diagram, an example and its contracts.
    Docs,
    /// Check which crate depends on which.
    Layers,
    /// List the functions that a start of the program runs, for the linker to put together; needs valgrind.
    Layout,
    /// Check that what only Linux has is guarded.
    Portable,
    /// Check that nothing needs a newer Rust than Cargo.toml says.
    Msrv,
    /// Record the data directory of this version, for later ones to open; once, before it is tagged.
    RecordData,
    /// Check the size of files and functions.
    Sizes {
        /// Also name what is large but within the limits.
        #[arg(long)]
        verbose: bool,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Api(options) => api::run(&options),
        Command::Protos(options) => protos::run(&options),
        Command::Schema(options) => schema::run(&options),
        Command::Docs => docs::run(),
        Command::Layers => layers::run(),
        Command::Layout => layout::run(),
        Command::Portable => portable::run(),
        Command::RecordData => data::record(),
        Command::Msrv => msrv::run(),
        Command::Sizes { verbose } => sizes::run(verbose),
    }
}
