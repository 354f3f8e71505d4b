//! The way from the API server to kubelets: logs, exec, attach and port-forward.

mod client;
mod pods;

pub(crate) use pods::without_token;

pub use client::{KubeletClient, KubeletClientError};
pub use pods::{PodLog, PodStream};
