//! What the cluster's own keys sign for controllers: certificates and tokens.

use crate::credentials::Credentials;
use k8s_openapi::api::core::v1::ServiceAccount;
use kubeplane_auth::TokenIssuer;
use kubeplane_clock::SharedClock;
use kubeplane_controllers::{BuiltinOptions, TokenSigner};
use kubeplane_pki::Authority;
use std::sync::Arc;

/// Signs the tokens that are kept in Secrets with the key of service accounts.
#[derive(Debug)]
pub struct SecretTokens(TokenIssuer);

impl SecretTokens {
    /// Signs with this key, PEM.
    ///
    /// # Errors
    /// When the key is malformed.
    pub fn new(key: &str, clock: SharedClock) -> Result<Self, kubeplane_auth::Error> {
        Ok(Self(TokenIssuer::new(crate::api::ISSUER, key, Vec::new(), clock)?))
    }
}

impl TokenSigner for SecretTokens {
    fn sign(&self, account: &ServiceAccount, secret: &str) -> Result<String, String> {
        let meta = &account.metadata;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (namespace, name, uid) = (text(&meta.namespace), text(&meta.name), text(&meta.uid));
        let token = self.0.issue_for_secret(&namespace, &name, &uid, secret);
        token.map_err(|error| error.to_string())
    }
}

/// The options of the built-in controllers of a cluster with these credentials: they publish its authority, and
/// sign with its keys. What cannot be read is not signed with, which is logged.
#[must_use]
pub fn controller_options(credentials: &Credentials, clock: &SharedClock) -> BuiltinOptions {
    let (certificate, key) = (credentials.authority(), credentials.authority_key());
    let own = &credentials.service_account_key;
    with_keys(BuiltinOptions::new(clock.clone(), certificate), certificate, Some(&key), Some(own))
}

/// The same with those keys that are there, PEM.
#[must_use]
pub fn with_keys(
    mut options: BuiltinOptions,
    certificate: &str,
    key: Option<&str>,
    service_account_key: Option<&str>,
) -> BuiltinOptions {
    let clock = options.clock.clone();
    match key.map(|key| Authority::from_pem(certificate, key)) {
        Some(Ok(authority)) => options = options.with_authority(Arc::new(authority)),
        Some(Err(error)) => tracing::warn!(%error, "no certificates are signed"),
        None => {}
    }
    match service_account_key.map(|key| SecretTokens::new(key, clock)) {
        Some(Ok(signer)) => options.with_token_signer(Arc::new(signer)),
        Some(Err(error)) => {
            tracing::warn!(%error, "no tokens are signed for Secrets");
            options
        }
        None => options,
    }
}
