//! What the kubelet reads from and asks of the API server, beside pods and its node.

use crate::{Error, Result};
use async_trait::async_trait;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret},
};
use kube::api::{Api, DeleteParams, Preconditions};
use kubeplane_clock::SharedClock;
use parking_lot::Mutex;
use std::{collections::HashMap, fmt::Debug, sync::Arc, time::Duration};

/// How old a ConfigMap or Secret may be that refreshes a volume.
const FRESH: Duration = Duration::from_secs(10);
const KEPT: usize = 4096;

/// Whether the API answered with this code.
pub(crate) fn is_status(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

/// The words of the API server, or of whatever kept it from answering.
pub(crate) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

/// A token of a service account, bound to a pod.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) text: String,
    /// Seconds since 1970.
    pub(crate) expires: i64,
}

/// Where volumes and environments get their contents from.
#[async_trait]
pub(crate) trait Objects: Debug + Send + Sync + 'static {
    /// Dropping the future forgets the request, as with every method here.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Arc<ConfigMap>>;
    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>>;
    async fn claim(&self, namespace: &str, name: &str) -> Result<PersistentVolumeClaim>;
    async fn volume(&self, name: &str) -> Result<PersistentVolume>;
    async fn token(&self, pod: &Pod, audience: Option<&str>, seconds: i64) -> Result<Token>;
}

type Cache<K> = Mutex<HashMap<(String, String), (Duration, Arc<K>)>>;

/// [`Objects`] of a cluster, through its API.
#[derive(Clone)]
pub(crate) struct ApiObjects {
    client: kube::Client,
    clock: SharedClock,
    config_maps: Arc<Cache<ConfigMap>>,
    secrets: Arc<Cache<Secret>>,
}

impl Debug for ApiObjects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiObjects").finish_non_exhaustive()
    }
}

impl ApiObjects {
    pub(crate) fn new(client: kube::Client, clock: SharedClock) -> Self {
        Self { client, clock, config_maps: Arc::default(), secrets: Arc::default() }
    }

    async fn cached<K>(&self, cache: &Cache<K>, namespace: &str, name: &str) -> Result<Arc<K>>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + serde::de::DeserializeOwned
            + Clone
            + Debug,
    {
        let key = (namespace.to_owned(), name.to_owned());
        let now = self.clock.elapsed();
        if let Some((at, object)) = cache.lock().get(&key)
            && now.saturating_sub(*at) < FRESH
        {
            return Ok(object.clone());
        }
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let object = match api.get(name).await {
            Ok(object) => Arc::new(object),
            Err(error) if is_status(&error, 404) => {
                let kind = K::kind(&()).to_lowercase();
                return Err(Error::NotFound { kind, name: name.to_owned() });
            }
            Err(error) => return Err(error.into()),
        };
        let mut cache = cache.lock();
        if cache.len() >= KEPT {
            cache.retain(|_, (at, _)| now.saturating_sub(*at) < FRESH);
        }
        cache.insert(key, (now, object.clone()));
        Ok(object)
    }

    /// Makes sure that what a new pod refers to is read anew.
    pub(crate) fn forget(&self, namespace: &str) {
        self.config_maps.lock().retain(|(ns, _), _| ns != namespace);
        self.secrets.lock().retain(|(ns, _), _| ns != namespace);
    }

    /// Deletes a pod of which nothing is left, unless another has taken its name.
    pub(crate) async fn delete_pod(&self, namespace: &str, name: &str, uid: &str) -> Result<()> {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }
            .grace_period(0);
        let api = Api::<Pod>::namespaced(self.client.clone(), namespace);
        match api.delete(name, &params).await {
            Ok(_) => Ok(()),
            Err(error) if is_status(&error, 404) || is_status(&error, 409) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl Objects for ApiObjects {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Arc<ConfigMap>> {
        self.cached(&self.config_maps, namespace, name).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>> {
        self.cached(&self.secrets, namespace, name).await
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<PersistentVolumeClaim> {
        Ok(Api::namespaced(self.client.clone(), namespace).get(name).await?)
    }

    async fn volume(&self, name: &str) -> Result<PersistentVolume> {
        Ok(Api::all(self.client.clone()).get(name).await?)
    }

    async fn token(&self, pod: &Pod, audience: Option<&str>, seconds: i64) -> Result<Token> {
        let meta = &pod.metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let account = crate::spec::spec(pod)
            .service_account_name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| "default".to_owned());
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: audience.map(|audience| vec![audience.to_owned()]),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: meta.name.clone(),
                    uid: meta.uid.clone(),
                }),
            }),
            ..TokenRequest::default()
        };
        let api = Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(
            self.client.clone(),
            namespace,
        );
        let answer = api.create_token_request(&account, &Default::default(), &request).await?;
        let status = answer.status.unwrap_or_default();
        match (status.token, status.expiration_timestamp) {
            (Some(text), Some(expires)) => Ok(Token { text, expires: expires.0.as_second() }),
            _ => Err(Error::pod("the API server answered a token request without a token")),
        }
    }
}
