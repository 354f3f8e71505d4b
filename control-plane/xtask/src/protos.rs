//! `cargo xtask protos`: the checked-in Rust code of our .proto files.

use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What `cargo xtask protos` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Write nothing; fail when the checked-in code is not what the .proto files give.
    #[arg(long)]
    check: bool,
}

/// A package whose `proto/*.proto` become `src/generated/*.rs`.
struct Package {
    folder: &'static str,
    server: bool,
}

const PACKAGES: [Package; 2] = [
    Package { folder: "store-etcd", server: false },
    Package { folder: "runtime-cri", server: true },
];

/// Generates, or with `--check` compares, the code of every package that has .proto files.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let mut stale = Vec::new();
    for package in &PACKAGES {
        let folder = root.join(package.folder);
        let generated = generate(&folder.join("proto"), package.server)
            .with_context(|| format!("package {}", package.folder))?;
        let target = folder.join("src/generated");
        for (name, code) in generated {
            let path = target.join(name);
            if fs::read_to_string(&path).is_ok_and(|old| old == code) {
                continue;
            }
            if options.check {
                stale.push(path.display().to_string());
                continue;
            }
            fs::create_dir_all(&target)?;
            fs::write(&path, code).with_context(|| path.display().to_string())?;
        }
    }
    if !stale.is_empty() {
        bail!("not what the .proto files give; run `cargo xtask protos`: {}", stale.join(", "));
    }
    Ok(())
}

/// The code of the .proto files in `protos`, by file name; nothing when there is no such folder.
fn generate(protos: &Path, server: bool) -> Result<BTreeMap<String, String>> {
    if !protos.is_dir() {
        return Ok(BTreeMap::new());
    }
    let mut files: Vec<PathBuf> =
        fs::read_dir(protos)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    let descriptors = protox::compile(&files, [protos])?;
    let scratch = scratch_directory()?;
    let built = tonic_prost_build::configure()
        .build_server(server)
        .bytes(".")
        .out_dir(&scratch)
        .compile_fds(descriptors)
        .map_err(anyhow::Error::from)
        .and_then(|()| collect(&scratch));
    fs::remove_dir_all(&scratch)?;
    built
}

/// Reads what was generated; `a.b.rs` becomes `a_b.rs` so that a plain `mod` finds it.
fn collect(scratch: &Path) -> Result<BTreeMap<String, String>> {
    let mut generated = BTreeMap::new();
    for entry in fs::read_dir(scratch)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).context("file name")?;
        let name = format!("{}.rs", stem.replace('.', "_"));
        let replaced = generated.insert(name, fs::read_to_string(&path)?);
        ensure!(replaced.is_none(), "two packages give one file: {}", path.display());
    }
    Ok(generated)
}

fn scratch_directory() -> Result<PathBuf> {
    let scratch = std::env::temp_dir().join(format!("xtask-protos-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    Ok(scratch)
}
