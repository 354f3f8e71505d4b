//! Admission that users bring: webhooks, and policies in expressions.
//!
//! ```text
//!   Extensions ──┬── mutating_policies()    MutatingAdmissionPolicy + Binding (+ parameters)
//!   (shared:     ├── mutating_webhooks()    MutatingWebhookConfiguration, one call after the other
//!    clients,    ├── validating_policies()  ValidatingAdmissionPolicy + Binding (+ parameters)
//!    CEL,        └── validating_webhooks()  ValidatingWebhookConfiguration, all calls at once
//!    metrics)           │
//!                       └─ rules, selectors, matchConditions ──> AdmissionReview over TLS, or expressions
//! ```
//!
//! The steps read configurations from the server's own watch caches and keep what they compiled until these
//! move. The original's order is the one above; the steps of a kind must be added in it.
//!
//! ```
//! use kubeplane_apiserver::ApiServer;
//! use kubeplane_webhooks::{Extensions, Options};
//!
//! # fn build(store: std::sync::Arc<dyn kubeplane_store_trait::Store>) -> kubeplane_apiserver::Result<ApiServer> {
//! let extensions = Extensions::new(Options::default());
//! let server = ApiServer::builder(store)
//!     .admit(extensions.mutating_policies())
//!     .admit(extensions.mutating_webhooks())
//!     .admit(extensions.validating_policies())
//!     .admit(extensions.validating_webhooks())
//!     .build()?;
//! extensions.attach(&server.api());
//! # Ok(server)
//! # }
//! ```

mod attributes;
mod equivalents;
mod expressions;
mod followed;
mod matching;
mod metrics;
mod policy;
mod shared;
mod webhook;

pub use policy::{MutatingAdmissionPolicy, PolicyTypeChecking, ValidatingAdmissionPolicy};
pub use shared::{Extensions, Options};
pub use webhook::{MutatingAdmissionWebhook, ValidatingAdmissionWebhook};
