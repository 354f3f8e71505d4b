//! What moves behind the built-in kinds: handlers of subresources, write hooks, admission steps and
//! bootstrap objects.
//!
//! ```text
//!   pods/binding, pods/eviction ┐
//!   pods/exec, log, portforward │── Handler ──┐
//!   nodes|pods|services/proxy   │             │
//!   serviceaccounts/token       │             │
//!   *reviews, componentstatuses ┘             ├──> kubeplane-apiserver
//!   Service addresses and ports ─── WriteHook ┤
//!   ServiceAccount, tolerations ─── Admission ┤
//!   namespaces, RBAC, kubernetes ── Bootstrap ┘
//! ```
//!
//! The kinds themselves are data in `kubeplane-builtin`; everything here uses the interface that
//! handlers, hooks and steps of anybody else use.
//!
//! # Contract
//! A [`Dial`] reaches pods and nodes where the server's machine is not in their network: it connects, or fails, and leaves the limit in
//! time to who asks.
//!
//! # Example
//! ```
//! use k8s_openapi::api::core::v1::{Namespace, Service};
//! use kube_client::{Api, api::PostParams};
//! use kubeplane_apiserver::ApiServer;
//! use kubeplane_auth::Masters;
//! use kubeplane_core::GroupResource;
//! use kubeplane_handlers::ServiceAddresses;
//! use kubeplane_store_memory::MemoryStore;
//! use serde_json::{from_value, json};
//! use std::sync::Arc;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let addresses = ServiceAddresses::new(["10.96.0.0/16".parse::<ipnet::IpNet>()?], 30_000..=32_767)?;
//! let api = ApiServer::builder(Arc::new(MemoryStore::new()))
//!     .resources(kubeplane_builtin::all())
//!     .hook(GroupResource::new("", "services"), Arc::new(addresses))
//!     .authorize(Masters)
//!     .build()?;
//! let namespaces: Api<Namespace> = Api::all(api.client());
//! let home = from_value(json!({"metadata": {"name": "default"}}))?;
//! namespaces.create(&PostParams::default(), &home).await?;
//! let services: Api<Service> = Api::default_namespaced(api.client());
//! let web = from_value(json!({"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}))?;
//! let made = services.create(&PostParams::default(), &web).await?;
//! let address = made.spec.and_then(|spec| spec.cluster_ip).unwrap_or_default();
//! assert!(address.starts_with("10.96."), "{address}");
//! # Ok(())
//! # }
//! ```

pub mod admission;
mod binding;
mod bootstrap;
mod components;
mod dial;
mod eviction;
mod issuer_discovery;
mod kubelet;
mod legacy_tokens;
mod proxy;
mod reviews;
mod services;
mod token;

pub use binding::PodBinding;
pub use bootstrap::{Bootstrap, BootstrapOptions, FrontProxy};
pub use components::ComponentStatuses;
pub use dial::{Connection, Dial, Tcp};
pub use eviction::PodEviction;
pub use issuer_discovery::IssuerDiscovery;
pub use kubelet::{KubeletClient, KubeletClientError, PodLog, PodStream};
pub use legacy_tokens::track_legacy_tokens;
pub use proxy::ResourceProxy;
pub use reviews::{
    AccessReview, ReviewKind, SelfSubjectReview, SelfSubjectRulesReview, TokenReview,
};
pub use services::{ServiceAddresses, ServiceAddressesError};
pub use token::ServiceAccountToken;
