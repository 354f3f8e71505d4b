//! `cargo xtask schema`: the table of every field of every built-in kind.
//!
//! Names, types and required marks come from k8s-openapi's JSON schemas; what those lack (Go types for error
//! texts, presence, protobuf tags, defaults, list types, patch strategies) from core/schema-facts/*.csv.

mod emit;
mod facts;
mod roots;

use anyhow::{Context, Result, bail};
use std::{collections::BTreeMap, fs, path::Path};

/// What `cargo xtask schema` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write nothing; fail when the checked-in tables are not what their sources give.
    #[arg(long)]
    check: bool,
}

/// Generates, or with `--check` compares, core/src/generated/schema.rs and its parts.
pub(crate) fn run(options: &Options) -> Result<()> {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../core").canonicalize()?;
    let facts = facts::Facts::read(&core.join("schema-facts"))?;
    let files = emit::emit(&roots::definitions(), &facts)?;
    let target = core.join("src/generated");
    if options.check { check(&target, &files) } else { write(&target, &files) }
}

fn check(target: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    let same = |(name, code): (&String, &String)| {
        fs::read_to_string(target.join(name)).is_ok_and(|old| old == *code)
    };
    let stale: Vec<_> =
        files.iter().filter(|pair| !same(*pair)).map(|(name, _)| name.as_str()).collect();
    if !stale.is_empty() {
        bail!(
            "not what k8s-openapi and the facts give; run `cargo xtask schema`: {}",
            stale.join(", ")
        );
    }
    Ok(())
}

fn write(target: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    fs::create_dir_all(target.join("schema"))?;
    for (name, code) in files {
        let path = target.join(name);
        if !fs::read_to_string(&path).is_ok_and(|old| old == *code) {
            fs::write(&path, code).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
