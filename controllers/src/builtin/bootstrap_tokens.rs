//! What becomes of tokens with which machines join the cluster.

use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};
use kubeplane_client::ObjectKey;
use kubeplane_core::Object;
use kubeplane_workload::bootstrap_token::{BootstrapToken, Expiry, NAMESPACE, TYPE, expiry};
use std::{collections::BTreeMap, time::Duration};

const PUBLIC: &str = "kube-public";
const INFO: &str = "cluster-info";
/// What is signed.
const CONTENT: &str = "kubeconfig";
/// What the keys of signatures begin with; the token's id follows.
const SIGNATURE: &str = "jws-kubeconfig-";

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE) && secret.metadata.namespace.as_deref() == Some(NAMESPACE)
}

/// Signs `cluster-info` with every token that may, so that who has one can believe it.
pub(super) struct BootstrapSigner;

#[async_trait]
impl Controller for BootstrapSigner {
    /// The one ConfigMap.
    type Request = ();
    type Error = Error;

    fn name(&self) -> &'static str {
        "bootstrap-signer-controller"
    }

    fn identity(&self) -> &'static str {
        "bootstrap-signer"
    }

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<()>) {
        sources.watch::<ConfigMap>(|change| {
            let meta = &change.object().metadata;
            let ours =
                meta.name.as_deref() == Some(INFO) && meta.namespace.as_deref() == Some(PUBLIC);
            if ours { vec![()] } else { Vec::new() }
        });
        sources.watch::<Secret>(
            |change| {
                if is_token(change.object()) { vec![()] } else { Vec::new() }
            },
        );
    }

    async fn reconcile(&self, (): &(), context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let Some(info) = informers.of::<ConfigMap>().get(PUBLIC, INFO) else {
            return Ok(Action::Done);
        };
        let mut data = info.data.clone().unwrap_or_default();
        let Some(content) = data.get(CONTENT).cloned() else { return Ok(Action::Done) };
        let mut signatures = BTreeMap::new();
        for secret in informers.of::<Secret>().list_in(NAMESPACE) {
            let Some(object) = Some(&secret)
                .filter(|secret| is_token(secret))
                .and_then(|secret| Object::encode(&**secret).ok())
            else {
                continue;
            };
            if let Some(token) =
                BootstrapToken::of(&object, context.now()).filter(|token| token.signs)
            {
                signatures.insert(format!("{SIGNATURE}{}", token.id), sign(&content, &token)?);
            }
        }
        data.retain(|key, _| !key.starts_with(SIGNATURE));
        data.extend(signatures);
        if info.data.as_ref() == Some(&data) {
            return Ok(Action::Done);
        }
        let mut next = (*info).clone();
        next.data = Some(data);
        let api: Api<ConfigMap> = Api::namespaced(context.client(), PUBLIC);
        unless_gone(api.replace(INFO, &PostParams::default(), &next).await)?;
        Ok(Action::Done)
    }
}

/// A signature (JWS, HS256) without what is signed: RFC 7515, appendix F.
fn sign(content: &str, token: &BootstrapToken) -> Result<String, Error> {
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"HS256","kid":"{}"}}"#, token.id));
    let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(content));
    let key = jsonwebtoken::EncodingKey::from_secret(token.secret.as_bytes());
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::HS256)
            .map_err(|error| {
                Error::Invalid(format!("can't HS256-sign the given token: {error}"))
            })?;
    Ok(format!("{header}..{signature}"))
}

/// Deletes tokens whose time is over.
pub(super) struct TokenCleaner;

#[async_trait]
impl Controller for TokenCleaner {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "token-cleaner-controller"
    }

    fn identity(&self) -> &'static str {
        "token-cleaner"
    }

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.watch::<Secret>(|change| {
            let secret = change.object();
            let concerned = is_token(secret) && !change.is_deleted();
            concerned.then(|| ObjectKey::of(&**secret)).into_iter().collect()
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let found = context.informers().of::<Secret>().get(&key.namespace, &key.name);
        let Some(secret) = found.filter(|secret| is_token(secret)) else {
            return Ok(Action::Done);
        };
        let object = Object::encode(&*secret).map_err(|error| Error::Invalid(error.to_string()))?;
        let (ends, now) = (expiry(&object), context.now());
        match ends {
            Expiry::Never => return Ok(Action::Done),
            Expiry::At(at) if at > now => {
                let left = Duration::try_from(at.duration_since(now)).unwrap_or(Duration::MAX);
                return Ok(Action::RequeueAfter(left));
            }
            Expiry::At(_) | Expiry::Malformed => {}
        }
        let preconditions =
            Preconditions { uid: secret.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let api: Api<Secret> = Api::namespaced(context.client(), &key.namespace);
        match unless_gone(api.delete(&key.name, &params).await) {
            // Another Secret has the name now.
            Err(error) if error.is_conflict() => Ok(Action::Done),
            other => other.map(|()| Action::Done),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_kubeadm_computes() {
        // From the original's own test of the same function.
        let token = BootstrapToken {
            id: "joshua".into(),
            secret: "my voice is my passcode".into(),
            signs: true,
            authenticates: true,
            groups: Vec::new(),
        };
        let content = "Hello from the other side. I must have called a thousand times.";
        assert_eq!(
            sign(content, &token).unwrap(),
            "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
        );
    }
}
