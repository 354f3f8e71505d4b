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
//! # Contract
//! A [`ContainerRuntime`] is [`Sandboxes`], [`Containers`], [`Images`] and [`Stats`] together, and conformance tests (feature
//! `conformance`) hold yours to this:
//!
//! * What stops or removes is idempotent, and succeeds for what is not there; what makes something does not.
//! * A call that was dropped, or failed with `Unavailable` or `DeadlineExceeded`, may have been carried out: lists are the truth.
//! * On return of `run_sandbox` the sandbox is ready and has its addresses; on return of `stop_container` the container has
//!   ended; an exit code other than zero is no error.
//! * Events may be lost by who reads slowly, and the stream says so before it ends.
//! * A [`DialPort`] opens one connection inside one sandbox each time it is asked.
//!
//! # Example
//! ```
//! use kubeplane_runtime_cri::{Images, SimulatedOptions, SimulatedRuntime, v1};
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let runtime = SimulatedRuntime::new(kubeplane_clock::real(), SimulatedOptions::default());
//! let spec = v1::ImageSpec { image: "busybox:1.36".into(), ..Default::default() };
//! let image = runtime.pull_image(&spec, None, None).await.unwrap();
//! assert!(image.as_str().starts_with("sha256:"));
//! # });
//! ```
//!
//! A whole program: [a runtime around another one][custom_runtime].
//!
//! [custom_runtime]: https://github.com/kubeplane/kubeplane/blob/main/examples/custom_runtime.rs

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
