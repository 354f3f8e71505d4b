use kubeplane_clock::SharedClock;
use std::{fmt, time::Duration};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How to reach etcd.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// URLs of the members, such as `http://127.0.0.1:2379`; calls go to all of them in turn.
    pub endpoints: Vec<String>,
    /// For `https` endpoints.
    pub tls: Option<EtcdTls>,
    /// How long one read or write may take; what is not answered by then has failed.
    pub timeout: Duration,
    /// The clock by which leases are shared and watches wait.
    pub clock: SharedClock,
}

impl EtcdOptions {
    /// These members, without TLS, ten seconds for a call.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            timeout: Duration::from_secs(10),
            clock: kubeplane_clock::real(),
        }
    }

    /// With TLS.
    #[must_use]
    pub fn tls(mut self, tls: EtcdTls) -> Self {
        self.tls = Some(tls);
        self
    }
}

/// Whom to trust and who to be, all in PEM.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// The authorities of the members' certificates.
    pub ca: Vec<u8>,
    /// The client's certificate chain and key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// The name in the members' certificates, when it is not that of the endpoint.
    pub server_name: Option<String>,
}

impl fmt::Debug for EtcdTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdTls")
            .field("identity", &self.identity.is_some())
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Why there is no store on etcd.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// There are no endpoints.
    #[error("no etcd endpoint is given")]
    NoEndpoint,
    /// An endpoint is not a URL that can be used.
    #[error("etcd endpoint {endpoint:?}: {reason}")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No member answers.
    #[error("etcd at {} does not answer: {reason}", endpoints.join(", "))]
    Unreachable {
        /// The endpoints.
        endpoints: Vec<String>,
        /// What happened.
        reason: String,
    },
}

/// A channel to all the members. It connects, and connects again, when it is used.
pub(crate) fn channel(options: &EtcdOptions) -> Result<Channel, ConnectError> {
    let mut endpoints = Vec::new();
    for name in &options.endpoints {
        endpoints.push(
            endpoint(name, options.tls.as_ref())
                .map_err(|reason| ConnectError::Endpoint { endpoint: name.clone(), reason })?,
        );
    }
    match endpoints.as_slice() {
        [] => Err(ConnectError::NoEndpoint),
        [only] => Ok(only.connect_lazy()),
        _ => Ok(Channel::balance_list(endpoints.into_iter())),
    }
}

fn endpoint(name: &str, tls: Option<&EtcdTls>) -> Result<Endpoint, String> {
    let endpoint = Endpoint::from_shared(name.to_owned()).map_err(|error| chain(&error))?;
    // A watcher that nobody reads holds at most its stream's window of the connection's.
    let endpoint = endpoint
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 28);
    match endpoint.uri().scheme_str() {
        Some("http") => Ok(endpoint),
        Some("https") => {
            let tls = tls.ok_or("https needs certificates")?;
            endpoint.tls_config(tls_config(tls)).map_err(|error| chain(&error))
        }
        _ => Err("neither http:// nor https://".into()),
    }
}

fn tls_config(tls: &EtcdTls) -> ClientTlsConfig {
    let mut config = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&tls.ca));
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = &tls.server_name {
        config = config.domain_name(name);
    }
    config
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
