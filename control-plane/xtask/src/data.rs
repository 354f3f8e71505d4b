//! Data directories of released versions, which later ones have to open (CONTRIBUTING.md, "Versions").

use anyhow::{Context as _, bail};
use std::{path::Path, process::Command};

const FOLDER: &str = "control-plane/tests/it/data";
/// What records one where it is told to, and is the test that opens all of them.
const RECORDER: &str = "earlier::whole_directories_of_every_version_are_served";

/// Records the data directory of the workspace's version.
pub(crate) fn record() -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let directory = std::env::current_dir()?.join(FOLDER).join(version);
    if directory.exists() {
        bail!("{} is there, and stays as it is", directory.display());
    }
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--package", "kubeplane", "--test", "it", "--", "--exact", RECORDER]);
    let status = cargo.env("KUBEPLANE_RECORD", &directory).status().context("cargo test")?;
    if !status.success() || !is_recorded(Path::new(FOLDER), version) {
        bail!("{} was not recorded", directory.display());
    }
    Ok(())
}

/// What is wrong when a version comes after one whose data directory is not kept.
pub(crate) fn missing(before: &str, now: &str) -> Option<String> {
    missing_in(Path::new(FOLDER), before, now)
}

fn missing_in(folder: &Path, before: &str, now: &str) -> Option<String> {
    (before != now && !is_recorded(folder, before)).then(|| {
        format!(
            "{}: no data directory of {before}, which {now} has to open: with {before} in Cargo.toml, as it was \
             tagged, run `cargo xtask record-data`",
            folder.join(before).display()
        )
    })
}

/// Whether there is a whole one: with a store, and with what its clients were given.
fn is_recorded(folder: &Path, version: &str) -> bool {
    let directory = folder.join(version);
    ["store", "pki"].iter().all(|part| directory.join(part).is_dir())
        && ["admin.kubeconfig", "token"].iter().all(|file| directory.join(file).is_file())
}

#[cfg(test)]
mod tests {
    use super::missing_in;
    use std::fs;

    #[test]
    fn another_version_asks_for_the_data_of_the_one_before() {
        let folder = std::env::temp_dir().join(format!("kubeplane-data-{}", std::process::id()));
        let make = |part: &str| fs::create_dir_all(folder.join(part)).unwrap();
        make("0.1.0/store");
        assert_eq!(missing_in(&folder, "0.1.0", "0.1.0"), None, "it is not released yet");
        let told = missing_in(&folder, "0.1.0", "0.2.0").unwrap();
        assert!(told.contains("no data directory of 0.1.0"), "{told}");
        make("0.1.0/pki");
        for file in ["admin.kubeconfig", "token"] {
            assert!(missing_in(&folder, "0.1.0", "0.2.0").is_some(), "without {file}");
            fs::write(folder.join("0.1.0").join(file), "").unwrap();
        }
        assert_eq!(missing_in(&folder, "0.1.0", "0.2.0"), None);
        assert!(missing_in(&folder, "0.2.0", "0.3.0").is_some());
        fs::remove_dir_all(&folder).unwrap();
    }
}
