//! Certificates that are made anew while what shows them runs.
//!
//! ```text
//!   clock, every hour ──> Renewal ──> Credentials::renew ──> pki/*.crt, *.key
//!                                          │                     └─> LiveIdentity: what listeners and clients show
//!                                          └─> Kubeconfigs::renew ──> *.kubeconfig
//! ```

use crate::credentials::{Credentials, Kubeconfigs};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use kubeplane_clock::SharedClock;
use kubeplane_core::component::{Component, ComponentError, Lifecycle};
use kubeplane_pki::Error;
use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::watch;

/// How often certificates are looked at.
const PERIOD: Duration = Duration::from_secs(3600);
/// How long before its end an authority is spoken of.
const NOTICE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How often.
const REMINDER: SignedDuration = SignedDuration::from_hours(24);

/// Renews what nears its end at this time, and says what it was.
type Look = Box<dyn FnMut(Timestamp) -> Result<Vec<String>, Error> + Send + Sync>;

/// Looks at certificates once an hour and renews those that near their end; see
/// [`CertificateInfo::due`](kubeplane_pki::CertificateInfo::due). What fails is logged and tried again with the
/// next look.
///
/// ```
/// # fn assemble(
/// #     credentials: std::sync::Arc<kubeplane::credentials::Credentials>,
/// #     api: kubeplane::prelude::ApiServer,
/// # ) -> kubeplane::ControlPlane {
/// use kubeplane::{ControlPlane, renewal::Renewal};
/// let clock = kubeplane::clock::real();
/// let renewal = Renewal::new(clock).credentials(credentials);
/// ControlPlane::new().with(api).with(renewal)
/// # }
/// ```
pub struct Renewal {
    clock: SharedClock,
    looks: Vec<Look>,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewal").field("looks", &self.looks.len()).finish_non_exhaustive()
    }
}

impl Renewal {
    /// Of nothing yet.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, looks: Vec::new() }
    }

    /// Also by this function, which renews what is near its end at the time it is given, and returns the names.
    #[must_use]
    pub fn with(
        mut self,
        look: impl FnMut(Timestamp) -> Result<Vec<String>, Error> + Send + Sync + 'static,
    ) -> Self {
        self.looks.push(Box::new(look));
        self
    }

    /// Also of a cluster's certificates. An authority with less than a year left is warned of, once a day.
    #[must_use]
    pub fn credentials(self, credentials: Arc<Credentials>) -> Self {
        let mut reminder = Reminder::default();
        self.with(move |now| {
            reminder.look(&credentials, now);
            credentials.renew(now)
        })
    }

    /// Also of a cluster's certificates and of the kubeconfigs made of them, once the server listens.
    #[must_use]
    pub fn with_kubeconfigs(
        self,
        credentials: Arc<Credentials>,
        files: Kubeconfigs,
        bound: watch::Receiver<Option<SocketAddr>>,
    ) -> Self {
        let mut reminder = Reminder::default();
        let mut pending = Vec::new();
        self.with(move |now| {
            reminder.look(&credentials, now);
            let mut renewed = credentials.renew(now)?;
            let address = *bound.borrow();
            if let Some(address) = address {
                let server = Kubeconfigs::server(address);
                renewed.extend(files.renew(&credentials, &mut pending, &server)?);
            }
            Ok(renewed)
        })
    }

    fn look(&mut self) {
        let now = self.clock.now();
        for look in &mut self.looks {
            match look(now) {
                Ok(renewed) if renewed.is_empty() => {}
                Ok(renewed) => tracing::info!(?renewed, "certificates were renewed"),
                Err(error) => tracing::error!(%error, "certificates could not be renewed"),
            }
        }
    }
}

#[async_trait]
impl Component for Renewal {
    fn name(&self) -> &str {
        "certificates"
    }

    async fn run(mut self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        lifecycle.ready();
        loop {
            self.look();
            let pause = self.clock.sleep(PERIOD);
            tokio::select! {
                biased;
                () = lifecycle.stopping() => return Ok(()),
                () = pause => {}
            }
        }
    }
}

/// When was last said that an authority ends.
#[derive(Debug, Default)]
struct Reminder(Option<Timestamp>);

impl Reminder {
    fn look(&mut self, credentials: &Credentials, now: Timestamp) {
        if self.0.is_some_and(|last| now.duration_since(last) < REMINDER) {
            return;
        }
        for (name, end) in credentials.authorities_ending(now, NOTICE) {
            self.0 = Some(now);
            tracing::warn!(
                authority = name,
                %end,
                "an authority ends in less than a year, and all it signed with it: it is not renewed by itself"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_clock::{Clock as _, PausedClock};
    use kubeplane_core::component::lifecycle;
    use kubeplane_pki::inspect;

    fn day(days: u64) -> Duration {
        Duration::from_secs(days * 24 * 3600)
    }

    fn end(certificate: &str) -> Timestamp {
        inspect(certificate).unwrap().not_after
    }

    #[tokio::test]
    async fn what_a_process_shows_and_its_files_are_renewed_before_they_end() {
        let home = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = PausedClock::starting_at(start);
        let credentials =
            Arc::new(Credentials::open(&home.path().join("pki"), &[], &[], start).unwrap());
        let shown_by = [
            credentials.live_serving().unwrap(),
            credentials.live_kubelet_client().unwrap(),
            credentials.live_front_proxy().unwrap(),
            credentials.live_kubelet_serving("node-1", &[]).unwrap(),
        ];
        let files = Kubeconfigs::new(home.path(), vec!["node-1".to_owned()]);
        let address: SocketAddr = "127.0.0.1:6443".parse().unwrap();
        let admin = files.write(&credentials, &Kubeconfigs::server(address)).unwrap();
        let names = ["admin", "scheduler", "controller-manager", "proxy", "kubelet-node-1"];
        let paths = names.map(|name| home.path().join(format!("{name}.kubeconfig")));
        assert_eq!(paths[0], admin);
        let texts = names
            .iter()
            .zip(&paths)
            .map(|(name, path)| (*name, std::fs::read_to_string(path).unwrap()));
        let before: std::collections::BTreeMap<&str, String> = texts.collect();
        let (_, bound) = watch::channel(Some(address));
        let renewal = Renewal::new(Arc::new(clock.clone())).with_kubeconfigs(
            credentials.clone(),
            files,
            bound,
        );
        let (own, supervision) = lifecycle();
        let running = tokio::spawn(Box::new(renewal).run(own));
        let next_look = async || {
            while clock.next_wake().is_none() {
                tokio::task::yield_now().await;
            }
        };
        next_look().await;
        let first = end(&shown_by[0].identity().certificate);
        clock.advance(day(334));
        next_look().await;
        for live in &shown_by {
            assert_eq!(end(&live.identity().certificate), first, "it has more than thirty days");
        }
        std::fs::write(&admin, "edited").unwrap();
        clock.advance(Duration::from_secs(3600));
        next_look().await;
        assert_eq!(std::fs::read_to_string(&admin).unwrap(), "edited", "it is not renewed yet");

        clock.advance(day(1));
        next_look().await;
        for live in &shown_by {
            assert!(
                end(&live.identity().certificate)
                    > first.saturating_add(SignedDuration::from_hours(300 * 24)).unwrap()
            );
        }
        for (name, path) in names.iter().zip(&paths) {
            let own = home.path().join("pki").join(name).with_extension("crt");
            assert!(end(&std::fs::read_to_string(own).unwrap()) > first, "{name}");
            assert_ne!(std::fs::read_to_string(path).unwrap(), before[name], "{name}");
        }
        let server = Kubeconfigs::server(address);
        let said = credentials.admin_kubeconfig(&server).to_yaml().unwrap();
        assert_eq!(std::fs::read_to_string(&admin).unwrap(), said, "one that was edited, too");
        let kept = std::fs::read_to_string(home.path().join("pki/apiserver.crt")).unwrap();
        assert_eq!(kept, shown_by[0].identity().certificate, "the next start finds it");
        assert!(!credentials.live_serving().unwrap().is_due(clock.now()));
        supervision.stop();
        running.await.unwrap().unwrap();
    }

    #[test]
    fn authorities_are_spoken_of_when_a_year_is_left() {
        let home = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let credentials = Credentials::open(home.path(), &[], &[], start).unwrap();
        let years = |years: i64| {
            start.saturating_add(SignedDuration::from_hours(years * 365 * 24)).unwrap()
        };
        assert!(credentials.authorities_ending(years(8), NOTICE).is_empty());
        let late = years(9).saturating_add(SignedDuration::from_hours(24)).unwrap();
        let names: Vec<_> = credentials
            .authorities_ending(late, NOTICE)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["ca", "front-proxy-ca"]);
    }

    #[test]
    fn a_certificate_somebody_brought_is_left_to_them() {
        let home = tempfile::tempdir().unwrap();
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut credentials = Credentials::open(home.path(), &[], &[], start).unwrap();
        let other = kubeplane_pki::Authority::generate("other", start).unwrap();
        let request =
            kubeplane_pki::Request::new("api", kubeplane_pki::Usage::Server).names(["api"]);
        credentials.serving = other.issue(&request, start).unwrap();
        let live = credentials.live_serving().unwrap();
        let before = live.identity();
        let late = start.saturating_add(SignedDuration::from_hours(360 * 24)).unwrap();
        credentials.renew(late).unwrap();
        assert_eq!(live.identity(), before);
    }
}
