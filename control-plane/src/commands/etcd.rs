//! The store on etcd, as the command line has it.

use crate::cli::EtcdArgs;
use anyhow::Context as _;
use kubeplane::{
    prelude::*,
    store_etcd::{EtcdOptions, EtcdStore, EtcdTls},
};
use std::{fs, path::Path, sync::Arc};

/// Where the password may be instead of in a file.
const PASSWORD: &str = "KUBEPLANE_ETCD_PASSWORD";

pub(super) async fn open(urls: &[String], args: &EtcdArgs) -> anyhow::Result<Arc<dyn Store>> {
    let mut options = EtcdOptions::new(urls.iter().cloned());
    options.prefix = format!("/{}", args.etcd_prefix.trim_matches('/'));
    options.tls = tls(args)?;
    if let Some(user) = &args.etcd_user {
        options = options.user(user, password(args)?);
    }
    let store = EtcdStore::connect(options).await;
    Ok(Arc::new(store.with_context(|| format!("etcd at {}", urls.join(", ")))?))
}

fn tls(args: &EtcdArgs) -> anyhow::Result<Option<EtcdTls>> {
    let Some(ca) = &args.etcd_cafile else { return Ok(None) };
    let identity = match (&args.etcd_certfile, &args.etcd_keyfile) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    Ok(Some(EtcdTls { ca: read(ca)?, identity, server_name: None }))
}

/// Never an argument: those are seen by every process of the machine.
fn password(args: &EtcdArgs) -> anyhow::Result<String> {
    if let Some(path) = &args.etcd_password_file {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    std::env::var(PASSWORD)
        .with_context(|| format!("--etcd-user needs --etcd-password-file or {PASSWORD}"))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| path.display().to_string())
}
