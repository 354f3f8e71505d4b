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

pub mod admission;
mod api;
pub mod body;
mod builder;
mod cache;
mod client;
mod compaction;
mod decode;
mod discovery;
mod error;
mod filter;
mod handler;
mod health;
mod info;
mod metrics;
mod namespaces;
mod options;
mod output;
mod pipeline;
mod query;
mod registry;
mod server;
mod storage;
mod stored;
mod timed;
mod tls;
mod verbs;
mod watch;
mod write;

pub use api::Api;
pub use body::Body;
pub use builder::Builder;
pub use discovery::KUBERNETES_VERSION;
pub use error::{Error, Result};
pub use handler::{Finish, Handler, HandlerRequest, Route, WriteHook, no_such_path};
pub use info::RequestInfo;
pub use namespaces::NamespaceDeletion;
pub use options::{DeleteOptions, Preconditions, Propagation};
pub use pipeline::Service;
pub use query::Query;
pub use registry::{Registry, Resource};
pub use server::ApiServer;
pub use tls::TlsOptions;
