//! The server in this process, on the memory store, with the built-in kinds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

mod audit;
mod bad_input;
mod crud;
mod deletion;
mod discovery;
mod fairness;
mod harness;
mod lists;
mod messages;
mod observability;
mod patches;
mod pipeline;
mod protobuf;
mod reads;
mod tls;
mod watches;
mod zpages;
