//! Storage on the nodes' own disks, from the start of a cluster on.

use async_trait::async_trait;
use kubeplane_apiserver::Api;
use kubeplane_controllers::LOCAL_PATH_PROVISIONER;
use kubeplane_core::{
    GroupResource, Object,
    auth::{GROUP_MASTERS, UserInfo},
    component::{Component, ComponentError, Lifecycle},
    status::ApiResult,
};
use serde_json::{Value, json};

const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";
/// The service account in kube-system that makes volumes.
const ACCOUNT: &str = "local-path-provisioner";
const ROLE: &str = "kubeplane:local-path-provisioner";

/// Makes the StorageClass `standard`, whose volumes are directories of nodes, and the rights of its
/// provisioner, where they are not there yet. Ready when they are.
#[derive(Debug)]
pub struct LocalStorage {
    api: Api,
}

impl LocalStorage {
    /// Writes through `api`.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    async fn ensure(
        &self,
        group: &'static str,
        plural: &'static str,
        value: Value,
    ) -> ApiResult<()> {
        let resource = GroupResource::new(group, plural);
        let object = Object::from_value(value).unwrap_or_default();
        let name = object.name().to_owned();
        if self.api.get(&resource, "", &name).await.is_ok() {
            return Ok(());
        }
        let user = UserInfo::new("system:apiserver", [GROUP_MASTERS]);
        match self.api.create(&resource, "", object, &user).await {
            Err(error) if error.reason() != "AlreadyExists" => Err(error),
            _ => Ok(()),
        }
    }

    async fn apply(&self) -> ApiResult<()> {
        let rule = |group: &str, resource: &str, verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
        let read = ["get", "list", "watch"];
        let role = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": {"name": ROLE}, "rules": [
            rule("", "persistentvolumes", &["get", "list", "watch", "create", "patch", "delete"]),
            rule("", "persistentvolumeclaims", &["get", "list", "watch", "update"]),
            rule("", "nodes", &["get", "list", "watch", "patch"]),
            rule("", "events", &["create", "patch", "update"]),
            rule(STORAGE, "storageclasses", &read),
        ]});
        self.ensure(RBAC, "clusterroles", role).await?;
        let binding = json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": ROLE},
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": ROLE},
            "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": ACCOUNT}]});
        self.ensure(RBAC, "clusterrolebindings", binding).await?;
        let class = json!({"apiVersion": format!("{STORAGE}/v1"), "kind": "StorageClass",
            "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": LOCAL_PATH_PROVISIONER, "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true});
        self.ensure(STORAGE, "storageclasses", class).await
    }
}

#[async_trait]
impl Component for LocalStorage {
    fn name(&self) -> &str {
        "local storage"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        self.apply().await?;
        lifecycle.ready();
        lifecycle.stopping().await;
        Ok(())
    }
}
