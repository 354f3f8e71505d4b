//! Doubles for tests of this crate.

use crate::{
    Error, Result,
    api::{Objects, Token},
};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicUsize, atomic::Ordering},
};

/// ConfigMaps, Secrets and bound claims that are only in memory.
#[derive(Debug, Default)]
pub(crate) struct FakeObjects {
    config_maps: Mutex<HashMap<(String, String), Arc<ConfigMap>>>,
    secrets: Mutex<HashMap<(String, String), Arc<Secret>>>,
    /// The specifications of volumes, each bound to a claim of its name.
    volumes: HashMap<String, Value>,
    tokens: AtomicUsize,
}

fn key(namespace: &str, name: &str) -> (String, String) {
    (namespace.to_owned(), name.to_owned())
}

fn not_found(kind: &str, name: &str) -> Error {
    Error::NotFound { kind: kind.to_owned(), name: name.to_owned() }
}

impl FakeObjects {
    pub(crate) fn with_config_map(self, namespace: &str, name: &str, data: Value) -> Self {
        self.set_config_map(namespace, name, data);
        self
    }

    pub(crate) fn set_config_map(&self, namespace: &str, name: &str, data: Value) {
        let map = serde_json::from_value(json!({"data": data})).unwrap();
        self.config_maps.lock().insert(key(namespace, name), Arc::new(map));
    }

    pub(crate) fn with_secret(self, namespace: &str, name: &str, data: Value) -> Self {
        let secret = serde_json::from_value(json!({"data": data})).unwrap();
        self.secrets.lock().insert(key(namespace, name), Arc::new(secret));
        self
    }

    pub(crate) fn with_volume(mut self, name: &str, spec: Value) -> Self {
        self.volumes.insert(name.to_owned(), spec);
        self
    }
}

#[async_trait]
impl Objects for FakeObjects {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Arc<ConfigMap>> {
        let found = self.config_maps.lock().get(&key(namespace, name)).cloned();
        found.ok_or_else(|| not_found("configmap", name))
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>> {
        let found = self.secrets.lock().get(&key(namespace, name)).cloned();
        found.ok_or_else(|| not_found("secret", name))
    }

    async fn claim(&self, _: &str, name: &str) -> Result<PersistentVolumeClaim> {
        if !self.volumes.contains_key(name) {
            return Err(not_found("persistentvolumeclaims", name));
        }
        let claim = json!({"spec": {"volumeName": name}, "status": {"phase": "Bound"}});
        Ok(serde_json::from_value(claim).unwrap())
    }

    async fn volume(&self, name: &str) -> Result<PersistentVolume> {
        let spec = self.volumes.get(name).ok_or_else(|| not_found("persistentvolumes", name))?;
        Ok(serde_json::from_value(json!({"spec": spec})).unwrap())
    }

    async fn token(&self, _: &Pod, audience: Option<&str>, seconds: i64) -> Result<Token> {
        let count = self.tokens.fetch_add(1, Ordering::Relaxed);
        let text = format!("token-{count}-{}", audience.unwrap_or("api"));
        Ok(Token { text, expires: seconds })
    }
}
