//! The node agent: pods through a container runtime.
//!
//! ```text
//!   API ── pods of this node ──> manager ── one worker per pod ──> ContainerRuntime
//!    ▲                              ▲            │  │  │
//!    │                       runtime_watch       │  │  └─ volumes, environment, images
//!    │                      (events, relisting)  │  └──── probes
//!    ├── status of pods <── status::writer <─────┘
//!    ├── node, its status, its lease <── node
//!    ├── logs, exec, attach, port-forward ──> server (TLS, TokenReview, SubjectAccessReview)
//!    └── certificates: asked for, approved, signed, and asked for anew in time
//! ```
//!
//! What must be done is computed without doing it (`actions`, `resize`, `status`, `probes::machine`, `env`,
//! `volumes::atomic`); the worker then does it, one step after the other.
//!
//! ```no_run
//! # async fn example(client: kube::Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! use kubeplane_core::component::{Component, lifecycle};
//! use kubeplane_kubelet::{Kubelet, KubeletConfig};
//! use kubeplane_runtime_cri::{ClientOptions, CriClient};
//! use std::sync::Arc;
//! let runtime = CriClient::connect("/run/containerd/containerd.sock").await?;
//! let kubelet = Kubelet::builder(client, Arc::new(runtime), KubeletConfig::new("node-1")).build()?;
//! let (life, _supervision) = lifecycle();
//! Box::new(kubelet).run(life).await?;
//! # Ok(())
//! # }
//! ```

mod actions;
mod admit;
mod allocation;
mod api;
mod backoff;
mod certificates;
mod cni;
mod config;
mod container;
mod env;
mod error;
mod host;
mod http_get;
mod images;
mod kubelet;
mod logs;
mod manager;
mod measured;
mod metrics;
mod node;
mod observed;
mod pods;
mod probes;
mod resize;
mod runtime_watch;
mod sandbox;
mod server;
mod spec;
mod status;
#[cfg(test)]
mod testing;
mod usage;
mod volumes;
mod worker;

pub use certificates::{ClientCertificate, ClientRotation};
pub use config::{KubeletConfig, ServingCertificate};
pub use error::{Error, Result};
pub use kubelet::{Kubelet, KubeletBuilder};
