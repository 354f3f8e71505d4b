//! The certificate by which the kubelet is known to the API server.

mod figures;
mod kept;

use super::{LONGEST, SHORTEST, Wanted, ask, rotation};
use crate::{Error, Result};
use async_trait::async_trait;
use figures::Figures;
use jiff::{SignedDuration, Timestamp};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use kubeplane_pki::{CertificateInfo, Identity, Request, Usage, inspect};
use kubeplane_telemetry::Metrics;
use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODES: &str = "system:nodes";
/// Where it is in its directory, with its key, as in the original.
const CURRENT: &str = "kubelet-client-current.pem";
/// The longest time the clock is not looked at: it may be set.
const PERIOD: Duration = Duration::from_secs(3600);
/// A certificate is rotated when a share of its time between these is over, by chance: not all nodes ask at once.
const ROTATION: std::ops::Range<f64> = 0.7..0.9;
/// The least time between two certificates, whatever the first says.
const SPACING: SignedDuration = SignedDuration::from_secs(60);

/// The client certificate of a node, kept in a directory with its key and asked for through the API (signer
/// `kubernetes.io/kube-apiserver-client-kubelet`, where a controller approves it for those who may have it).
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    node: String,
    file: PathBuf,
    /// The one that was there before any was asked for.
    first: Option<String>,
    clock: SharedClock,
    seed: Seed,
}

impl ClientCertificate {
    /// Of this node, in this directory, which is made when it is needed.
    #[must_use]
    pub fn new(node: impl Into<String>, directory: &Path, clock: SharedClock) -> Self {
        let file = directory.join(CURRENT);
        Self { node: node.into(), file, first: None, clock, seed: Seed::random() }
    }

    /// Until there is one in the directory this counts (PEM, without its key), as the one of a kubeconfig: the next is
    /// asked for in its time, or at once where it is not the node's own.
    #[must_use]
    pub fn until_then(self, first: impl Into<String>) -> Self {
        Self { first: Some(first.into()), ..self }
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
        let own = std::fs::read_to_string(&self.file).ok();
        let all = own.iter().chain(&self.first);
        all.filter_map(|text| inspect(text).ok()).find(|info| self.clock.now() < info.not_after)
    }

    /// Takes the certificate out of the directory when it has ended, so that the one that was there before (see
    /// [`until_then`](Self::until_then)) counts again; whether it did. Without one before it stays.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn discard_ended(&self) -> Result<bool> {
        let Ok(text) = std::fs::read_to_string(&self.file) else { return Ok(false) };
        let good = inspect(&text).is_ok_and(|info| self.clock.now() < info.not_after);
        if good || self.first.is_none() {
            return Ok(false);
        }
        let failed = |source| Error::File { path: self.file.clone(), source };
        std::fs::remove_file(&self.file).map_err(failed)?;
        Ok(true)
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
            request: Request::new(name, Usage::Client).organization(NODES),
        };
        let unusable = |why: String| Error::certificate("client certificate", why);
        let identity = ask(client, &*self.clock, &wanted).await.map_err(unusable)?;
        self.keep(&identity).map_err(|error| unusable(error.to_string()))
    }

    fn keep(&self, identity: &Identity) -> std::result::Result<(), Box<dyn std::error::Error>> {
        inspect(&identity.certificate)?;
        let text = format!("{}\n{}", identity.certificate.trim_end(), identity.key);
        kept::keep(&self.file, &text, self.clock.now())
    }

    /// When the next one is to be asked for; the epoch when there is none, or one that is not the node's own.
    fn due(&self) -> Timestamp {
        let share = ROTATION.start + (ROTATION.end - ROTATION.start) * self.seed.fraction();
        let own = self.valid().filter(|info| self.is_own(info));
        own.map_or(Timestamp::UNIX_EPOCH, |info| rotation(&info, share))
    }

    fn is_own(&self, info: &CertificateInfo) -> bool {
        info.common_name.strip_prefix("system:node:") == Some(self.node.as_str())
            && info.organizations.iter().any(|organization| organization == NODES)
    }

    /// What asks for the next certificate in time, as the node that shows the present one.
    #[must_use]
    pub fn rotation(self, client: kube::Client) -> ClientRotation {
        let (bootstrap, figures) = (None, Figures::default());
        ClientRotation { certificate: self, client, bootstrap, figures, renewed: Box::new(|| {}) }
    }
}

/// Asks for a [`ClientCertificate`] anew when between 70 and 90 % of its time are over. What fails is logged and tried
/// again, at ever longer intervals.
pub struct ClientRotation {
    certificate: ClientCertificate,
    client: kube::Client,
    bootstrap: Option<kube::Client>,
    figures: Figures,
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

    /// Tells there how long the certificate is good for, and how often another could not be had, under the original's
    /// names.
    #[must_use]
    pub fn metrics(self, metrics: &Metrics) -> Self {
        self.figures.show(metrics, self.certificate.clone());
        self
    }

    /// Calls this when there is a new certificate in the directory, or one that has ended was taken out of it.
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
            if other.is_none() {
                // Nothing else lets the one that was there before, and may be renewed by others, count again.
                match self.certificate.discard_ended() {
                    Ok(true) => (self.renewed)(),
                    Ok(false) => {}
                    Err(error) => tracing::warn!(%error, "an ended certificate stays"),
                }
            }
            match self.certificate.renew(other.unwrap_or(&self.client)).await {
                Ok(()) => {
                    tracing::info!(file = %self.certificate.file.display(), "the node has a new client certificate");
                    (self.renewed)();
                    let soonest = clock.now().saturating_add(SPACING).unwrap_or(Timestamp::MAX);
                    (due, pause) = (self.certificate.due().max(soonest), SHORTEST);
                }
                Err(why) => {
                    self.figures.failed();
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

    /// A certificate of this user, good for a hundred hours, and its key.
    fn issued(user: &str, organization: &str, start: Timestamp) -> Identity {
        let authority = Authority::generate("kubernetes", start).unwrap();
        let key = generate_key().unwrap();
        let asked = Request::new(user, Usage::Client).organization(organization);
        let asked = SigningRequest::create(&asked, &key).unwrap();
        let asked = SigningRequest::parse(asked.as_bytes()).unwrap();
        let until = start.saturating_add(SignedDuration::from_hours(100)).unwrap();
        let terms = Terms { usages: vec!["client auth"], not_before: start, not_after: until };
        Identity { certificate: authority.sign(&asked, &terms).unwrap(), key }
    }

    #[test]
    fn the_certificate_of_a_kubeconfig_counts_until_there_is_another() {
        let home = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = PausedClock::starting_at(start);
        let none =
            ClientCertificate::new("a", home.path(), Arc::new(clock.clone())).seed(Seed::new(7));
        let mine = issued("system:node:a", NODES, start);
        let own = none.clone().until_then(&mine.certificate);
        let hours = |hours| start.saturating_add(SignedDuration::from_hours(hours)).unwrap();
        assert!(own.due() >= hours(70) && own.due() <= hours(90), "{}", own.due());
        // As kubeadm gives one to the first kubelet.
        let others = issued("kubernetes-admin", "system:masters", start);
        let high = none.clone().until_then(&others.certificate);
        assert_eq!(high.valid().unwrap().common_name, "kubernetes-admin");
        assert_eq!(high.due(), Timestamp::UNIX_EPOCH, "it is not the node's own");
        let neighbour = issued("system:node:b", NODES, start);
        assert_eq!(none.clone().until_then(neighbour.certificate).due(), Timestamp::UNIX_EPOCH);

        clock.advance(Duration::from_secs(50 * 3600));
        let next = issued("system:node:a", NODES, clock.now());
        high.keep(&next).unwrap();
        assert_eq!(high.valid().unwrap().common_name, "system:node:a");
        assert!(high.due() >= hours(120), "{}", high.due());
        assert!(!high.discard_ended().unwrap());
        clock.advance(Duration::from_secs(100 * 3600));
        assert!(high.discard_ended().unwrap(), "it has ended");
        assert!(!high.file().exists() && !high.discard_ended().unwrap());
    }

    #[test]
    fn how_long_the_certificate_is_good_is_told() {
        let home = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = PausedClock::starting_at(start);
        let certificate = ClientCertificate::new("a", home.path(), Arc::new(clock.clone()));
        let (metrics, figures) = (Metrics::new(), Figures::default());
        figures.show(&metrics, certificate.clone());
        let name = "kubelet_certificate_manager_client_ttl_seconds";
        let text = metrics.encode_plain();
        assert!(
            text.contains(&format!("{name} +Inf")) || text.contains(&format!("{name} inf")),
            "{text}"
        );
        certificate.keep(&issued("system:node:a", NODES, start)).unwrap();
        clock.advance(Duration::from_secs(3600));
        figures.failed();
        let text = metrics.encode_plain();
        assert!(text.contains(&format!("{name} 356400")), "{text}");
        let errors = "kubelet_certificate_manager_client_expiration_renew_errors";
        assert!(text.contains(errors), "{text}");
    }
}
