//! Who asks, and whether they may.

use http::Method;
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::api::{Api, PostParams};
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::Duration,
};

const KNOWN: usize = 1024;
const TOKEN_LIFE: Duration = Duration::from_secs(120);
const ALLOWED_LIFE: Duration = Duration::from_secs(300);
const REFUSED_LIFE: Duration = Duration::from_secs(30);

/// Someone who asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

/// The answer to a question about rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allowed,
    /// With the verb and the subresource of the node that was asked for last.
    Forbidden(&'static str, &'static str),
    /// The API server could not be asked.
    Unknown(String),
}

type Question = (User, String, &'static str);

/// Asks the API server, and remembers its answers for a short time.
pub(super) struct Access {
    client: kube::Client,
    clock: SharedClock,
    node: String,
    tokens: Mutex<HashMap<String, (Duration, Option<User>)>>,
    answers: Mutex<HashMap<Question, (Duration, bool)>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Access {
    pub(super) fn new(client: kube::Client, clock: SharedClock, node: String) -> Self {
        Self { client, clock, node, tokens: Mutex::default(), answers: Mutex::default() }
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// When the API server could not be asked.
    pub(super) async fn authenticate(&self, token: &str) -> Result<Option<User>, String> {
        let now = self.clock.elapsed();
        if let Some((until, user)) = self.tokens.lock().get(token)
            && now < *until
        {
            return Ok(user.clone());
        }
        let review = TokenReview {
            spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
            ..TokenReview::default()
        };
        let api = Api::<TokenReview>::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| error.to_string())?.status.unwrap_or_default();
        let valid = status.authenticated == Some(true);
        let user = status.user.filter(|_| valid).map(|user| User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        });
        remember(&self.tokens, token.to_owned(), (now + TOKEN_LIFE, user.clone()), now);
        Ok(user)
    }

    /// Whether a request may be made; one of the subresources it falls under is enough.
    pub(super) async fn authorize(&self, user: &User, method: &Method, path: &str) -> Verdict {
        let verb = verb(method);
        let mut verdict = Verdict::Unknown(String::new());
        for subresource in subresources(path) {
            verdict = match self.may(user, verb, subresource).await {
                Ok(true) => return Verdict::Allowed,
                Ok(false) => Verdict::Forbidden(verb, subresource),
                Err(why) => return Verdict::Unknown(why),
            };
        }
        verdict
    }

    async fn may(
        &self,
        user: &User,
        verb: &str,
        subresource: &'static str,
    ) -> Result<bool, String> {
        let question = (user.clone(), verb.to_owned(), subresource);
        let now = self.clock.elapsed();
        if let Some((until, allowed)) = self.answers.lock().get(&question)
            && now < *until
        {
            return Ok(*allowed);
        }
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.name.clone()),
                uid: Some(user.uid.clone()),
                groups: Some(user.groups.clone()),
                extra: (!user.extra.is_empty()).then(|| user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some(verb.to_owned()),
                    version: Some("v1".to_owned()),
                    resource: Some("nodes".to_owned()),
                    subresource: Some(subresource.to_owned()),
                    name: Some(self.node.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let answer = api.create(&PostParams::default(), &review).await;
        let status = answer.map_err(|error| error.to_string())?.status;
        let allowed = status.is_some_and(|status| status.allowed);
        let life = if allowed { ALLOWED_LIFE } else { REFUSED_LIFE };
        remember(&self.answers, question, (now + life, allowed), now);
        Ok(allowed)
    }
}

fn remember<K: Hash + Eq, V>(
    cache: &Mutex<HashMap<K, (Duration, V)>>,
    key: K,
    value: (Duration, V),
    now: Duration,
) {
    let mut cache = cache.lock();
    if cache.len() >= KNOWN {
        cache.retain(|_, (until, _)| now < *until);
    }
    if cache.len() < KNOWN {
        cache.insert(key, value);
    }
}

fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

/// Under which parts of a node's API a path falls, the narrower first.
fn subresources(path: &str) -> &'static [&'static str] {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "stats" => &["stats"],
        "metrics" => &["metrics"],
        "logs" => &["log"],
        "checkpoint" => &["checkpoint"],
        "statusz" => &["statusz"],
        "pods" | "runningpods" => &["pods", "proxy"],
        "healthz" | "livez" | "readyz" => &["healthz", "proxy"],
        "configz" => &["configz", "proxy"],
        _ => &["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fall_under_parts_of_the_node() {
        assert_eq!(subresources("/pods"), ["pods", "proxy"]);
        assert_eq!(subresources("/stats/summary"), ["stats"]);
        assert_eq!(subresources("/exec/ns/pod/container"), ["proxy"]);
        assert_eq!(subresources("/containerLogs/ns/pod/container"), ["proxy"]);
        assert_eq!(verb(&Method::POST), "create");
    }
}
