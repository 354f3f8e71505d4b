//! kubeplane: a Kubernetes control plane as a library, and the binary made of it.
//!
//! ```text
//!   Credentials ─┐
//!   dyn Store ───┴─> standard_api_server() ─> ApiServer ─┬─ client_as(user) ─> Manager, Scheduler, Kubelet
//!                                                        └─ listener (TLS) <── kubectl, other processes
//!   ControlPlane: starts them in order, stops them in reverse
//! ```
//!
//! Everything here is assembly; each part is a crate of its own, re-exported below, and takes any
//! client, store, runtime or clock. [`testing`] has a whole cluster for a test:
//!
//! ```
//! # #[cfg(feature = "testing")]
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! use k8s_openapi::api::core::v1::Namespace;
//! use kubeplane::testing::TestCluster;
//!
//! let cluster = TestCluster::start().await?;
//! let namespaces: kube::Api<Namespace> = kube::Api::all(cluster.client());
//! assert!(namespaces.get("kube-system").await.is_ok());
//! cluster.stop().await?;
//! # Ok(()) }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! `#[kubeplane::test]` in place of `#[tokio::test]` starts and stops one around a test, which takes it as its argument.
//!
//! # Contract
//! What plugs into a part is told on the first page of that part's crate. A test may return whatever is an
//! [`Outcome`](testing::Outcome), which says whether it failed.
//!
//! # Examples
//! Small programs, each showing one thing:
//!
//! * [an API server on memory][apiserver_memory]
//! * [two on one etcd][apiserver_etcd]
//! * [one behind your own web service][embed_in_axum]
//! * [one with custom resources and roles only][bespoke_distribution]
//! * [a hundred clusters in one process][many_clusters]
//! * [a test with a cluster in it][test_with_cluster]
//! * [a controller][custom_controller]
//! * [a scheduler plugin][custom_scheduler_plugin]
//! * [profiles of the scheduler][custom_scheduler_profile]
//! * [an extender of the scheduler][scheduler_extender]
//! * [an admission step][custom_admission]
//! * [an authenticator][custom_authenticator]
//! * [a container runtime][custom_runtime]
//! * [a store][custom_store]
//! * [a conversion webhook][conversion_webhook]
//! * [an extension API server][extension_apiserver]
//! * [a load generator][load] for any API servers, side by side
//!
//! [apiserver_memory]: https://github.com/kubeplane/kubeplane/blob/main/examples/apiserver_memory.rs
//! [apiserver_etcd]: https://github.com/kubeplane/kubeplane/blob/main/examples/apiserver_etcd.rs
//! [embed_in_axum]: https://github.com/kubeplane/kubeplane/blob/main/examples/embed_in_axum.rs
//! [bespoke_distribution]: https://github.com/kubeplane/kubeplane/blob/main/examples/bespoke_distribution.rs
//! [many_clusters]: https://github.com/kubeplane/kubeplane/blob/main/examples/many_clusters.rs
//! [test_with_cluster]: https://github.com/kubeplane/kubeplane/blob/main/examples/test_with_cluster.rs
//! [custom_controller]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_controller.rs
//! [custom_scheduler_plugin]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_scheduler_plugin.rs
//! [custom_scheduler_profile]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_scheduler_profile.rs
//! [scheduler_extender]: https://github.com/kubeplane/kubeplane/blob/main/examples/scheduler_extender.rs
//! [custom_admission]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_admission.rs
//! [custom_authenticator]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_authenticator.rs
//! [custom_runtime]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_runtime.rs
//! [custom_store]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_store.rs
//! [conversion_webhook]: https://github.com/kubeplane/kubeplane/blob/main/examples/conversion_webhook.rs
//! [extension_apiserver]: https://github.com/kubeplane/kubeplane/blob/main/examples/extension_apiserver.rs
//! [load]: https://github.com/kubeplane/kubeplane/blob/main/examples/load/main.rs

pub mod api;
pub mod audit_webhook;
pub mod component_routes;
pub mod controller_clients;
pub mod credentials;
mod data_dir;
pub mod endpoint;
pub mod local_storage;
mod metrics_api;
pub mod renewal;
pub mod runtime;
pub mod signing;
mod simulated_logs;
pub mod snapshots;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;
pub mod ui;
mod ways;

pub use data_dir::{DataDir, DataDirError};
pub use supervisor::{ControlPlane, ControlPlaneError, shutdown_signal};

pub use kubeplane_aggregation as aggregation;
pub use kubeplane_apiserver as apiserver;
pub use kubeplane_auth as auth;
pub use kubeplane_builtin as builtin;
pub use kubeplane_client as client;
pub use kubeplane_clock as clock;
pub use kubeplane_controllers as controllers;
pub use kubeplane_core as core;
pub use kubeplane_extensions as extensions;
pub use kubeplane_handlers as handlers;
pub use kubeplane_kubelet as kubelet;
pub use kubeplane_openapi as openapi;
pub use kubeplane_pki as pki;
pub use kubeplane_proxy as proxy;
pub use kubeplane_runtime_cri as runtime_cri;
pub use kubeplane_scheduler_framework as scheduler;
pub use kubeplane_simulated as simulated;
pub use kubeplane_store_etcd as store_etcd;
pub use kubeplane_store_memory as store_memory;
pub use kubeplane_store_trait as store;
pub use kubeplane_telemetry as telemetry;
pub use kubeplane_webhooks as webhooks;

#[cfg(feature = "testing")]
pub use kubeplane_macros::test;

/// What most assemblies need.
pub mod prelude {
    pub use crate::{
        ControlPlane,
        api::{ApiOptions, standard_api_server},
        credentials::Credentials,
        shutdown_signal,
    };
    pub use kubeplane_apiserver::{ApiServer, TlsOptions};
    pub use kubeplane_auth::{Masters, NodeAuthorizer, Rbac, X509};
    pub use kubeplane_client::Informers;
    pub use kubeplane_controllers::{Action, Controller, Manager, Sources};
    pub use kubeplane_core::{
        Definition, Strategy,
        admission::Admission,
        auth::{Authenticator, Authorizer, UserInfo},
        component::Component,
    };
    pub use kubeplane_kubelet::{Kubelet, KubeletConfig};
    pub use kubeplane_runtime_cri::ContainerRuntime;
    pub use kubeplane_scheduler_framework::{Profile, Scheduler, SchedulerPlugin};
    pub use kubeplane_store_memory::MemoryStore;
    pub use kubeplane_store_trait::Store;
}
