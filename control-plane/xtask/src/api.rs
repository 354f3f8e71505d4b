//! The check of public interfaces (CONTRIBUTING.md, "Versions"): what a published crate shows is recorded, and what changes
//! in it is told in the changelog and fits the version.
//!
//! ```text
//!   src/**/*.rs --source--> modules --names--> what a path means --surface--> lines
//!                                                                               |
//!   control-plane/xtask/api/CRATE.txt = lines of the last release, + and - since: listing
//!                                                                               |
//!                                        CHANGELOG.md, version of Cargo.toml: policy
//! ```
//!
//! Nothing is compiled: the sources are read as `syn` reads them, with every feature on. A type is named by where its path
//! leads, so that an import written otherwise changes nothing. What stands in `generated/` counts as one line, for its sources
//! have checks of their own, and of what a macro makes only the call is seen.

mod listing;
mod names;
mod policy;
mod source;
mod surface;
#[cfg(test)]
mod tests;
mod text;

use crate::{
    data,
    workspace::{self, Packages},
};
use anyhow::{Context as _, bail};
use listing::Listing;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

const FOLDER: &str = "control-plane/xtask/api";
const FACADE: &str = "kubeplane";

/// What to do with the differences.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Record what the crates show now; with a new version in Cargo.toml, start anew from it.
    #[arg(long)]
    write: bool,
}

/// A published library.
struct Library {
    name: String,
    version: String,
    /// The oldest compiler that builds it.
    rust: String,
    root: PathBuf,
    is_macros: bool,
}

/// Fails when a published crate shows what is not recorded, or changed what the changelog or the version does not tell, and
/// when the version is another than that of the records and there is no data directory of that one.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let changelog = fs::read_to_string("CHANGELOG.md").context("CHANGELOG.md")?;
    let libraries = libraries()?;
    let mut broken = Vec::new();
    for library in &libraries {
        broken.extend(check(library, &changelog, options.write)?);
    }
    broken.extend(forgotten(&libraries, options.write)?);
    if broken.is_empty() {
        return Ok(());
    }
    bail!("public interfaces (CONTRIBUTING.md, \"Versions\"):\n  {}", broken.join("\n  "))
}

/// What is wrong with one crate.
fn check(library: &Library, changelog: &str, write: bool) -> anyhow::Result<Vec<String>> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let source = source::Source::read(&library.root, &read)?;
    let mut shown = surface::lines(&source, library.is_macros)?;
    // All crates have the same; it is told once.
    if library.name == FACADE {
        shown.insert(format!("Rust: {} or later", library.rust));
    }
    let mut broken = policy::errors_that_cannot_grow(&library.name, &shown);
    let file = Path::new(FOLDER).join(format!("{}.txt", library.name));
    let recorded = match fs::read_to_string(&file) {
        Ok(text) => Listing::parse(&text).with_context(|| file.display().to_string())?,
        // A new crate: nobody depends on anything of it yet.
        Err(_) if write => Listing::of(&library.version, &shown),
        Err(_) => {
            broken.push(format!("{}: not recorded; run `cargo xtask api --write`", library.name));
            return Ok(broken);
        }
    };
    let now = recorded.updated(&shown);
    broken.extend(policy::check(&library.name, &library.version, &now, changelog));
    if library.name == FACADE {
        broken.extend(data::missing(recorded.version(), &library.version));
    }
    let is_release = recorded.version() != library.version;
    if write {
        let fits = broken.is_empty();
        let written = if is_release && fits { Listing::of(&library.version, &shown) } else { now };
        write_if_changed(&file, &written.to_text(&library.name))?;
    } else if is_release {
        broken.push(format!(
            "{}: the record is of {}; run `cargo xtask api --write`",
            library.name,
            recorded.version()
        ));
    } else {
        broken.extend(recorded.told(&now).into_iter().map(|what| {
            format!("{}: {what}; run `cargo xtask api --write` if it is meant", library.name)
        }));
    }
    Ok(broken)
}

/// The traits of a crate that others implement; not those that only its suites of tests ask for.
pub(crate) fn contracts(root: &Path) -> anyhow::Result<Vec<String>> {
    let source = source::Source::read(root, &|path: &Path| fs::read_to_string(path).ok())?;
    let shown = surface::lines(&source, false)?;
    let members: Vec<_> = shown.iter().map(|line| listing::split(line)).collect();
    let is_trait = |kind: &str| kind.trim_start_matches("#[async_trait] ").starts_with("trait");
    let is_asked = |path: &str| {
        let mut own = members.iter().filter_map(|(member, kind)| {
            let (owner, _) = member.rsplit_once("::")?;
            (owner == path).then_some(kind)
        });
        // One without members is only another name for others.
        own.any(|kind| kind.starts_with("required") || kind.starts_with("provided"))
    };
    let traits = members.iter().filter(|(path, kind)| is_trait(kind) && is_asked(path));
    let own = traits.filter(|(path, _)| !path.contains("conformance"));
    Ok(own.map(|(path, _)| (*path).to_owned()).collect())
}

fn write_if_changed(file: &Path, text: &str) -> anyhow::Result<()> {
    if fs::read_to_string(file).ok().as_deref() != Some(text) {
        fs::create_dir_all(FOLDER)?;
        fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Records of crates that are no more.
fn forgotten(libraries: &[Library], write: bool) -> anyhow::Result<Vec<String>> {
    let mut broken = Vec::new();
    for file in fs::read_dir(FOLDER).into_iter().flatten() {
        let path = file?.path();
        let of_one =
            |library: &Library| path.file_stem().is_some_and(|stem| *stem == *library.name);
        if libraries.iter().any(of_one) {
            continue;
        }
        if write {
            fs::remove_file(&path)?;
        } else {
            broken.push(format!("{}: there is no such crate", path.display()));
        }
    }
    Ok(broken)
}

fn libraries() -> anyhow::Result<Vec<Library>> {
    let metadata = workspace::metadata(Packages::Own)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    // Published nowhere is an empty list.
    let is_published = |package: &&Value| !package["publish"].as_array().is_some_and(Vec::is_empty);
    Ok(packages.iter().filter(is_published).filter_map(library).collect())
}

fn library(package: &Value) -> Option<Library> {
    let is = |target: &Value, kind: &str| {
        target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind))
    };
    let targets = package["targets"].as_array()?;
    let target = targets.iter().find(|one| is(one, "lib") || is(one, "proc-macro"))?;
    Some(Library {
        name: package["name"].as_str()?.to_owned(),
        version: package["version"].as_str()?.to_owned(),
        rust: package["rust_version"].as_str().unwrap_or("any").to_owned(),
        root: target["src_path"].as_str()?.into(),
        is_macros: is(target, "proc-macro"),
    })
}
