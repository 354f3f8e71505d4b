mod bootstrap;

use super::{
    components::{self, Serving},
    machine,
    serve::kubelet_config,
    supervise,
};
use crate::cli::KubeletArgs;
use anyhow::Context as _;
use bootstrap::Credentials;
use kubeplane::{
    ControlPlane, DataDir,
    core::features::Features,
    pki::{Error, Identity, LiveIdentity},
    prelude::*,
    renewal::Renewal,
    runtime, shutdown_signal,
    telemetry::Metrics,
};
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

pub(super) async fn run(args: KubeletArgs) -> anyhow::Result<()> {
    let features: Features = args.feature_gates.join(",").parse().context("--feature-gates")?;
    let data_dir = DataDir::make(&args.component.data_dir)?;
    // An API server may use the rest of the directory.
    let data = DataDir::lock(&data_dir.join("kubelet"), "kubeplane kubelet")?;
    DataDir::make(&data_dir.join("pod-logs"))?;
    let node = args.node.node_name.clone().unwrap_or_else(machine::name);
    let clock = kubeplane::clock::real();
    let Credentials { clients, rotation } = tokio::select! {
        found = Credentials::find(&args, &data_dir, &node, &clock) => found?,
        () = shutdown_signal() => return Ok(()),
    };
    let address = args.node_ip.unwrap_or_else(machine::address);
    let mut own = kubelet_config(&args.node, &data_dir, address, &node);
    let serving = serving(&args, &data_dir, &node, address)?;
    own.serving_live = Some(serving.live);
    own.request_serving = args.rotate_server_certificates;
    own.client_ca = client_authorities(&args, &clients.config())?;
    own.features = features;
    let found = runtime::find_with(&args.node.runtime, clock.clone(), args.node.simulated()).await;
    let found = found.map_err(anyhow::Error::msg)?;
    eprintln!("container runtime: {}", found.description);
    let metrics = Metrics::new().with_process();
    let kubelet = Kubelet::builder(clients.client(), found.runtime, own)
        .clock(clock.clone())
        .metrics(metrics.clone())
        .build()?;
    let mut plane = ControlPlane::new().clock(clock).with(clients.reload()).with(serving.renewal);
    if let Some(rotation) = rotation {
        plane = plane.with(rotation.metrics(&metrics));
    }
    supervise(plane.with(kubelet)).await?;
    drop(data);
    Ok(())
}

/// The certificate to serve with, and a line about it.
fn serving(
    args: &KubeletArgs,
    data_dir: &Path,
    node: &str,
    address: IpAddr,
) -> anyhow::Result<Serving> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert_file, &args.tls_private_key_file) {
        eprintln!("serving certificate: {}", certificate.display());
        return given(certificate, key);
    }
    let name = format!("system:node:{node}");
    let address = SocketAddr::new(address, args.node.kubelet_listen.port());
    let serving = components::serving(data_dir, &name, address)?;
    match serving.self_signed {
        false => eprintln!(
            "serving certificate: made with the authority in {}",
            data_dir.join("pki").display()
        ),
        true => eprintln!(
            "serving certificate: self-signed, for there is no authority with its key in {}; an API \
             server that asks for one of the cluster will refuse logs and exec (see --tls-cert-file)",
            data_dir.join("pki").display()
        ),
    }
    Ok(serving)
}

/// Files that somebody else renews: what is new in them is served with by and by.
pub(super) fn given(certificate: &Path, key: &Path) -> anyhow::Result<Serving> {
    let identity = Identity { certificate: read(certificate)?, key: read(key)? };
    let live = Arc::new(LiveIdentity::new(identity.clone())?);
    // Not what is shown: that may have been asked for through the API meanwhile.
    let mut last = identity;
    let (shown, files) = (live.clone(), [certificate.to_owned(), key.to_owned()]);
    let renewal = Renewal::new(kubeplane::clock::real()).with(move |_| {
        let read = |path: &Path| {
            let failed = |source| Error::File { path: path.to_owned(), source };
            std::fs::read_to_string(path).map_err(failed)
        };
        let next = Identity { certificate: read(&files[0])?, key: read(&files[1])? };
        if next == last {
            return Ok(Vec::new());
        }
        shown.set(next.clone())?;
        last = next;
        Ok(vec![files[0].display().to_string()])
    });
    Ok(Serving { live, self_signed: false, renewal })
}

/// Whose client certificates are believed, and a line about it when it is nobody's.
fn client_authorities(args: &KubeletArgs, config: &kube::Config) -> anyhow::Result<Option<String>> {
    if let Some(file) = &args.client_ca_file {
        return read(file).map(Some);
    }
    let trusted = components::authority(config);
    if trusted.is_empty() {
        eprintln!(
            "client certificates are not believed: the kubeconfig names no authority (see \
             --client-ca-file)"
        );
        return Ok(None);
    }
    Ok(Some(trusted))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}
