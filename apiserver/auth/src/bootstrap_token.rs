use crate::bearer_token;
use async_trait::async_trait;
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    GroupResource,
    auth::{Authenticator, UserInfo},
    reader::ObjectReader,
    status::ApiResult,
};
use kubeplane_workload::bootstrap_token::{BootstrapToken, NAMESPACE, PREFIX, parse};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// What the names of users begin with who show such a token; its id follows.
const USER: &str = "system:bootstrap:";

/// Authenticates bearers of bootstrap tokens: machines that join and have nothing else yet.
#[derive(Debug, Clone)]
pub struct BootstrapTokens {
    reader: Arc<dyn ObjectReader>,
    clock: SharedClock,
}

impl BootstrapTokens {
    /// Looks for the Secrets of tokens through `reader`.
    #[must_use]
    pub fn new(reader: Arc<dyn ObjectReader>, clock: SharedClock) -> Self {
        Self { reader, clock }
    }

    /// Whose token this is; `None` when it is none of these, or no longer good.
    ///
    /// # Errors
    /// When Secrets cannot be read.
    pub async fn verify(&self, token: &str) -> ApiResult<Option<UserInfo>> {
        let Some((id, secret)) = parse(token) else { return Ok(None) };
        let name = format!("{PREFIX}{id}");
        let found = self.reader.get(&GroupResource::new("", "secrets"), NAMESPACE, &name).await?;
        let Some(object) = found.filter(|object| !object.is_deleting()) else { return Ok(None) };
        let now = self.clock.now();
        // Digests are compared, so that the time it takes tells nothing of the secret.
        let same = |known: &BootstrapToken| {
            Sha256::digest(known.secret.as_bytes()) == Sha256::digest(secret.as_bytes())
        };
        let known = BootstrapToken::of(&object, now).filter(|known| known.authenticates);
        Ok(known
            .filter(same)
            .map(|known| UserInfo::new(format!("{USER}{}", known.id), known.groups)))
    }
}

#[async_trait]
impl Authenticator for BootstrapTokens {
    async fn authenticate(&self, request: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        match bearer_token(request) {
            Some(token) => self.verify(&token).await,
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use kubeplane_clock::PausedClock;
    use kubeplane_core::{Object, reader::ObjectList};
    use serde_json::json;
    use std::time::Duration;

    #[derive(Debug)]
    struct One(Arc<Object>);

    #[async_trait]
    impl ObjectReader for One {
        fn revision(&self, _: &GroupResource) -> Option<u64> {
            Some(1)
        }

        async fn get(
            &self,
            _: &GroupResource,
            namespace: &str,
            name: &str,
        ) -> ApiResult<Option<Arc<Object>>> {
            let here = (self.0.namespace(), self.0.name()) == (namespace, name);
            Ok(here.then(|| self.0.clone()))
        }

        async fn list(&self, _: &GroupResource, _: &str) -> ApiResult<ObjectList> {
            Ok(ObjectList::default())
        }
    }

    #[tokio::test]
    async fn a_token_is_good_for_its_time() {
        let text = |text: &str| STANDARD.encode(text);
        let secret = json!({
            "metadata": {"name": "bootstrap-token-abcdef", "namespace": "kube-system"},
            "type": "bootstrap.kubernetes.io/token",
            "data": {
                "token-id": text("abcdef"), "token-secret": text("0123456789abcdef"),
                "usage-bootstrap-authentication": text("true"),
                "auth-extra-groups": text("system:bootstrappers:nodes"),
                "expiration": text("2026-01-02T00:00:00Z")}});
        let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        let reader = Arc::new(One(Arc::new(Object::from_value(secret).unwrap())));
        let tokens = BootstrapTokens::new(reader, Arc::new(clock.clone()));
        let user = tokens.verify("abcdef.0123456789abcdef").await.unwrap().unwrap();
        assert_eq!(user.name, "system:bootstrap:abcdef");
        assert_eq!(user.groups, ["system:bootstrappers", "system:bootstrappers:nodes"]);
        for wrong in
            ["abcdef.0123456789abcdeX", "abcdef.0000000000000000", "zzzzzz.0123456789abcdef"]
        {
            assert_eq!(tokens.verify(wrong).await.unwrap(), None, "{wrong}");
        }
        clock.advance(Duration::from_secs(24 * 3600));
        assert_eq!(tokens.verify("abcdef.0123456789abcdef").await.unwrap(), None);
    }
}
