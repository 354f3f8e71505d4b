//! The built-in controllers against an API server in this process, with a kubelet's part played by the test.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod cluster;
mod collection;
mod deployments;
mod elections;
mod endpoints;
mod failures;
mod manager;
mod namespaces;
mod nodes;
mod replicas;
