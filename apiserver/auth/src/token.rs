mod legacy;

pub use legacy::UsedTokens;

use crate::Error;
use async_trait::async_trait;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation,
    jwk::{Jwk, JwkSet, PublicKeyUse},
};
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    GroupResource, Object,
    auth::{Authenticator, UserInfo},
    reader::ObjectReader,
    status::{ApiError, ApiResult},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

/// Of how many tokens it is remembered that their signature is good.
const REMEMBERED: usize = 4096;

const EXTRA: &str = "authentication.kubernetes.io/";

/// An object a token is bound to: the token dies with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a token is to say.
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// The account's namespace.
    pub namespace: String,
    /// The account's name.
    pub service_account: String,
    /// The account's uid.
    pub uid: String,
    /// Who may accept the token; empty for the API server.
    pub audiences: Vec<String>,
    /// How long it is valid.
    pub lifetime: Duration,
    /// The pod it is bound to.
    pub pod: Option<BoundObject>,
    /// The secret it is bound to.
    pub secret: Option<BoundObject>,
    /// The node it is bound to (beside a pod: the pod's node).
    pub node: Option<BoundObject>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    private: Private,
    nbf: i64,
    sub: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Private {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    node: Option<BoundObject>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pod: Option<BoundObject>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    secret: Option<BoundObject>,
    serviceaccount: BoundObject,
}

impl Private {
    /// The groups of every account of a namespace.
    fn groups(namespace: &str) -> Vec<String> {
        vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")]
    }
}

/// Signs tokens of service accounts and knows how to check the signature.
#[derive(Clone)]
pub struct TokenIssuer {
    issuer: String,
    audiences: Vec<String>,
    key_id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    clock: SharedClock,
    used: UsedTokens,
    signed: Arc<Signed>,
}

/// What tokens with a good signature claim, by the SHA-256 of the token: a client sends the same with each request, and to
/// check a signature takes longer than most requests. Whether it is in its time, and those still live that it is bound to,
/// is looked at each time all the same.
#[derive(Default)]
struct Signed(Mutex<HashMap<[u8; 32], Arc<Claims>>>);

impl Signed {
    fn get(&self, digest: &[u8; 32]) -> Option<Arc<Claims>> {
        self.0.lock().get(digest).cloned()
    }

    fn keep(&self, digest: [u8; 32], claims: Arc<Claims>, now: i64) {
        let mut all = self.0.lock();
        if all.len() >= REMEMBERED {
            all.retain(|_, own| own.exp > now);
        }
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(digest, claims);
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

impl TokenIssuer {
    /// An issuer that signs with an ECDSA P-256 key (PKCS#8 PEM). `audiences` are the API server's own;
    /// the issuer's name is one of them if none is given.
    ///
    /// # Errors
    /// When the key is malformed.
    pub fn new(
        issuer: &str,
        key: &str,
        mut audiences: Vec<String>,
        clock: SharedClock,
    ) -> Result<Self, Error> {
        let public =
            kubeplane_pki::public_key(key).map_err(|error| Error::Key(error.to_string()))?;
        if audiences.is_empty() {
            audiences.push(issuer.to_owned());
        }
        let malformed = |error: jsonwebtoken::errors::Error| Error::Key(error.to_string());
        let digest = Sha256::digest(public.as_bytes());
        Ok(Self {
            issuer: issuer.to_owned(),
            audiences,
            key_id: digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect(),
            encoding: EncodingKey::from_ec_pem(key.as_bytes()).map_err(malformed)?,
            decoding: DecodingKey::from_ec_pem(public.as_bytes()).map_err(malformed)?,
            clock,
            used: UsedTokens::default(),
            signed: Arc::default(),
        })
    }

    /// How tokens are signed, as OpenID Connect calls it.
    pub const ALGORITHM: &'static str = "ES256";

    /// The name of the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public key that tokens are checked with, as a JSON Web Key Set (RFC 7517).
    ///
    /// # Errors
    /// When the key has no such form.
    pub fn public_keys(&self) -> Result<serde_json::Value, Error> {
        let malformed = |error: jsonwebtoken::errors::Error| Error::Key(error.to_string());
        let mut key =
            Jwk::from_encoding_key(&self.encoding, Algorithm::ES256).map_err(malformed)?;
        key.common.key_id = Some(self.key_id.clone());
        key.common.public_key_use = Some(PublicKeyUse::Signature);
        serde_json::to_value(JwkSet { keys: vec![key] })
            .map_err(|error| Error::Key(error.to_string()))
    }

    /// The API server's own audiences.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// Signs a token; also returns when it expires.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn issue(&self, request: &TokenRequest) -> Result<(String, jiff::Timestamp), Error> {
        let now = self.clock.now().as_second();
        let lifetime = i64::try_from(request.lifetime.as_secs()).unwrap_or(i64::MAX / 2);
        let audiences =
            if request.audiences.is_empty() { &self.audiences } else { &request.audiences };
        let claims = Claims {
            aud: audiences.clone(),
            exp: now.saturating_add(lifetime),
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            private: Private {
                namespace: request.namespace.clone(),
                node: request.node.clone(),
                pod: request.pod.clone(),
                secret: request.secret.clone(),
                serviceaccount: BoundObject {
                    name: request.service_account.clone(),
                    uid: request.uid.clone(),
                },
            },
            nbf: now,
            sub: user_name(&request.namespace, &request.service_account),
        };
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.key_id.clone());
        let token = jsonwebtoken::encode(&header, &claims, &self.encoding)
            .map_err(|error| Error::Key(error.to_string()))?;
        let expires = jiff::Timestamp::from_second(claims.exp)
            .map_err(|error| Error::Key(error.to_string()))?;
        Ok((token, expires))
    }

    /// The claims of a token with a good signature, in its time; `None` if it is no token of this issuer.
    fn claims(&self, token: &str) -> Result<Option<Arc<Claims>>, &'static str> {
        let (digest, now) = (Sha256::digest(token).into(), self.clock.now().as_second());
        let claims = match self.signed.get(&digest) {
            Some(claims) => claims,
            None => {
                let Some(claims) = self.signed_claims(token)?.map(Arc::new) else {
                    return Ok(None);
                };
                self.signed.keep(digest, claims.clone(), now);
                claims
            }
        };
        if now >= claims.exp {
            return Err("token has expired");
        }
        if now + 60 < claims.nbf {
            return Err("token is not valid yet");
        }
        Ok(Some(claims))
    }

    /// The claims of a token with a good signature; `None` if it is no token of this issuer.
    fn signed_claims(&self, token: &str) -> Result<Option<Claims>, &'static str> {
        let Ok(claimed) = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token)
        else {
            return Ok(None);
        };
        if claimed.claims["iss"] != self.issuer.as_str() {
            return Ok(None);
        }
        let mut rules = Validation::new(Algorithm::ES256);
        // Time and audience are checked here, on the cluster's clock and against several audiences.
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &rules)
            .map_err(|_| "bad signature")?;
        Ok(Some(data.claims))
    }
}

/// A token that is good, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedToken {
    /// The user.
    pub user: UserInfo,
    /// Which of the audiences asked about the token is for.
    pub audiences: Vec<String>,
}

/// Authenticates bearers of service account tokens: signature, time, audience, and that the account and
/// the object the token is bound to still live.
#[derive(Debug, Clone)]
pub struct ServiceAccountTokens {
    issuer: TokenIssuer,
    reader: Arc<dyn ObjectReader>,
}

impl ServiceAccountTokens {
    /// Accepts tokens of this issuer.
    #[must_use]
    pub fn new(issuer: TokenIssuer, reader: Arc<dyn ObjectReader>) -> Self {
        Self { issuer, reader }
    }

    /// Checks a token for one of `audiences` (empty: the API server's own). `None` when it is not one of ours.
    ///
    /// # Errors
    /// 401 when it is ours but no longer good.
    pub async fn verify(
        &self,
        token: &str,
        audiences: &[String],
    ) -> ApiResult<Option<VerifiedToken>> {
        let refuse = |why: &str| {
            tracing::debug!(why, "service account token refused");
            ApiError::unauthorized()
        };
        let Some(claims) = self.issuer.claims(token).map_err(refuse)? else {
            return self.verify_legacy(token, audiences).await.map_err(|why| refuse(&why));
        };
        let wanted = if audiences.is_empty() { self.issuer.audiences() } else { audiences };
        let shared: Vec<_> =
            wanted.iter().filter(|audience| claims.aud.contains(audience)).cloned().collect();
        if shared.is_empty() {
            return Err(refuse("token is for another audience"));
        }
        self.check_alive(&claims).await.map_err(|why| refuse(&why))?;
        Ok(Some(VerifiedToken { user: user_of(&claims), audiences: shared }))
    }

    async fn check_alive(&self, claims: &Claims) -> Result<(), String> {
        let own = &claims.private;
        self.check_object("serviceaccounts", &own.namespace, &own.serviceaccount, false).await?;
        if let Some(pod) = &own.pod {
            self.check_object("pods", &own.namespace, pod, true).await?;
        } else if let Some(node) = &own.node {
            self.check_object("nodes", "", node, false).await?;
        }
        if let Some(secret) = &own.secret {
            self.check_object("secrets", &own.namespace, secret, false).await?;
        }
        Ok(())
    }

    /// A pod being deleted keeps its token through its grace period and a minute more.
    async fn check_object(
        &self,
        resource: &'static str,
        namespace: &str,
        bound: &BoundObject,
        lingers: bool,
    ) -> Result<(), String> {
        let kind = GroupResource::new("", resource);
        let mut found = self.reader.get(&kind, namespace, &bound.name).await;
        // It may have been made a moment ago, and its token right after it.
        if found.as_ref().is_ok_and(|found| found.as_ref().is_none_or(|own| own.uid() != bound.uid))
        {
            found = self.reader.get_fresh(&kind, namespace, &bound.name).await;
        }
        let object = found
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("{resource} is gone"))?;
        if object.uid() != bound.uid {
            return Err(format!("{resource} is another than the token was bound to"));
        }
        if let Some(deleted) = object.deletion_timestamp() {
            let until = deleted.as_second() + if lingers { grace(&object) + 60 } else { 60 };
            if self.issuer.clock.now().as_second() > until {
                return Err(format!("{resource} is being deleted"));
            }
        }
        Ok(())
    }
}

fn grace(object: &Object) -> i64 {
    object.deletion_grace_period().unwrap_or_default()
}

fn user_name(namespace: &str, name: &str) -> String {
    format!("system:serviceaccount:{namespace}:{name}")
}

fn user_of(claims: &Claims) -> UserInfo {
    let own = &claims.private;
    let mut extra = BTreeMap::new();
    let mut add = |key: &str, value: String| extra.insert(format!("{EXTRA}{key}"), vec![value]);
    add("credential-id", format!("JTI={}", claims.jti));
    for (kind, object) in [("pod", &own.pod), ("node", &own.node)] {
        if let Some(object) = object {
            add(&format!("{kind}-name"), object.name.clone());
            add(&format!("{kind}-uid"), object.uid.clone());
        }
    }
    UserInfo {
        name: claims.sub.clone(),
        uid: own.serviceaccount.uid.clone(),
        groups: Private::groups(&own.namespace),
        extra,
    }
}

/// The bearer token of a request, if it has one. WebSocket clients, who cannot set headers, send it as a
/// subprotocol.
#[must_use]
pub fn bearer_token(request: &http::request::Parts) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    if let Some(value) = request.headers.get(http::header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
            .then(|| token.to_owned());
    }
    let protocols = request.headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL);
    let mut names =
        protocols.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let encoded = names
        .find_map(|name| name.trim().strip_prefix("base64url.bearer.authorization.k8s.io."))?;
    String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

#[async_trait]
impl Authenticator for ServiceAccountTokens {
    async fn authenticate(&self, request: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        let Some(token) = bearer_token(request) else { return Ok(None) };
        Ok(self.verify(&token, &[]).await?.map(|verified| verified.user))
    }
}

#[cfg(test)]
mod tests;
