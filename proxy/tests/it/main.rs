//! A proxy on a node of its own: a network namespace with a client and pods around it, real traffic, real nftables.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

mod inside;
mod namespace;
mod network;
mod node;
