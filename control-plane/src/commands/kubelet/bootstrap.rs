//! A node's credentials: the first ones, by others that are only good for asking, and those that follow.

use super::super::components;
use crate::cli::KubeletArgs;
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kube::config::AuthInfo;
use kubeplane::{
    client::KubeconfigClients,
    clock::SharedClock,
    kubelet::{ClientCertificate, ClientRotation},
    pki::{Kubeconfig, KubeconfigUser, inspect},
};
use std::path::Path;

/// What the node is known by.
pub(super) struct Credentials {
    pub(super) clients: KubeconfigClients,
    /// What asks for the next certificate in time.
    pub(super) rotation: Option<ClientRotation>,
}

impl Credentials {
    /// Those of the kubeconfig, which is made first where that is to be; see [`bootstrap`].
    pub(super) async fn find(
        args: &KubeletArgs,
        data_dir: &Path,
        node: &str,
        clock: &SharedClock,
    ) -> anyhow::Result<Self> {
        let directory = args.cert_dir.clone().unwrap_or_else(|| data_dir.join("kubelet/pki"));
        let directory = std::path::absolute(&directory)
            .with_context(|| format!("--cert-dir {}", directory.display()))?;
        let certificate = ClientCertificate::new(node, &directory, clock.clone());
        let kubeconfig = &args.component.kubeconfig;
        let first = match &args.bootstrap_kubeconfig {
            Some(file) => bootstrap(kubeconfig, file, &certificate, clock).await?,
            None => None,
        };
        let clients = KubeconfigClients::open(kubeconfig, clock.clone()).await?;
        if !args.rotate_certificates {
            return Ok(Self { clients, rotation: None });
        }
        let user = clients.config().auth_info;
        let named = user.client_certificate.as_deref().map(Path::new);
        if named == Some(certificate.file()) {
            return Ok(Self::rotated(clients, certificate, first));
        }
        // Who has a token or the like goes on with that.
        let Some(text) = shown(&user) else { return Ok(Self { clients, rotation: None }) };
        let certificate = certificate.until_then(text);
        certificate.discard_ended()?;
        let file = certificate.file().to_owned();
        let clients =
            KubeconfigClients::open_with_certificate(kubeconfig, file, clock.clone()).await?;
        Ok(Self::rotated(clients, certificate, first))
    }

    fn rotated(
        clients: KubeconfigClients,
        certificate: ClientCertificate,
        first: Option<KubeconfigClients>,
    ) -> Self {
        let renewed = clients.clone();
        let rotation = certificate.rotation(clients.client());
        let rotation = rotation.on_renewed(move || renewed.hurry());
        let rotation = match first {
            Some(first) => rotation.bootstrap(first.client()),
            None => rotation,
        };
        Self { clients, rotation: Some(rotation) }
    }
}

/// Sees to it that the kubeconfig is there and good for something: where it is not, asks for a certificate with the
/// bootstrap kubeconfig, and writes one that names it. Gives those who ask when that has ended.
async fn bootstrap(
    kubeconfig: &Path,
    file: &Path,
    certificate: &ClientCertificate,
    clock: &SharedClock,
) -> anyhow::Result<Option<KubeconfigClients>> {
    let first = KubeconfigClients::open(file, clock.clone()).await;
    if is_good(kubeconfig, clock).await {
        // It is often taken away once it was used.
        return Ok(first.ok());
    }
    let first = first?;
    if certificate.valid().is_none() {
        eprintln!("client certificate: asked for with {}", file.display());
        certificate.obtain(&first.client()).await;
    }
    made(&first, certificate).write(kubeconfig)?;
    eprintln!("client certificate: {}", certificate.file().display());
    Ok(Some(first))
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
    let ends = inspect(&shown(&user).unwrap_or_default()).map(|info| info.not_after);
    ends.is_ok_and(|ends| clock.now() < ends)
}

/// The certificate of a kubeconfig's user, PEM.
fn shown(user: &AuthInfo) -> Option<String> {
    let data = user.client_certificate_data.as_ref();
    let data = data.and_then(|data| STANDARD.decode(data.trim()).ok());
    let text = data.or_else(|| std::fs::read(user.client_certificate.as_ref()?).ok())?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The same server, as the node.
fn made(first: &KubeconfigClients, certificate: &ClientCertificate) -> Kubeconfig {
    let config = first.config();
    Kubeconfig {
        cluster: "default-cluster".to_owned(),
        server: config.cluster_url.to_string().trim_end_matches('/').to_owned(),
        authority: components::authority(&config),
        user: "default-auth".to_owned(),
        credentials: KubeconfigUser::File(certificate.file().to_owned()),
    }
}
