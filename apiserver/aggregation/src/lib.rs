//! Both sides of API aggregation: passing group versions on to extension API servers, and being one.
//!
//! ```text
//!   APIService (spec.service) ──> Aggregation (component) ──> availability ──> status.conditions
//!                                     │            └───────> discovery, OpenAPI of the extension
//!                                     v
//!   request ─> pipeline ─> Delegate ─> front-proxy certificate, X-Remote-User ... ─> extension API server
//!                                                                                        │
//!   ExtensionAccess::load(client) ──> RequestHeader, X509 (authenticators) ──────────────┤
//!   DelegatedAuthorizer(client) ───> SubjectAccessReview ────────────────────────────────┘
//! ```
//!
//! An APIService without a service is local: the server that stores it serves the group version itself, from its
//! registry of kinds. Kinds that nobody stores (a `Definition` and a `Handler` under the empty subresource name) are
//! served so too, until someone registers an APIService with a service for their group version.
//!
//! An extension API server is an [`ApiServer`](kubeplane_apiserver::ApiServer) as any other, with the two authenticators
//! and the authorizer that ask the server in front of it:
//!
//! ```no_run
//! use kubeplane_aggregation::{DelegatedAuthorizer, ExtensionAccess};
//! use kubeplane_apiserver::ApiServer;
//!
//! # async fn build(
//! #     store: std::sync::Arc<dyn kubeplane_store_trait::Store>, client: kube_client::Client,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! let access = ExtensionAccess::load(&client, kubeplane_clock::real()).await?;
//! let server = ApiServer::builder(store)
//!     .authenticate(access.request_header)
//!     .authenticate(access.certificates)
//!     .authorize(DelegatedAuthorizer::new(client, kubeplane_clock::real()))
//!     .build()?;
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! A whole program: [an extension API server][extension_apiserver].
//!
//! [extension_apiserver]: https://github.com/kubeplane/kubeplane/blob/main/examples/extension_apiserver.rs

mod availability;
mod component;
mod documents;
mod extension;
mod metrics;
mod proxy;
mod services;

pub use component::Aggregation;
pub use extension::{DelegatedAuthorizer, Error, ExtensionAccess};
pub use kubeplane_outbound::Identity;
