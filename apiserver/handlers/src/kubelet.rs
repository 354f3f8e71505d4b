//! The way from the API server to kubelets: logs, exec, attach and port-forward.

mod client;
mod frames;
mod pods;

pub(crate) use client::said;
pub(crate) use pods::{switch, without_token};

pub use client::{KubeletClient, KubeletClientError};
pub use pods::{PodLog, PodStream};
