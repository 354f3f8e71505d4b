//! The API server: request pipeline, verbs, registry of kinds, watch cache, discovery.
//!
//! ```text
//!   kube_client::Client ─┐                     ┌─> discovery, routes (/version, /healthz, /openapi)
//!   TLS listener ────────┴─> pipeline ─> dispatch ─> verbs ──> write path ──> Store
//!                                              └─> handlers      watch cache <──┘
//! ```
//!
//! A kind is a [`Definition`](kubeplane_core::Definition), which can be installed at run time through
//! [`Registry`]; whatever is more than data plugs in as a [`Handler`], a [`WriteHook`] or a [`Route`], and as
//! the `Authenticator`, `Authorizer` and `Admission` of the core crate.
//!
//! # Contract
//! What plugs in is asked after authentication and authorization, and what it fails with is sent to the client as a Status; its
//! future is dropped when the client went away or the request timed out.
//!
//! * A [`Handler`] answers a subresource, or a resource that nobody stores, for the verbs its definition lists; admission is its own work.
//! * A [`WriteHook`] stands between mutating admission and validation, on every try of a write; what it keeps is kept or given
//!   back once the outcome is known, and a dry run keeps nothing.
//! * A [`Route`] answers paths that name no resource.
//! * A [`Delegate`] answers everything below a group version, its discovery too.
//! * An [`AuditSink`](audit::AuditSink) gets one event after the other, from a thread of its own, and may block.
//!
//! # Example
//! ```
//! use async_trait::async_trait;
//! use kubeplane_apiserver::{ApiServer, admission::NamespaceLifecycle};
//! use kubeplane_core::auth::{Attributes, Authorizer, Decision, GROUP_MASTERS};
//! use kubeplane_store_memory::MemoryStore;
//! use std::sync::Arc;
//!
//! #[derive(Debug)]
//! struct Masters;
//!
//! #[async_trait]
//! impl Authorizer for Masters {
//!     async fn authorize(&self, request: &Attributes) -> Decision {
//!         match request.user.is_in(GROUP_MASTERS) {
//!             true => Decision::Allow("a master".into()),
//!             false => Decision::NoOpinion(String::new()),
//!         }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let api = ApiServer::builder(Arc::new(MemoryStore::new()))
//!     .resources(kubeplane_builtin::all())
//!     .authorize(Masters)
//!     .admit(NamespaceLifecycle)
//!     .build()?;
//! let version = api.client().apiserver_version().await?;
//! assert_eq!(version.minor, "36");
//! # Ok(())
//! # }
//! ```
//!
//! Whole programs: [an API server on memory][apiserver_memory] and [one behind your own web service][embed_in_axum].
//!
//! [apiserver_memory]: https://github.com/kubeplane/kubeplane/blob/main/examples/apiserver_memory.rs
//! [embed_in_axum]: https://github.com/kubeplane/kubeplane/blob/main/examples/embed_in_axum.rs

pub mod admission;
mod api;
pub mod audit;
pub mod body;
mod builder;
mod cache;
mod client;
mod compaction;
mod cut_off;
mod decode;
mod delegation;
mod discovery;
mod error;
mod filter;
pub mod forward;
mod handler;
mod health;
mod held;
mod info;
mod messages;
mod metrics;
mod namespaces;
mod options;
mod output;
mod pipeline;
mod query;
mod registry;
mod requester;
mod server;
mod storage;
mod stored;
mod timed;
mod tls;
mod verbs;
mod versions;
mod watch;
mod write;
mod zpages;

pub use api::Api;
pub use body::Body;
pub use builder::Builder;
pub use cut_off::{CutOff, Guarded};
pub use delegation::{Delegate, Delegated, DelegatedRequest, Described, Standing};
pub use discovery::{KUBERNETES_VERSION, version_rank};
pub use error::{Error, Result};
pub use handler::{Finish, Handler, HandlerRequest, Route, WriteHook, no_such_path};
pub use health::StartCheck;
pub use held::Held;
pub use info::RequestInfo;
pub use namespaces::NamespaceDeletion;
pub use options::{DeleteOptions, Preconditions, Propagation};
pub use output::{accepts_only, nowhere};
pub use pipeline::{Service, forbidden};
pub use query::Query;
pub use registry::{Registry, Resource};
pub use requester::requester;
pub use server::{ApiServer, Clients};
pub use tls::TlsOptions;
pub use versions::{Versions, VersionsError};
