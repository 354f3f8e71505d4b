use super::{
    components::{self, SelfSigned},
    machine,
    serve::kubelet_config,
    supervise,
};
use crate::cli::KubeletArgs;
use anyhow::Context as _;
use kubeplane::{
    ControlPlane, DataDir, kubelet::ServingCertificate, pki::Identity, prelude::*, runtime,
    telemetry::Metrics,
};
use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

pub(super) async fn run(args: KubeletArgs) -> anyhow::Result<()> {
    let config = components::config(&args.component).await?;
    let data_dir = machine::directory(&args.component.data_dir)?;
    // An API server may use the rest of the directory.
    let data = DataDir::lock(&data_dir.join("kubelet"), "kubeplane kubelet")?;
    let node = args.node.node_name.clone().unwrap_or_else(machine::name);
    let address = args.node_ip.unwrap_or_else(machine::address);
    let mut own = kubelet_config(&args.node, &data_dir, address, &node);
    let serving = serving(&args, &data_dir, &node, address)?;
    own.serving = Some(ServingCertificate { certificate: serving.certificate, key: serving.key });
    own.request_serving = args.rotate_server_certificates;
    own.client_ca = client_authorities(&args, &config)?;
    let clock = kubeplane::clock::real();
    let found = runtime::find(&args.node.runtime, clock.clone(), args.node.pod_cidr).await;
    let found = found.map_err(anyhow::Error::msg)?;
    eprintln!("container runtime: {}", found.description);
    let client = kube::Client::try_from(config)?;
    let kubelet = Kubelet::builder(client, found.runtime, own)
        .clock(clock.clone())
        .metrics(Metrics::new().with_process())
        .build()?;
    supervise(ControlPlane::new().clock(clock).with(kubelet)).await?;
    drop(data);
    Ok(())
}

/// The certificate to serve with, and a line about it.
fn serving(
    args: &KubeletArgs,
    data_dir: &Path,
    node: &str,
    address: IpAddr,
) -> anyhow::Result<Identity> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert_file, &args.tls_private_key_file) {
        eprintln!("serving certificate: {}", certificate.display());
        return Ok(Identity { certificate: read(certificate)?, key: read(key)? });
    }
    let name = format!("system:node:{node}");
    let address = SocketAddr::new(address, args.node.kubelet_listen.port());
    let (identity, how) = components::serving(data_dir, &name, address)?;
    match how {
        SelfSigned(false) => eprintln!(
            "serving certificate: made with the authority in {}",
            data_dir.join("pki").display()
        ),
        SelfSigned(true) => eprintln!(
            "serving certificate: self-signed, for there is no authority with its key in {}; an API \
             server that asks for one of the cluster will refuse logs and exec (see --tls-cert-file)",
            data_dir.join("pki").display()
        ),
    }
    Ok(identity)
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
