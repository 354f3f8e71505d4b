//! The node agent: pods through a container runtime

mod actions;
mod api;
mod backoff;
mod config;
mod container;
mod env;
mod error;
mod observed;
mod probes;
mod sandbox;
mod spec;
mod status;
#[cfg(test)]
mod testing;
mod volumes;

pub use config::{KubeletConfig, ServingCertificate};
pub use error::{Error, Result};
