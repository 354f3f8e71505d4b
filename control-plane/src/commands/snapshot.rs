use crate::cli::{SnapshotAction, SnapshotArgs, SnapshotSource};
use anyhow::{Context as _, bail};
use futures::AsyncBufReadExt as _;
use kubeplane::{
    DataDir, DataDirError,
    prelude::*,
    snapshots::SnapshotRoute,
    store_memory::{Snapshot, SnapshotInfo},
};
use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

pub(super) async fn run(args: SnapshotArgs) -> anyhow::Result<()> {
    match args.action {
        SnapshotAction::Save { file, source } => save(&file, &source).await,
        SnapshotAction::Restore { file, data_dir, bump_revision } => {
            restore(&file, &data_dir, bump_revision)
        }
        SnapshotAction::Status { file } => {
            let info = Snapshot::inspect(&file)?;
            Ok(io::stdout().write_all(describe(&info).as_bytes())?)
        }
    }
}

fn describe(info: &SnapshotInfo) -> String {
    let SnapshotInfo { revision, entries, size, hash, .. } = info;
    format!(
        "hash       {hash:08x}\nrevision   {revision}\ntotal keys {entries}\ntotal size {size}\n"
    )
}

/// Writes beside the file and renames only what is whole and on the disk.
async fn save(file: &Path, source: &SnapshotSource) -> anyhow::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    let part = PathBuf::from(name);
    let saved = match fetch(&part, source).await {
        Ok(()) => Snapshot::inspect(&part).context("what was saved"),
        Err(error) => Err(error),
    };
    let info = match saved {
        Ok(info) => info,
        Err(error) => {
            // It says nothing that the error does not.
            let _ = std::fs::remove_file(&part);
            return Err(error);
        }
    };
    let kept = std::fs::rename(&part, file).and_then(|()| keep_name(file));
    kept.with_context(|| format!("cannot write {}", file.display()))?;
    eprint!("saved {}\n{}", file.display(), describe(&info));
    Ok(())
}

/// Makes the name of a file durable, which its directory holds.
fn keep_name(file: &Path) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

async fn fetch(part: &Path, source: &SnapshotSource) -> anyhow::Result<()> {
    let mut options = File::options();
    let options = options.mode(0o600).create(true).write(true).truncate(true);
    let mut out = options.open(part).with_context(|| format!("cannot write {}", part.display()))?;
    let store = source.data_dir.join("store");
    match (&source.kubeconfig, lock(source)?) {
        (None, Some(data)) => {
            let store = MemoryStore::open(&store)?;
            store.snapshot().write_to(&mut out)?;
            store.close().await;
            drop(data);
        }
        (Some(kubeconfig), _) => download(kubeconfig, &mut out).await?,
        (None, None) => download(&source.data_dir.join("admin.kubeconfig"), &mut out).await?,
    }
    Ok(out.sync_all()?)
}

/// The data directory, if its store is to be read without a server: when none runs on it.
fn lock(source: &SnapshotSource) -> anyhow::Result<Option<DataDir>> {
    if source.kubeconfig.is_some() {
        return Ok(None);
    }
    if !source.data_dir.join("store").is_dir() {
        bail!("there is no embedded store in {}", source.data_dir.display());
    }
    match DataDir::lock(&source.data_dir, "kubeplane snapshot save") {
        Ok(data) => Ok(Some(data)),
        Err(DataDirError::InUse { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks the API server.
async fn download(kubeconfig: &Path, out: &mut File) -> anyhow::Result<()> {
    let read = kube::config::Kubeconfig::read_from(kubeconfig)?;
    let options = kube::config::KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(read, &options).await?;
    // A large store takes as long as it takes.
    config.read_timeout = None;
    let client = kube::Client::try_from(config)?;
    let request = http::Request::get(SnapshotRoute::PATH).body(Vec::new())?;
    let mut body = Box::pin(client.request_stream(request).await?);
    loop {
        let bytes = body.fill_buf().await.context("the snapshot was cut short")?;
        if bytes.is_empty() {
            return Ok(());
        }
        out.write_all(bytes)?;
        let len = bytes.len();
        body.consume_unpin(len);
    }
}

fn restore(file: &Path, data_dir: &Path, bump: u64) -> anyhow::Result<()> {
    let data = DataDir::lock(data_dir, "kubeplane snapshot restore")?;
    let info = Snapshot::restore(file, data.path().join("store"), bump)?;
    eprint!("restored into {}\n{}", data_dir.display(), describe(&info));
    Ok(())
}
