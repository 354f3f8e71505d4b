//! The Lease that says that an API server is there (KEP-1965), and the end of those of servers that are not.

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use kubeplane_apiserver::{Api, DeleteOptions};
use kubeplane_core::{
    GroupResource, Object,
    auth::{GROUP_MASTERS, UserInfo},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;

const NAMESPACE: &str = "kube-system";
/// Whose Lease it is, as its label and its name say.
const LABEL: &str = "apiserver.kubernetes.io/identity";
const COMPONENT: &str = "kube-apiserver";
const HOST: &str = "kubernetes.io/hostname";
/// How long a server counts as there after it renewed its Lease, in seconds.
const LASTS: i64 = 3600;
/// How often a Lease is renewed, and by how much of that later at most.
const RENEWAL: Duration = Duration::from_secs(10);
const JITTER: f64 = 0.04;
/// How often Leases that are over are looked for.
const COLLECTION: Duration = Duration::from_secs(3600);
/// How long to wait after a failure, at first and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(7)];
/// How long giving the Lease up may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// Who this API server is.
#[derive(Debug)]
pub(super) struct Identity<'a> {
    api: &'a Api,
    host: &'a str,
    name: String,
    holder: String,
}

impl<'a> Identity<'a> {
    /// Of the server on the machine of this name.
    pub(super) fn new(api: &'a Api, host: &'a str) -> Self {
        let name = lease_name(host);
        let uuid = uuid::Builder::from_random_bytes(api.seed().bytes::<16>()).into_uuid();
        let holder = format!("{name}_{uuid}");
        Self { api, host, name, holder }
    }

    /// Holds the Lease and collects those of others until it is dropped.
    pub(super) async fn hold(&self) {
        // One of a server before this one says nothing of this one.
        self.give_up().await;
        tokio::join!(self.keep(), self.collect_often());
    }

    async fn keep(&self) {
        let [first, most] = PAUSES;
        let mut pause = first;
        loop {
            let next = match self.renew().await {
                Ok(()) => {
                    pause = first;
                    RENEWAL.mul_f64(JITTER.mul_add(self.api.seed().fraction(), 1.0))
                }
                Err(error) => {
                    tracing::warn!(%error, "the server's identity Lease could not be renewed");
                    let next = pause;
                    pause = (pause * 2).min(most);
                    next
                }
            };
            self.api.clock().sleep(next).await;
        }
    }

    /// Renews the Lease, or makes it.
    async fn renew(&self) -> ApiResult<()> {
        let now = moment(self.api.clock().now());
        let labels = [(LABEL, COMPONENT), (HOST, self.host)];
        let change = |lease: &mut Object| {
            for (label, value) in labels {
                lease.set(&["metadata", "labels", label], value);
            }
            lease.set(&["spec", "renewTime"], now.as_str());
            Ok::<_, ApiError>(())
        };
        match self.api.write(&leases(), NAMESPACE, &self.name, change).await {
            Err(error) if error.code() == StatusCode::NOT_FOUND => {}
            other => return other.map(drop),
        }
        let lease = json!({
            "metadata": {"name": self.name, "namespace": NAMESPACE, "labels": {LABEL: COMPONENT, HOST: self.host}},
            "spec": {"holderIdentity": self.holder, "leaseDurationSeconds": LASTS, "renewTime": now},
        });
        let lease = Object::from_value(lease).unwrap_or_default();
        let user = UserInfo::new("system:apiserver", [GROUP_MASTERS]);
        self.api.create(&leases(), NAMESPACE, lease, &user).await.map(drop)
    }

    async fn collect_often(&self) {
        loop {
            if let Err(error) = self.collect().await {
                tracing::warn!(%error, "identity Leases that are over could not be looked for");
            }
            self.api.clock().sleep(COLLECTION).await;
        }
    }

    /// Deletes the Leases of servers that have not been there for long.
    async fn collect(&self) -> ApiResult<()> {
        for lease in self.api.list_stored(&leases(), NAMESPACE).await? {
            let over =
                lease.label(LABEL) == Some(COMPONENT) && is_over(&lease, self.api.clock().now());
            if over && let Err(error) = self.delete(lease.name()).await {
                tracing::warn!(%error, lease = lease.name(), "it could not be deleted");
            }
        }
        Ok(())
    }

    /// Deletes the server's own Lease, as nobody is there any more who holds it.
    pub(super) async fn give_up(&self) {
        let deleted = self.delete(&self.name);
        match kubeplane_clock::timeout(self.api.clock().as_ref(), FAREWELL, deleted).await {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::warn!(%error, "the identity Lease could not be deleted"),
            None => tracing::warn!("the identity Lease could not be deleted in time"),
        }
    }

    /// Whether it was there or not.
    async fn delete(&self, name: &str) -> ApiResult<()> {
        let options = DeleteOptions::default();
        match self.api.delete(&leases(), NAMESPACE, name, options).await {
            Err(error) if error.code() == StatusCode::NOT_FOUND => Ok(()),
            other => other.map(drop),
        }
    }
}

fn leases() -> GroupResource {
    GroupResource::new("coordination.k8s.io", "leases")
}

/// The name of the Lease of the server on a machine: always the same for it.
fn lease_name(host: &str) -> String {
    let mut hash = Sha256::new();
    for part in [host, COMPONENT] {
        hash.update(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        hash.update(part);
    }
    format!("apiserver-{}", base32(&hash.finalize()[..16]))
}

/// In base 32 with small letters, and without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| (byte >> (7 - at % 8)) & 1 == 1);
    let letter = |first: usize| {
        let index = (first..first + 5).fold(0, |sum, at| (sum << 1) | usize::from(bit(at)));
        char::from(ALPHABET[index])
    };
    (0..bytes.len() * 8).step_by(5).map(letter).collect()
}

/// As times with fractions are written into objects.
fn moment(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// One that does not say until when it holds never did.
fn is_over(lease: &Object, now: Timestamp) -> bool {
    let renewed = lease.text(&["spec", "renewTime"]).parse::<Timestamp>().ok();
    let lasts = lease.at(&["spec", "leaseDurationSeconds"]).and_then(Value::as_i64);
    let until = renewed
        .zip(lasts)
        .and_then(|(renewed, lasts)| renewed.checked_add(SignedDuration::from_secs(lasts)).ok());
    until.is_none_or(|until| until < now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_named_after_the_machine_as_by_the_original() {
        assert_eq!(lease_name("master-1"), "apiserver-wj467rbl25eeviqacfhvg2yvnm");
        assert_eq!(base32(b"foobar"), "mzxw6ytboi");
    }

    #[test]
    fn a_lease_is_over_when_it_was_not_renewed_for_so_long() {
        let now: Timestamp = "2026-01-01T02:00:00Z".parse().unwrap();
        let over = |spec: Value| {
            is_over(&Object::from_value(json!({"spec": spec})).unwrap_or_default(), now)
        };
        let renewed = |time: &str| json!({"renewTime": time, "leaseDurationSeconds": 3600});
        assert!(!over(renewed("2026-01-01T01:00:00.000000Z")));
        assert!(over(renewed("2026-01-01T00:59:59.999999Z")));
        assert!(over(json!({"renewTime": "2026-01-01T01:59:00.000000Z"})));
        assert!(over(json!({"leaseDurationSeconds": 3600})));
        assert_eq!(moment(now), "2026-01-01T02:00:00.000000Z");
    }
}
