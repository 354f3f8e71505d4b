//! The container runtime contract, the CRI client and the simulated runtime.
//!
//! ```text
//!                    ContainerRuntime = Sandboxes + Containers + Images + Stats
//!                      ▲                 ▲                        ▲
//!   kubelet ───────────┤                 │                        │
//!                 CriClient        SimulatedRuntime           yours, proved by
//!             (unix socket, CRI v1)  (in memory)         runtime_conformance!(..)
//! ```
//!
//! Messages are those of the container runtime interface, version 1 ([`v1`]); ids are newtypes.
//!
//! ```
//! use kubeplane_runtime_cri::{Images, SimulatedOptions, SimulatedRuntime, v1};
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let runtime = SimulatedRuntime::new(kubeplane_clock::real(), SimulatedOptions::default());
//! let spec = v1::ImageSpec { image: "busybox:1.36".into(), ..Default::default() };
//! let image = runtime.pull_image(&spec, None, None).await.unwrap();
//! assert!(image.as_str().starts_with("sha256:"));
//! # });
//! ```

mod client;
#[cfg(feature = "conformance")]
#[allow(clippy::expect_used, clippy::panic, reason = "a broken contract is a panic")]
pub mod conformance;
mod delegate;
mod error;
mod generated;
mod ids;
mod log_format;
mod runtime;
mod simulated;
mod streams;
#[cfg(feature = "testing")]
pub mod testing;

#[doc(hidden)]
pub use async_trait::async_trait;
pub use client::{ClientOptions, CriClient};
pub use error::{Error, Result, Retry};
pub use generated::runtime_v1 as v1;
pub use ids::{ContainerId, ImageRef, SandboxId};
pub use log_format::{LogLine, LogStream, LogTag};
pub use runtime::{ContainerRuntime, Containers, EventStream, Images, Sandboxes, Stats};
pub use simulated::{
    CPU_ANNOTATION, MEMORY_ANNOTATION, RESTART_POLICY_ANNOTATION, SimulatedOptions,
    SimulatedRuntime,
};
pub use streams::{
    DialPort, Duplex, Forwarding, PortStream, ProcessStreams, Reader, Streaming, TerminalSize,
    Writer,
};
