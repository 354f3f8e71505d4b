//! Being an extension API server: who asks, and whether they may, as the server in front says it.

use async_trait::async_trait;
use kube_client::Client;
use kubeplane_auth::{RequestHeader, RequestHeaderNames, X509};
use kubeplane_clock::SharedClock;
use kubeplane_core::auth::{Attributes, Authorizer, Decision};
use serde_json::{Value, json};
use std::{collections::HashMap, fmt, sync::Mutex, time::Duration};

/// Where the server in front says whom to trust.
const CONFIG: &str = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication";
/// How long answers are kept: as long as the original keeps them.
const KEPT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// How many answers are kept; with more, all are forgotten.
const MOST: usize = 4096;

/// Why an extension API server does not know whom to trust.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server in front could not be asked.
    #[error("kube-system/extension-apiserver-authentication cannot be read: {0}")]
    Client(#[from] kube_client::Error),
    /// The authorities are missing or malformed.
    #[error("kube-system/extension-apiserver-authentication: {0}")]
    Authority(#[from] kubeplane_auth::Error),
    /// The names of the headers are missing or malformed.
    #[error("kube-system/extension-apiserver-authentication: {0} is no list of names")]
    Names(&'static str),
}

/// Who may say who asks: what the ConfigMap `kube-system/extension-apiserver-authentication` says.
#[derive(Debug)]
pub struct ExtensionAccess {
    /// Takes the word of the server in front, which comes with its own certificate.
    pub request_header: RequestHeader,
    /// Takes client certificates of the cluster's authority, for clients that come by themselves.
    pub certificates: X509,
}

impl ExtensionAccess {
    /// Asks the server in front, which must let this client read the ConfigMap.
    ///
    /// # Errors
    /// When the ConfigMap cannot be read or is not what it should be.
    pub async fn load(client: &Client, clock: SharedClock) -> Result<Self, Error> {
        let request = http::Request::get(CONFIG).body(Vec::new()).unwrap_or_default();
        let config: Value = client.request(request).await?;
        let data = &config["data"];
        let text = |key: &str| data[key].as_str().unwrap_or_default();
        let list = |key: &'static str| -> Result<Vec<String>, Error> {
            match text(key) {
                "" => Ok(Vec::new()),
                text => serde_json::from_str(text).map_err(|_| Error::Names(key)),
            }
        };
        let names = RequestHeaderNames {
            allowed: list("requestheader-allowed-names")?,
            users: list("requestheader-username-headers")?,
            uids: list("requestheader-uid-headers")?,
            groups: list("requestheader-group-headers")?,
            extra_prefixes: list("requestheader-extra-headers-prefix")?,
        };
        let authority = text("requestheader-client-ca-file");
        Ok(Self {
            request_header: RequestHeader::from_pem(authority, names, clock.clone())?,
            certificates: X509::from_pem(text("client-ca-file"), clock)?,
        })
    }
}

/// Asks the server in front whether someone may do something, by SubjectAccessReviews. Members of `system:masters` are
/// let through without, as are paths that tell whether the server is well.
pub struct DelegatedAuthorizer {
    client: Client,
    clock: SharedClock,
    kept: Mutex<HashMap<String, (Duration, Decision)>>,
}

impl fmt::Debug for DelegatedAuthorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelegatedAuthorizer").finish_non_exhaustive()
    }
}

impl DelegatedAuthorizer {
    /// Asks through this client, which must be allowed to create SubjectAccessReviews.
    #[must_use]
    pub fn new(client: Client, clock: SharedClock) -> Self {
        Self { client, clock, kept: Mutex::default() }
    }

    fn known(&self, review: &str) -> Option<Decision> {
        let kept = self.kept.lock().ok()?;
        let (until, decision) = kept.get(review)?;
        (*until > self.clock.elapsed()).then(|| decision.clone())
    }

    fn keep(&self, review: String, decision: &Decision) {
        let allowed = matches!(decision, Decision::Allow(_));
        let until = self.clock.elapsed() + if allowed { KEPT.0 } else { KEPT.1 };
        if let Ok(mut kept) = self.kept.lock() {
            if kept.len() >= MOST {
                kept.clear();
            }
            kept.insert(review, (until, decision.clone()));
        }
    }

    async fn ask(&self, review: &str) -> Result<Decision, kube_client::Error> {
        let request = http::Request::post("/apis/authorization.k8s.io/v1/subjectaccessreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(review.as_bytes().to_vec())
            .unwrap_or_default();
        let answer: Value = self.client.request(request).await?;
        let status = &answer["status"];
        let reason = status["reason"].as_str().unwrap_or_default().to_owned();
        Ok(match (status["allowed"].as_bool(), status["denied"].as_bool()) {
            (Some(true), _) => Decision::Allow(reason),
            (_, Some(true)) => Decision::Deny(reason),
            _ => Decision::NoOpinion(reason),
        })
    }
}

#[async_trait]
impl Authorizer for DelegatedAuthorizer {
    async fn authorize(&self, request: &Attributes) -> Decision {
        if request.user.is_in(kubeplane_core::auth::GROUP_MASTERS) {
            return Decision::Allow(String::new());
        }
        let review = review(request).to_string();
        if let Some(decision) = self.known(&review) {
            return decision;
        }
        match self.ask(&review).await {
            Ok(decision) => {
                self.keep(review, &decision);
                decision
            }
            Err(error) => Decision::NoOpinion(error.to_string()),
        }
    }
}

fn review(request: &Attributes) -> Value {
    let user = &request.user;
    let mut spec =
        json!({"user": user.name, "groups": user.groups, "uid": user.uid, "extra": user.extra});
    if request.is_resource() {
        spec["resourceAttributes"] = json!({
            "namespace": request.namespace, "verb": request.verb, "group": request.group,
            "version": request.version, "resource": request.resource,
            "subresource": request.subresource, "name": request.name,
        });
    } else {
        spec["nonResourceAttributes"] = json!({"path": request.path, "verb": request.verb});
    }
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_core::auth::UserInfo;
    use std::sync::Arc;

    #[test]
    fn reviews_say_what_is_asked() {
        let user = Arc::new(UserInfo::new("jane", ["a"]));
        let mut attributes = Attributes { user, verb: "get".into(), ..Attributes::default() };
        attributes.path = "/version".into();
        assert_eq!(
            review(&attributes)["spec"]["nonResourceAttributes"],
            json!({"path": "/version", "verb": "get"})
        );
        attributes.resource = "things".into();
        let spec = review(&attributes)["spec"].clone();
        assert_eq!(spec["resourceAttributes"]["resource"], "things");
        assert_eq!((&spec["user"], &spec["groups"]), (&json!("jane"), &json!(["a"])));
    }
}
