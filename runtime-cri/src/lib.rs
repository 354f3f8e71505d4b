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

mod client;
mod error;
mod generated;
mod ids;
mod runtime;
mod streams;

pub use client::{ClientOptions, CriClient};
pub use error::{Error, Result, Retry};
pub use generated::runtime_v1 as v1;
pub use ids::{ContainerId, ImageRef, SandboxId};
pub use runtime::{ContainerRuntime, Containers, EventStream, Images, Sandboxes, Stats};
pub use streams::{
    DialPort, Duplex, Forwarding, PortStream, ProcessStreams, Reader, Streaming, TerminalSize,
    Writer,
};
