//! What moves behind the built-in kinds: handlers of subresources, write hooks, admission steps and
//! bootstrap objects.
//!
//! ```text
//!   pods/binding, pods/eviction ┐
//!   pods/exec, log, portforward │── Handler ──┐
//!   nodes|pods|services/proxy   │             │
//!   serviceaccounts/token       │             │
//!   *reviews, componentstatuses ┘             ├──> kubeplane-apiserver
//!   Service addresses and ports ─── WriteHook ┤
//!   ServiceAccount, tolerations ─── Admission ┤
//!   namespaces, RBAC, kubernetes ── Bootstrap ┘
//! ```
//!
//! The kinds themselves are data in `kubeplane-builtin`; everything here uses the interface that
//! handlers, hooks and steps of anybody else use.

pub mod admission;
mod binding;
mod bootstrap;
mod components;
mod eviction;
mod kubelet;
mod legacy_tokens;
mod proxy;
mod reviews;
mod services;
mod token;

pub use binding::PodBinding;
pub use bootstrap::{Bootstrap, BootstrapOptions, FrontProxy};
pub use components::ComponentStatuses;
pub use eviction::PodEviction;
pub use kubelet::{KubeletClient, KubeletClientError, PodLog, PodStream};
pub use legacy_tokens::track_legacy_tokens;
pub use proxy::{Connection, Dial, ResourceProxy};
pub use reviews::{
    AccessReview, ReviewKind, SelfSubjectReview, SelfSubjectRulesReview, TokenReview,
};
pub use services::{ServiceAddresses, ServiceAddressesError};
pub use token::ServiceAccountToken;
