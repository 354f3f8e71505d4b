use crate::source::EtcdSource;
use kubeplane_clock::SharedClock;
use std::{fmt, time::Duration};

/// How to reach etcd, and what to be there.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// URLs of the members, such as `http://127.0.0.1:2379`; calls go to all of them in turn.
    pub endpoints: Vec<String>,
    /// For `https` endpoints.
    pub tls: Option<EtcdTls>,
    /// Who to be, where etcd's authentication is enabled and not by certificate.
    pub user: Option<EtcdUser>,
    /// How long one read or write may take, all members together; what is not answered by then has failed. A
    /// watch that lost its member looks for another one for as long.
    pub timeout: Duration,
    /// How long a connection may be silent before it is tested; it is given up half as long after. etcd refuses
    /// clients that test more often than every five seconds.
    pub keep_alive: Duration,
    /// What the keys begin with. Keys are used as given; but a user who may not read others can read these.
    pub prefix: String,
    /// How often history is forgotten, by the one server of many that comes first; `None` for never. What was
    /// superseded lives for one to two intervals.
    pub compaction: Option<Duration>,
    /// The clock by which leases are shared, watches wait and history is forgotten.
    pub clock: SharedClock,
}

impl EtcdOptions {
    /// These members, without TLS; ten seconds for a call, history forgotten every five minutes.
    #[must_use]
    pub fn new(endpoints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            tls: None,
            user: None,
            timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(10),
            prefix: "/registry".to_owned(),
            compaction: Some(Duration::from_secs(300)),
            clock: kubeplane_clock::real(),
        }
    }

    /// With TLS.
    #[must_use]
    pub fn tls(mut self, tls: EtcdTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// As this user; a path is that of a file with the password.
    #[must_use]
    pub fn user(mut self, name: impl Into<String>, password: impl Into<EtcdSource>) -> Self {
        self.user = Some(EtcdUser { name: name.into(), password: password.into() });
        self
    }
}

/// A user of etcd's own.
#[derive(Clone)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password; it is sent to get a token, and again when that has run out. Of a file, without the end of its
    /// last line.
    pub password: EtcdSource,
}

impl fmt::Debug for EtcdUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdUser").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Whom to trust and who to be, all in PEM. Files are read for each connection.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// The authorities of the members' certificates.
    pub ca: EtcdSource,
    /// The client's certificate chain and key.
    pub identity: Option<(EtcdSource, EtcdSource)>,
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
    /// etcd does not take the user.
    #[error("etcd does not take user {user:?}: {reason}")]
    User {
        /// The user's name.
        user: String,
        /// What etcd says.
        reason: String,
    },
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
