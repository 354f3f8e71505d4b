use super::{is_core, items, list_mut, refuse};
use async_trait::async_trait;
use kubeplane_clock::Seed;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Operation, Request},
    status::ApiResult,
};
use serde_json::{Value, json};
use std::sync::Arc;

const MIRROR: &str = "kubernetes.io/config.mirror";
const VOLUME: &str = "kube-api-access-";
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_SECONDS: i64 = 3607;

/// Gives every pod a service account and the account's token, as a projected volume.
#[derive(Debug, Clone)]
pub struct ServiceAccount {
    seed: Seed,
}

impl ServiceAccount {
    /// Names volumes by chance from `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self { seed }
    }

    async fn account(&self, request: &Request<'_>, name: &str) -> ApiResult<Arc<Object>> {
        let resource = GroupResource::new("", "serviceaccounts");
        let mut found = request.reader.get(&resource, request.namespace, name).await?;
        if found.is_none() {
            // It may have been made a moment ago.
            found = request.reader.get_fresh(&resource, request.namespace, name).await?;
        }
        found.ok_or_else(|| {
            let namespace = request.namespace;
            refuse(request, format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"))
        })
    }
}

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && subresource.is_empty() && is_core(definition, "pods")
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let name = {
            let Some(pod) =
                request.object.as_deref_mut().filter(|pod| pod.annotation(MIRROR).is_none())
            else {
                return Ok(());
            };
            if pod.text(&["spec", "serviceAccountName"]).is_empty() {
                pod.set(&["spec", "serviceAccountName"], "default");
            }
            let name = pod.text(&["spec", "serviceAccountName"]).to_owned();
            pod.set(&["spec", "serviceAccount"], name.as_str());
            name
        };
        let account = self.account(request, &name).await?;
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        let own = pod.at(&["spec", "automountServiceAccountToken"]).and_then(Value::as_bool);
        let general = account.at(&["automountServiceAccountToken"]).and_then(Value::as_bool);
        if own.or(general).unwrap_or(true) {
            mount(pod, &self.seed);
        }
        let secrets = items(&account, &["imagePullSecrets"]);
        if !secrets.is_empty() && items(pod, &["spec", "imagePullSecrets"]).is_empty() {
            pod.set(&["spec", "imagePullSecrets"], secrets.to_vec());
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(pod) = request.object.as_deref() else { return Ok(()) };
        let name = pod.text(&["spec", "serviceAccountName"]);
        if pod.annotation(MIRROR).is_some() {
            return match name {
                "" => Ok(()),
                _ => Err(refuse(request, "a mirror pod may not reference service accounts")),
            };
        }
        if name.is_empty() {
            let why = format!(
                "no service account specified for pod {}/{}",
                request.namespace, request.name
            );
            return Err(refuse(request, why));
        }
        self.account(request, name).await.map(|_| ())
    }
}

fn mount(pod: &mut Object, seed: &Seed) {
    let existing =
        items(pod, &["spec", "volumes"]).iter().filter_map(|volume| volume["name"].as_str());
    let existing = existing.into_iter().find(|name| name.starts_with(VOLUME)).map(str::to_owned);
    let name = existing.clone().unwrap_or_else(|| format!("{VOLUME}{}", seed.suffix(5)));
    let mut needed = false;
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = pod.map_at_mut(&["spec"]).get_mut(list) else {
            continue;
        };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            let Some(mounts) = mounts.as_array_mut() else { continue };
            if !mounts.iter().any(|mount| mount["mountPath"] == MOUNT) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT}));
                needed = true;
            }
        }
    }
    if existing.is_none() && needed {
        list_mut(pod, &["spec"], "volumes").push(json!({"name": name, "projected": {"defaultMode": 0o644, "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_gets_the_token_once() {
        let mut pod = Object::from_value(json!({"spec": {"containers": [
            {"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT}]}]}}))
        .unwrap();
        mount(&mut pod, &Seed::new(1));
        assert_eq!(
            pod.at(&["spec", "containers"]).unwrap()[0]["volumeMounts"].as_array().unwrap().len(),
            1
        );
        assert_eq!(
            pod.at(&["spec", "containers"]).unwrap()[1]["volumeMounts"].as_array().unwrap().len(),
            1
        );
        let volumes = items(&pod, &["spec", "volumes"]).to_vec();
        assert_eq!(volumes.len(), 1);
        assert!(volumes[0]["name"].as_str().unwrap().starts_with(VOLUME));
        mount(&mut pod, &Seed::new(2));
        assert_eq!(items(&pod, &["spec", "volumes"]), volumes);
    }
}
