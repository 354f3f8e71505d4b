//! The certificate by which the kubelet is known to the API server.

use super::{LONGEST, SHORTEST, Wanted, ask, rotation};
use crate::{Error, Result};
use async_trait::async_trait;
use jiff::Timestamp;
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use kubeplane_pki::{CertificateInfo, Identity, Request, Usage, inspect, write_private};
use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Where it is in its directory, with its key, as in the original.
const CURRENT: &str = "kubelet-client-current.pem";
/// The longest time the clock is not looked at: it may be set.
const PERIOD: Duration = Duration::from_secs(3600);
/// A certificate is rotated when a share of its time between these is over, by chance: not all nodes ask at once.
const ROTATION: std::ops::Range<f64> = 0.7..0.9;

/// The client certificate of a node, kept in a directory with its key and asked for through the API (signer
/// `kubernetes.io/kube-apiserver-client-kubelet`, where a controller approves it for those who may have it).
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    node: String,
    file: PathBuf,
    clock: SharedClock,
    seed: Seed,
}

impl ClientCertificate {
    /// Of this node, in this directory, which is made when it is needed.
    #[must_use]
    pub fn new(node: impl Into<String>, directory: &Path, clock: SharedClock) -> Self {
        let file = directory.join(CURRENT);
        Self { node: node.into(), file, clock, seed: Seed::random() }
    }

    /// Takes its chance from here.
    #[must_use]
    pub fn seed(self, seed: Seed) -> Self {
        Self { seed, ..self }
    }

    /// The file with the certificate and its key, PEM.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What the certificate says, if there is one that has not ended.
    #[must_use]
    pub fn valid(&self) -> Option<CertificateInfo> {
        let info = inspect(&std::fs::read_to_string(&self.file).ok()?).ok()?;
        (self.clock.now() < info.not_after).then_some(info)
    }

    /// Asks for a certificate through this client until there is one.
    ///
    /// # Cancellation
    /// A request that waits for somebody to approve it stays.
    pub async fn obtain(&self, client: &kube::Client) {
        let mut pause = SHORTEST;
        while let Err(why) = self.renew(client).await {
            tracing::warn!(%why, "there is no client certificate of the node yet");
            self.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// Asks for another certificate and keeps it.
    async fn renew(&self, client: &kube::Client) -> Result<()> {
        let name = format!("system:node:{}", self.node);
        let wanted = Wanted {
            signer: SIGNER,
            purpose: "client auth",
            request: Request::new(name, Usage::Client).organization("system:nodes"),
        };
        let unusable = |why: String| Error::certificate("client certificate", why);
        let identity = ask(client, &*self.clock, &wanted).await.map_err(unusable)?;
        self.keep(&identity).map_err(|error| unusable(error.to_string()))
    }

    fn keep(&self, identity: &Identity) -> std::result::Result<(), Box<dyn std::error::Error>> {
        inspect(&identity.certificate)?;
        if let Some(directory) = self.file.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let text = format!("{}\n{}", identity.certificate.trim_end(), identity.key);
        Ok(write_private(&self.file, &text)?)
    }

    /// When the next one is to be asked for; the epoch when there is none.
    fn due(&self) -> Timestamp {
        let share = ROTATION.start + (ROTATION.end - ROTATION.start) * self.seed.fraction();
        self.valid().map_or(Timestamp::UNIX_EPOCH, |info| rotation(&info, share))
    }

    /// What asks for the next certificate in time, as the node that shows the present one.
    #[must_use]
    pub fn rotation(self, client: kube::Client) -> ClientRotation {
        ClientRotation { certificate: self, client, bootstrap: None, renewed: Box::new(|| {}) }
    }
}

/// Asks for a [`ClientCertificate`] anew when between 70 and 90 % of its time are over. What fails is logged and tried
/// again, at ever longer intervals.
pub struct ClientRotation {
    certificate: ClientCertificate,
    client: kube::Client,
    bootstrap: Option<kube::Client>,
    renewed: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for ClientRotation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRotation").field("of", &self.certificate).finish_non_exhaustive()
    }
}

impl ClientRotation {
    /// Asks through this client where the certificate has ended, so that nobody knows the node any more.
    #[must_use]
    pub fn bootstrap(self, client: kube::Client) -> Self {
        Self { bootstrap: Some(client), ..self }
    }

    /// Calls this when there is a new certificate in the directory.
    #[must_use]
    pub fn on_renewed(self, call: impl Fn() + Send + Sync + 'static) -> Self {
        Self { renewed: Box::new(call), ..self }
    }

    async fn keep(&self) {
        let clock = &self.certificate.clock;
        let (mut due, mut pause) = (self.certificate.due(), SHORTEST);
        loop {
            let left = Duration::try_from(due.duration_since(clock.now())).unwrap_or_default();
            if !left.is_zero() {
                clock.sleep(left.min(PERIOD)).await;
                continue;
            }
            let ended = self.certificate.valid().is_none();
            let other = self.bootstrap.as_ref().filter(|_| ended);
            match self.certificate.renew(other.unwrap_or(&self.client)).await {
                Ok(()) => {
                    tracing::info!(file = %self.certificate.file.display(), "the node has a new client certificate");
                    (self.renewed)();
                    (due, pause) = (self.certificate.due(), SHORTEST);
                }
                Err(why) => {
                    tracing::warn!(%why, "the client certificate of the node is not renewed");
                    clock.sleep(pause).await;
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }
}

#[async_trait]
impl Component for ClientRotation {
    fn name(&self) -> &str {
        "client-certificate"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        lifecycle.ready();
        tokio::select! {
            biased;
            () = lifecycle.stopping() => {}
            () = self.keep() => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_clock::{Clock as _, PausedClock};
    use kubeplane_pki::{Authority, SigningRequest, Terms, generate_key};
    use std::sync::Arc;

    #[test]
    fn a_kept_certificate_is_due_between_70_and_90_percent_of_its_time() {
        let home = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = PausedClock::starting_at(start);
        let certificate =
            ClientCertificate::new("a", &home.path().join("pki"), Arc::new(clock.clone()))
                .seed(Seed::new(7));
        assert!(certificate.valid().is_none());
        assert_eq!(certificate.due(), Timestamp::UNIX_EPOCH);
        let authority = Authority::generate("kubernetes", start).unwrap();
        let key = generate_key().unwrap();
        let node = Request::new("system:node:a", Usage::Client).organization("system:nodes");
        let asked = SigningRequest::create(&node, &key).unwrap();
        let asked = SigningRequest::parse(asked.as_bytes()).unwrap();
        let hours = |hours| start.saturating_add(jiff::SignedDuration::from_hours(hours)).unwrap();
        let terms = Terms { usages: vec!["client auth"], not_before: start, not_after: hours(100) };
        let signed = authority.sign(&asked, &terms).unwrap();
        certificate.keep(&Identity { certificate: signed, key: key.clone() }).unwrap();
        let mut all: Vec<_> = (0..100).map(|_| certificate.due()).collect();
        all.sort();
        assert!(all[0] >= hours(70) && all[99] <= hours(90), "{} {}", all[0], all[99]);
        assert!(all[0] < hours(75) && all[99] > hours(85), "{} {}", all[0], all[99]);
        let text = std::fs::read_to_string(certificate.file()).unwrap();
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----") && text.ends_with(&key), "{text}");
        assert_eq!(certificate.valid().unwrap().common_name, "system:node:a");
        clock.advance(Duration::from_secs(100 * 3600));
        assert!(certificate.valid().is_none(), "it has ended at {}", clock.now());
    }
}
