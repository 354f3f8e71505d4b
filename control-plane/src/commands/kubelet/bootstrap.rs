//! A node's first credentials, by others that are only good for asking.

use super::super::components;
use crate::cli::KubeletArgs;
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kubeplane::{
    client::KubeconfigClients,
    clock::SharedClock,
    kubelet::{ClientCertificate, ClientRotation},
    pki::{Kubeconfig, KubeconfigUser, inspect},
};
use std::path::Path;

/// What is needed to go on with a certificate that was asked for.
pub(super) struct Bootstrapped {
    certificate: ClientCertificate,
    /// Whose client asks when the certificate has ended.
    first: Option<KubeconfigClients>,
}

impl Bootstrapped {
    /// Sees to it that the kubeconfig is there and good for something: where it is not, asks for a certificate with
    /// the bootstrap kubeconfig, and writes one that names it. `None` where there is no bootstrap kubeconfig.
    pub(super) async fn ensure(
        args: &KubeletArgs,
        data_dir: &Path,
        node: &str,
        clock: &SharedClock,
    ) -> anyhow::Result<Option<Self>> {
        let Some(file) = &args.bootstrap_kubeconfig else { return Ok(None) };
        let directory = args.cert_dir.clone().unwrap_or_else(|| data_dir.join("kubelet/pki"));
        let directory = std::path::absolute(&directory)
            .with_context(|| format!("--cert-dir {}", directory.display()))?;
        let certificate = ClientCertificate::new(node, &directory, clock.clone());
        let first = KubeconfigClients::open(file, clock.clone()).await;
        if is_good(&args.component.kubeconfig, clock).await {
            // It is often taken away once it was used.
            return Ok(Some(Self { certificate, first: first.ok() }));
        }
        let first = first?;
        if certificate.valid().is_none() {
            eprintln!("client certificate: asked for with {}", file.display());
            certificate.obtain(&first.client()).await;
        }
        kubeconfig(&first, &certificate).write(&args.component.kubeconfig)?;
        eprintln!("client certificate: {}", certificate.file().display());
        Ok(Some(Self { certificate, first: Some(first) }))
    }

    /// What asks for the next certificate in time, if that is the one the clients show.
    pub(super) fn rotation(self, clients: &KubeconfigClients) -> Option<ClientRotation> {
        let named = clients.config().auth_info.client_certificate;
        if named.as_deref().map(Path::new) != Some(self.certificate.file()) {
            return None;
        }
        let renewed = clients.clone();
        let rotation = self.certificate.rotation(clients.client());
        let rotation = rotation.on_renewed(move || renewed.hurry());
        Some(match self.first {
            Some(first) => rotation.bootstrap(first.client()),
            None => rotation,
        })
    }
}

/// Whether there is a kubeconfig with a certificate that has not ended.
async fn is_good(kubeconfig: &Path, clock: &SharedClock) -> bool {
    if !kubeconfig.exists() {
        return false;
    }
    let user = match KubeconfigClients::open(kubeconfig, clock.clone()).await {
        Ok(clients) => clients.config().auth_info,
        Err(error) => {
            tracing::warn!(%error, "the kubeconfig is made anew");
            return false;
        }
    };
    let data = user.client_certificate_data.and_then(|data| STANDARD.decode(data.trim()).ok());
    let text = data.or_else(|| std::fs::read(user.client_certificate?).ok()).unwrap_or_default();
    let ends = inspect(&String::from_utf8_lossy(&text)).map(|info| info.not_after);
    ends.is_ok_and(|ends| clock.now() < ends)
}

/// The same server, as the node.
fn kubeconfig(first: &KubeconfigClients, certificate: &ClientCertificate) -> Kubeconfig {
    let config = first.config();
    Kubeconfig {
        cluster: "default-cluster".to_owned(),
        server: config.cluster_url.to_string().trim_end_matches('/').to_owned(),
        authority: components::authority(&config),
        user: "default-auth".to_owned(),
        credentials: KubeconfigUser::File(certificate.file().to_owned()),
    }
}
