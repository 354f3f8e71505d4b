//! Webhooks and policies against a whole API server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

mod harness;
mod mutations;
mod policies;
mod webhooks;
