//! The kubelet against a real API server in this process, with simulated containers and with containerd.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod containerd;
mod harness;
mod hooks;
mod pods;
mod resize;
mod restarts;
mod serving;
