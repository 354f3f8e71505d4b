//! The store on etcd, as the command line has it.

use crate::cli::EtcdArgs;
use anyhow::Context as _;
use kubeplane::{
    prelude::*,
    store_etcd::{EtcdOptions, EtcdSource, EtcdStore, EtcdTls},
};
use std::sync::Arc;

/// Where the password may be instead of in a file.
const PASSWORD: &str = "KUBEPLANE_ETCD_PASSWORD";

pub(super) async fn open(urls: &[String], args: &EtcdArgs) -> anyhow::Result<Arc<dyn Store>> {
    let mut options = EtcdOptions::new(urls.iter().cloned());
    options.prefix = format!("/{}", args.etcd_prefix.trim_matches('/'));
    options.tls = tls(args);
    if let Some(user) = &args.etcd_user {
        options = options.user(user, password(args)?);
    }
    let store = EtcdStore::connect(options).await;
    Ok(Arc::new(store.with_context(|| format!("etcd at {}", urls.join(", ")))?))
}

/// By their paths: they are read again for each connection, so renewed ones need no restart.
fn tls(args: &EtcdArgs) -> Option<EtcdTls> {
    let ca = args.etcd_cafile.clone()?.into();
    let identity = args.etcd_certfile.clone().zip(args.etcd_keyfile.clone());
    let identity = identity.map(|(certificate, key)| (certificate.into(), key.into()));
    Some(EtcdTls { ca, identity, server_name: None })
}

/// Never an argument: those are seen by every process of the machine.
fn password(args: &EtcdArgs) -> anyhow::Result<EtcdSource> {
    if let Some(path) = &args.etcd_password_file {
        return Ok(path.clone().into());
    }
    let given = std::env::var(PASSWORD);
    let given =
        given.with_context(|| format!("--etcd-user needs --etcd-password-file or {PASSWORD}"))?;
    Ok(given.into())
}
