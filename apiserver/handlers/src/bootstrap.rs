mod api_services;
mod checks;
mod endpoints;
mod flow_control;
mod identity;
mod service;

use crate::services::{addresses, ports::NodePorts};
use async_trait::async_trait;
use checks::Checks;
use futures::future::try_join_all;
use http::StatusCode;
use identity::Identity;
use ipnet::IpNet;
use kubeplane_apiserver::Api;
use kubeplane_auth::bootstrap::{policy_with, reconciled};
use kubeplane_core::{
    GroupResource, Object,
    auth::{GROUP_MASTERS, UserInfo},
    component::{Component, ComponentError, Lifecycle},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    time::Duration,
};
use tokio::sync::watch;

/// How often what servers and controllers leave behind when they end is put right.
const REPAIR: Duration = Duration::from_secs(60);
/// How soon what could not be put right is tried again.
const RETRY: Duration = Duration::from_secs(1);

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Name, value and description of the classes for what a cluster cannot do without.
const PRIORITY_CLASSES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// How extension API servers know the API server in front of them, whose word they take for who asks.
#[derive(Debug, Clone)]
pub struct FrontProxy {
    /// The authority of its client certificate, PEM.
    pub authority: String,
    /// The common name of its client certificate.
    pub name: String,
}

/// What [`Bootstrap`] cannot know by itself.
#[derive(Debug, Clone)]
pub struct BootstrapOptions {
    /// Where this API server is reached: the endpoint of the Service `kubernetes`.
    pub address: SocketAddr,
    /// The cluster address of the Service `kubernetes`.
    pub service_address: IpAddr,
    /// The ranges of all cluster addresses, one or one of each family.
    pub service_ranges: Vec<IpNet>,
    /// The range of all node ports.
    pub node_ports: RangeInclusive<u16>,
    /// The authority of client certificates, PEM, for extension API servers.
    pub client_authority: String,
    /// As whom the API server comes to extension API servers; `None` when it comes to none.
    pub front_proxy: Option<FrontProxy>,
    /// The user as which the API server comes to kubelets; it may do there what kubelets offer.
    pub kubelet_client: String,
    /// ClusterRoles and ClusterRoleBindings beside those of the policy, for what the server has beside the usual.
    pub roles: Vec<Value>,
    /// The name of the machine the server is on: with it the server holds the Lease of its identity in `kube-system`
    /// and deletes those of servers that have long been away, as long as the gate `APIServerIdentity` is on.
    pub host: Option<String>,
}

/// Makes the objects every cluster starts with: namespaces, the RBAC policy, the Service `kubernetes`
/// with its endpoints, and what extension API servers need to know. Existing objects keep what was added
/// to them. Ready when all are there; the server is not before that. While it runs it makes anew what is deleted, keeps
/// the Service leading to the server, and holds the server's identity Lease, if it is told where the server is.
#[derive(Debug)]
pub struct Bootstrap {
    api: Api,
    options: BootstrapOptions,
    /// Where the server listens, if that says the port.
    bound: Option<watch::Receiver<Option<SocketAddr>>>,
    ports: NodePorts,
    checks: Checks,
}

impl Bootstrap {
    /// Writes through `api`.
    #[must_use]
    pub fn new(api: Api, options: BootstrapOptions) -> Self {
        let ports = NodePorts::new(options.node_ports.clone());
        let checks = Checks::new(&api);
        Self { api, options, bound: None, ports, checks }
    }

    /// Takes the port from where the server really listens ([`ApiServer::bound`](kubeplane_apiserver::ApiServer::bound))
    /// in place of that of [`BootstrapOptions::address`], for one that was to find a free port. The server has to run, or
    /// this waits for it.
    #[must_use]
    pub fn listening(self, bound: watch::Receiver<Option<SocketAddr>>) -> Self {
        Self { bound: Some(bound), ..self }
    }

    /// Makes what is missing.
    ///
    /// # Errors
    /// When a write fails.
    pub async fn apply(&self) -> ApiResult<()> {
        self.ensure_namespaces().await?;
        self.checks.namespaces.done();
        // All at once: the store commits them in few groups.
        let policy = policy_with(self.api.features());
        try_join_all(policy.into_iter().map(|object| self.ensure_policy(object))).await?;
        for (name, value, description) in PRIORITY_CLASSES {
            let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": {"name": name}, "value": value, "description": description});
            self.ensure("scheduling.k8s.io", "priorityclasses", "", class).await?;
        }
        self.checks.priority_classes.done();
        for role in &self.options.roles {
            let resource = match role["kind"].as_str() {
                Some("ClusterRoleBinding") => "clusterrolebindings",
                _ => "clusterroles",
            };
            self.ensure("rbac.authorization.k8s.io", resource, "", role.clone()).await?;
        }
        self.ensure_kubelet_rights().await?;
        self.checks.roles.done();
        self.ensure_flow_control().await?;
        self.mark_schemas().await?;
        self.checks.flow_control.done();
        self.ensure_service_range().await?;
        self.checks.service_range.done();
        self.ensure_service().await?;
        if let Some(address) = self.reachable().await? {
            self.be_reachable(address, true).await?;
        }
        self.checks.service.done();
        self.repair_services().await?;
        self.checks.addresses.done();
        self.ensure_api_services().await?;
        self.checks.api_services.done();
        self.ensure_extension_access().await?;
        self.checks.extension_access.done();
        Ok(())
    }

    async fn ensure_namespaces(&self) -> ApiResult<()> {
        let namespaces = NAMESPACES.map(|name| {
            let namespace =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            self.ensure("", "namespaces", "", namespace)
        });
        try_join_all(namespaces).await.map(drop)
    }

    /// Tells extension API servers whose word to take for who asks.
    async fn ensure_extension_access(&self) -> ApiResult<()> {
        let config = self.extension_access();
        self.replace("", "configmaps", "kube-system", config, "data").await
    }

    fn extension_access(&self) -> Value {
        let mut data = json!({"client-ca-file": self.options.client_authority});
        if let Some(front) = &self.options.front_proxy {
            let list = |name: &str| json!([name]).to_string();
            data["requestheader-client-ca-file"] = front.authority.as_str().into();
            data["requestheader-allowed-names"] = list(&front.name).into();
            data["requestheader-username-headers"] = list("X-Remote-User").into();
            if self.api.features().is_on("RemoteRequestHeaderUID") {
                data["requestheader-uid-headers"] = list("X-Remote-Uid").into();
            }
            data["requestheader-group-headers"] = list("X-Remote-Group").into();
            data["requestheader-extra-headers-prefix"] = list("X-Remote-Extra-").into();
        }
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"}})
    }

    async fn ensure(
        &self,
        group: &'static str,
        resource: &'static str,
        namespace: &str,
        value: Value,
    ) -> ApiResult<()> {
        let resource = GroupResource::new(group, resource);
        let object = Object::from_value(value).unwrap_or_default();
        self.create(&resource, namespace, object).await.map(|_| ())
    }

    /// Creates an object; `false` when it exists.
    async fn create(
        &self,
        resource: &GroupResource,
        namespace: &str,
        object: Object,
    ) -> ApiResult<bool> {
        let name = object.name().to_owned();
        // Most starts find everything there: a read is cheaper than a refused write.
        if self.api.get(resource, namespace, &name).await.is_ok() {
            return Ok(false);
        }
        let user = UserInfo::new("system:apiserver", [GROUP_MASTERS]);
        match self.api.create(resource, namespace, object, &user).await {
            Ok(_) => Ok(true),
            Err(error) if error.reason() == "AlreadyExists" => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn ensure_policy(&self, wanted: Object) -> ApiResult<()> {
        let plural = format!("{}s", wanted.kind().to_lowercase());
        let resource = GroupResource::new("rbac.authorization.k8s.io", plural);
        let (namespace, name) = (wanted.namespace().to_owned(), wanted.name().to_owned());
        let existing = match self.api.get(&resource, &namespace, &name).await {
            Ok(existing) => existing,
            Err(error) if error.code() == StatusCode::NOT_FOUND => {
                self.create(&resource, &namespace, wanted).await?;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if reconciled(&existing, &wanted).is_none() {
            return Ok(());
        }
        let change = |object: &mut Object| {
            if let Some(mended) = reconciled(object, &wanted) {
                *object = mended;
            }
            Ok::<_, ApiError>(())
        };
        self.api.update_with(&resource, &namespace, &name, change).await.map(|_| ())
    }

    async fn ensure_kubelet_rights(&self) -> ApiResult<()> {
        const GROUP: &str = "rbac.authorization.k8s.io";
        let binding = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding",
            "metadata": {"name": "kubeplane:kubelet-api-admin"},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": self.options.kubelet_client}]});
        self.ensure(GROUP, "clusterrolebindings", "", binding).await
    }

    /// Who this server is, if it says so.
    fn identity(&self) -> Option<Identity<'_>> {
        let host = self.options.host.as_deref()?;
        self.api.features().is_on("APIServerIdentity").then(|| Identity::new(&self.api, host))
    }

    /// Keeps what comes and goes in step until the server stops.
    async fn keep(&self, mut changes: watch::Receiver<u64>) {
        let mut pause = REPAIR;
        loop {
            let pausing = self.api.clock().sleep(pause);
            let outcome = tokio::select! {
                biased;
                changed = changes.changed() => match changed {
                    Ok(()) => self.ensure_api_services().await,
                    Err(_) => return,
                },
                () = pausing => self.repair().await,
            };
            pause = if outcome.is_ok() { REPAIR } else { RETRY };
            if let Err(error) = outcome {
                tracing::warn!(%error, "bootstrap objects could not be put right; trying again");
            }
        }
    }

    /// Makes anew what somebody deleted, too. The RBAC policy is looked at only at the start, as by the original.
    async fn repair(&self) -> ApiResult<()> {
        self.ensure_namespaces().await?;
        self.ensure_service_range().await?;
        self.ensure_service().await?;
        let access = self.extension_access();
        self.ensure("", "configmaps", "kube-system", access).await?;
        self.repair_services().await?;
        self.ensure_flow_control().await?;
        self.mark_schemas().await?;
        self.ensure_api_services().await
    }

    async fn repair_services(&self) -> ApiResult<()> {
        self.ports.repair(&self.api).await?;
        addresses::repair(&self.api).await
    }

    /// Creates an object, or brings one field of the existing one up to date.
    async fn replace(
        &self,
        group: &'static str,
        resource: &'static str,
        namespace: &str,
        value: Value,
        field: &str,
    ) -> ApiResult<()> {
        let resource = GroupResource::new(group, resource);
        let object = Object::from_value(value).unwrap_or_default();
        let name = object.name().to_owned();
        if self.create(&resource, namespace, object.clone()).await? {
            return Ok(());
        }
        let change = |existing: &mut Object| {
            if let Some(wanted) = object.at(&[field]) {
                existing.set(&[field], wanted.clone());
            }
            Ok::<_, ApiError>(())
        };
        self.api.update_with(&resource, namespace, &name, change).await.map(|_| ())
    }
}

#[async_trait]
impl Component for Bootstrap {
    fn name(&self) -> &str {
        "bootstrap"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        // What is served anew while the objects are made, or just after, is a change, too.
        let changes = self.api.registry().changes();
        self.apply().await?;
        let address = self.reachable().await?;
        lifecycle.ready();
        let identity = self.identity();
        let held = async {
            match &identity {
                Some(identity) => identity.hold().await,
                None => std::future::pending().await,
            }
        };
        let reached = async {
            match address {
                Some(address) => self.stay_reachable(address).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = lifecycle.stopping() => {}
            () = self.keep(changes) => lifecycle.stopping().await,
            () = self.watch_flow_control() => {}
            () = held => {}
            () = reached => {}
        }
        if let Some(address) = address {
            self.leave(address).await;
        }
        if let Some(identity) = &identity {
            identity.give_up().await;
        }
        Ok(())
    }
}
