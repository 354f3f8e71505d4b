//! What Cargo says of the workspace.

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::process::Command;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packages {
    /// The workspace's own.
    Own,
    /// Everything it is built from, too.
    All,
}

/// Cargo's metadata, version 1.
pub(crate) fn metadata(packages: Packages) -> anyhow::Result<Value> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version=1", "--offline"]);
    if packages == Packages::Own {
        cargo.arg("--no-deps");
    }
    let output = cargo.output().context("cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
