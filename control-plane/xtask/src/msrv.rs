//! The check of the minimum Rust version: what is depended on needs no newer one, and every package says ours. That our
//! own code uses no newer library is clippy's `incompatible_msrv`; `./test` builds with the version where it is there.

use crate::workspace::{self, Packages};
use anyhow::{Context as _, bail};
use serde_json::Value;

/// Fails when a package needs a newer Rust than the workspace says.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = workspace::metadata(Packages::All)?;
    let members = metadata["workspace_members"].as_array().context("no members")?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let own = |package: &&Value| members.contains(&package["id"]);
    let versions: Vec<_> = packages.iter().filter(own).map(|one| &one["rust_version"]).collect();
    let ours = versions.first().and_then(|version| version.as_str()).context("no rust-version")?;
    if versions.iter().any(|version| version.as_str() != Some(ours)) {
        bail!("not every package has rust-version {ours}");
    }
    let newer: Vec<_> = packages
        .iter()
        .filter_map(|package| {
            let needed = package["rust_version"].as_str()?;
            let told = format!("{} {} needs {needed}", package["name"], package["version"]);
            (number(needed) > number(ours)).then_some(told)
        })
        .collect();
    if newer.is_empty() {
        return Ok(());
    }
    bail!("rust-version {ours}:\n  {}", newer.join("\n  "))
}

/// Major and minor version.
fn number(version: &str) -> (u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or_default());
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}
