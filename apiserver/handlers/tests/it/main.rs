//! Handlers and admission steps in a server without a socket.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

mod addresses;
mod behind;
mod bootstrap;
mod devices;
mod eviction;
mod harness;
mod identity;
mod limits;
mod node_restriction;
mod pod_security;
mod proxy;
mod quota;
mod steps;
mod streams;
