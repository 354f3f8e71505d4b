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
//! client, store, runtime or clock.

pub mod api;
pub mod audit_webhook;
pub mod controller_clients;
pub mod credentials;
mod data_dir;
pub mod endpoint;
pub mod local_storage;
mod metrics_api;
pub mod runtime;
pub mod signing;
pub mod snapshots;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;

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
