//! What a kubeconfig said at one time, and the clients made of it.

use super::transport::{self, Answer, Transport};
use crate::{Error, Result};
use http::{Request, Response, Uri};
use kube::{
    Client, Config,
    client::Body,
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, ServiceExt as _};

/// What a kubeconfig and the files that it names hold; `None` for those that cannot be read.
#[derive(PartialEq, Eq)]
pub(super) struct Files(BTreeMap<PathBuf, Option<Vec<u8>>>);

pub(super) struct Generation {
    pub(super) config: Config,
    pub(super) files: Files,
    pub(super) user: Sender,
    pub(super) nobody: Sender,
    /// Cancelled when connections that were made like these are not to be used any longer.
    pub(super) over: CancellationToken,
    connection: Connection,
}

/// Sends requests: most over a connection that they share.
pub(super) struct Sender {
    shared: Option<Transport>,
    apart: Client,
}

impl Sender {
    fn of(config: Config) -> std::result::Result<Self, BoxError> {
        // This first: it says by whom TLS is done where nobody has said it yet.
        let apart = Client::try_from(config.clone())?;
        Ok(Self { shared: transport::shared(&config)?, apart })
    }

    pub(super) async fn send(
        &self,
        request: Request<Body>,
    ) -> std::result::Result<Response<Answer>, BoxError> {
        match &self.shared {
            Some(shared) if transport::is_shared(&request) => shared.clone().oneshot(request).await,
            _ => Ok(transport::answer(self.apart.send(request).await?)),
        }
    }
}

/// What a connection was made with.
#[derive(PartialEq, Eq)]
struct Connection {
    server: Uri,
    authorities: Option<Vec<Vec<u8>>>,
    certificate: Option<Vec<u8>>,
}

fn failed<E>(path: &Path) -> impl FnOnce(E) -> Error + '_
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| Error::Kubeconfig { path: path.to_owned(), source: source.into() }
}

impl Files {
    /// Of the kubeconfig, of what it names, and of the certificate that counts more than its own.
    pub(super) fn of(path: &Path, certificate: Option<&Path>) -> Result<Self> {
        // Read before it is parsed: what comes between is seen by the next look.
        let own = std::fs::read(path).map_err(failed(path))?;
        let file = Kubeconfig::read_from(path).map_err(failed(path))?;
        let users = file.auth_infos.iter().filter_map(|own| own.auth_info.as_ref());
        let users = users
            .flat_map(|own| [&own.client_certificate, &own.client_key, &own.token_file])
            .flatten();
        let clusters = file.clusters.iter().filter_map(|own| own.cluster.as_ref());
        let clusters = clusters.filter_map(|own| own.certificate_authority.as_ref());
        let named = users.chain(clusters).map(PathBuf::from);
        let named = named.chain(certificate.map(Path::to_owned));
        let mut all: BTreeMap<_, _> = named
            .map(|file| {
                let content = std::fs::read(&file).ok();
                (file, content)
            })
            .collect();
        all.insert(path.to_owned(), Some(own));
        Ok(Self(all))
    }

    fn content(&self, path: &str) -> Option<&[u8]> {
        self.0.get(Path::new(path))?.as_deref()
    }
}

impl Generation {
    /// Makes clients of what the file says, in place of those of `before`; what is in `certificate` counts more than
    /// its own.
    pub(super) async fn read(
        path: &Path,
        certificate: Option<&Path>,
        files: Files,
        before: Option<&Self>,
    ) -> Result<Self> {
        let file = Kubeconfig::read_from(path).map_err(failed(path))?;
        let options = KubeConfigOptions::default();
        let mut config =
            Config::from_custom_kubeconfig(file, &options).await.map_err(failed(path))?;
        let other = certificate.and_then(Path::to_str);
        if let Some(other) = other.filter(|other| files.content(other).is_some()) {
            config.auth_info.client_certificate = Some(other.to_owned());
            config.auth_info.client_key = Some(other.to_owned());
            config.auth_info.client_certificate_data = None;
            config.auth_info.client_key_data = None;
        }
        let mut shown = config.clone();
        let user = &mut shown.auth_info;
        // Read here, for the client would go by the time of the machine.
        if let Some(text) = user.token_file.take_if(|file| files.content(file).is_some()) {
            let token = String::from_utf8_lossy(files.content(&text).unwrap_or_default());
            if token.trim().is_empty() {
                return Err(failed(path)(format!("read empty token from file {text:?}")));
            }
            user.token = Some(token.trim().to_owned().into());
        }
        let mut bare = config.clone();
        bare.auth_info = AuthInfo::default();
        let connection = Connection::of(&config, &files);
        let kept = before.filter(|before| before.connection == connection);
        Ok(Self {
            user: Sender::of(shown).map_err(failed(path))?,
            nobody: Sender::of(bare).map_err(failed(path))?,
            over: kept.map(|before| before.over.clone()).unwrap_or_default(),
            config,
            files,
            connection,
        })
    }

    pub(super) fn shares_connections_with(&self, other: &Self) -> bool {
        self.connection == other.connection
    }
}

impl Connection {
    fn of(config: &Config, files: &Files) -> Self {
        let user = &config.auth_info;
        let data = user.client_certificate_data.clone().map(String::into_bytes);
        let file = user.client_certificate.as_deref().and_then(|file| files.content(file));
        Self {
            server: config.cluster_url.clone(),
            authorities: config.root_cert.clone(),
            certificate: data.or_else(|| file.map(<[u8]>::to_vec)),
        }
    }
}
