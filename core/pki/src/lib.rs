//! Authorities, certificates, signing requests and kubeconfig files.
//!
//! ```text
//!   PkiDir ── ca.crt, ca.key ──> Authority ── issue(Request) ──> Identity { cert, key }
//!      └───── sa.key, leaves (kept, renewed when near expiry)        ├──> Kubeconfig
//!                                                                    └──> LiveIdentity: shown, and replaced meanwhile
//! ```
//!
//! ```
//! use kubeplane_pki::{Authority, Request, Usage};
//! let authority = Authority::generate("kubernetes", jiff::Timestamp::now())?;
//! let admin = Request::new("kubernetes-admin", Usage::Client).organization("system:masters");
//! let identity = authority.issue(&admin, jiff::Timestamp::now())?;
//! assert!(identity.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
//! # Ok::<(), kubeplane_pki::Error>(())
//! ```

mod authority;
mod directory;
mod error;
mod inspect;
mod kubeconfig;
mod live;
mod signing;
mod trusted;
mod unverified;

pub use authority::{Authority, Identity, Request, Usage, generate_key, public_key};
pub use directory::{Leaf, PkiDir, write_private, write_public};
pub use error::{Error, Result};
pub use inspect::{CertificateInfo, inspect, pem};
pub use kubeconfig::{Kubeconfig, KubeconfigUser};
pub use live::LiveIdentity;
pub use signing::{SigningRequest, Terms};
pub use trusted::Trusted;
pub use unverified::Unverified;
