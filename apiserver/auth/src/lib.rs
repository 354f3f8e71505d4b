//! Authenticators, the RBAC and node authorizers, service account tokens and the bootstrap policy.
//!
//! ```text
//!   request ──> X509 | RequestHeader | ServiceAccountTokens ──> UserInfo ──> Masters | NodeAuthorizer | Rbac ──> Decision
//!                       ^ issue()                                   └─ read roles, bindings, pods
//!                serviceaccounts/token                                 through an ObjectReader
//! ```
//!
//! An authorizer is asked after the one before it had no opinion; nobody's yes is a no:
//!
//! ```
//! use kubeplane_auth::{Masters, OpenPaths};
//! use kubeplane_core::auth::{Attributes, Authorizer, Decision, GROUP_MASTERS, UserInfo};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let chain: [&dyn Authorizer; 2] = [&Masters, &OpenPaths::new(["/hook"])];
//! let may = async |user: UserInfo, path: &str| {
//!     let (user, path, verb) = (user.into(), path.into(), "get".into());
//!     let asked = Attributes { user, path, verb, ..Attributes::default() };
//!     for authorizer in chain {
//!         match authorizer.authorize(&asked).await {
//!             Decision::Allow(_) => return true,
//!             Decision::Deny(_) => return false,
//!             Decision::NoOpinion(_) => {}
//!         }
//!     }
//!     false
//! };
//! assert!(may(UserInfo::new("root", [GROUP_MASTERS]), "/metrics").await);
//! assert!(may(UserInfo::anonymous(), "/hook").await);
//! assert!(!may(UserInfo::anonymous(), "/metrics").await);
//! # }
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
