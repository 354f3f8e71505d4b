//! Tokens that are kept in Secrets: they do not end by themselves, but with their Secret or account.

use super::{Private, ServiceAccountTokens, TokenIssuer, VerifiedToken, user_name};
use crate::Error;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::tz::TimeZone;
use jsonwebtoken::{Algorithm, Header, Validation};
use kubeplane_core::{GroupResource, Object, auth::UserInfo};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeSet, sync::Arc};

/// Who issues these tokens, as they say.
const ISSUER: &str = "kubernetes/serviceaccount";
/// The label that says when such a token was used last.
pub(super) const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// How many used tokens are noted at most until somebody takes the notes.
const NOTED: usize = 10_000;

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    sub: String,
}

/// The Secrets whose tokens were used today for the first time: who may write labels them.
#[derive(Debug, Clone, Default)]
pub struct UsedTokens(Arc<Mutex<BTreeSet<(String, String)>>>);

impl UsedTokens {
    /// The label that says when a token was used last, as in `2026-01-31`.
    pub const LABEL: &'static str = LAST_USED;

    fn note(&self, namespace: &str, secret: &str) {
        let mut noted = self.0.lock();
        if noted.len() < NOTED {
            noted.insert((namespace.to_owned(), secret.to_owned()));
        }
    }

    /// Namespaces and names of the Secrets since this was asked last.
    #[must_use]
    pub fn take(&self) -> BTreeSet<(String, String)> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl TokenIssuer {
    /// Notes which tokens of Secrets are used in `used`.
    #[must_use]
    pub fn tracking(self, used: UsedTokens) -> Self {
        Self { used, ..self }
    }

    /// Signs a token that is kept in the Secret of this name and is good while it is there.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn issue_for_secret(
        &self,
        namespace: &str,
        account: &str,
        uid: &str,
        secret: &str,
    ) -> Result<String, Error> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            namespace: namespace.to_owned(),
            secret: secret.to_owned(),
            account: account.to_owned(),
            uid: uid.to_owned(),
            sub: user_name(namespace, account),
        };
        let mut header = Header::new(Algorithm::ES256);
        header.typ = None;
        header.kid = Some(self.key_id.clone());
        jsonwebtoken::encode(&header, &claims, &self.encoding)
            .map_err(|error| Error::Key(error.to_string()))
    }

    fn legacy_claims(&self, token: &str) -> Result<Option<Claims>, String> {
        let claimed = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(token);
        if !claimed.is_ok_and(|claimed| claimed.claims["iss"] == ISSUER) {
            return Ok(None);
        }
        let mut rules = Validation::new(Algorithm::ES256);
        rules.validate_exp = false;
        rules.validate_aud = false;
        rules.required_spec_claims.clear();
        let data = jsonwebtoken::decode::<Claims>(token, &self.decoding, &rules);
        data.map(|data| Some(data.claims)).map_err(|error| error.to_string())
    }
}

impl ServiceAccountTokens {
    /// Checks a token as one that is kept in a Secret; `None` when it is none.
    pub(super) async fn verify_legacy(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Option<VerifiedToken>, String> {
        let Some(claims) = self.issuer.legacy_claims(token)? else { return Ok(None) };
        if claims.sub != user_name(&claims.namespace, &claims.account) {
            return Err("sub claim is invalid".to_owned());
        }
        let own = self.issuer.audiences();
        let wanted = if audiences.is_empty() { own } else { audiences };
        let shared: Vec<_> = wanted.iter().filter(|one| own.contains(one)).cloned().collect();
        if shared.is_empty() {
            return Err("token is for another audience".to_owned());
        }
        let secret = self.object("secrets", &claims.namespace, &claims.secret).await?;
        let kept = STANDARD.decode(secret.text(&["data", "token"])).unwrap_or_default();
        // Digests are compared, so that the time it takes tells nothing of the token.
        if Sha256::digest(&kept) != Sha256::digest(token.as_bytes()) {
            return Err("token does not match the server's copy".to_owned());
        }
        let account = self.object("serviceaccounts", &claims.namespace, &claims.account).await?;
        if account.uid() != claims.uid {
            return Err("the account is another than the token was made for".to_owned());
        }
        self.note(&secret);
        if secret.label(INVALID_SINCE).is_some_and(|since| !since.is_empty()) {
            return Err(format!("the token in secret {} has been marked invalid", claims.secret));
        }
        let user = UserInfo {
            name: claims.sub,
            uid: claims.uid,
            groups: Private::groups(&claims.namespace),
            ..UserInfo::default()
        };
        Ok(Some(VerifiedToken { user, audiences: shared }))
    }

    /// Notes that the Secret's token was used, once a day.
    fn note(&self, secret: &Object) {
        let today = self.issuer.clock.now().to_zoned(TimeZone::UTC).date();
        let noted = secret.label(LAST_USED).unwrap_or_default();
        // Another server's day may have begun already.
        let tomorrow = today.tomorrow().is_ok_and(|day| day.to_string() == noted);
        if noted != today.to_string() && !tomorrow {
            self.issuer.used.note(secret.namespace(), secret.name());
        }
    }

    async fn object(
        &self,
        resource: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<Object>, String> {
        let kind = GroupResource::new("", resource);
        let mut found = self.reader.get(&kind, namespace, name).await;
        if matches!(found, Ok(None)) {
            found = self.reader.get_fresh(&kind, namespace, name).await;
        }
        let found = found.map_err(|error| error.to_string())?;
        found
            .filter(|object| !object.is_deleting())
            .ok_or_else(|| format!("{resource} {namespace}/{name} is gone"))
    }
}
