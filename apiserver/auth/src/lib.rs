//! Authenticators, the RBAC and node authorizers, service account tokens and the bootstrap policy.
//!
//! ```text
//!   request ──> X509 | RequestHeader | ServiceAccountTokens ──> UserInfo ──> Masters | NodeAuthorizer | Rbac ──> Decision
//!                       ^ issue()                                   └─ read roles, bindings, pods
//!                serviceaccounts/token                                 through an ObjectReader
//! ```
//!
//! Sources: the Kubernetes documentation on authenticating, RBAC and node authorization; KEP-1205 (bound
//! service account tokens).

pub mod bootstrap;
mod bootstrap_token;
mod error;
mod escalation;
mod masters;
mod node;
mod open_paths;
mod rbac;
mod request_header;
mod token;
mod x509;

pub use bootstrap_token::BootstrapTokens;
pub use error::Error;
pub use escalation::RbacEscalation;
pub use masters::Masters;
pub use node::NodeAuthorizer;
pub use open_paths::OpenPaths;
pub use rbac::{PolicyRule, Rbac};
pub use request_header::{RequestHeader, RequestHeaderNames};
pub use token::{
    BoundObject, ServiceAccountTokens, TokenIssuer, TokenRequest, UsedTokens, VerifiedToken,
    bearer_token,
};
pub use x509::X509;
