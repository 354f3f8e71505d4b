//! Definitions and their objects on a server in this process, on the memory store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

mod conversion;
mod corpus;
mod definitions;
mod fuzz;
mod harness;
mod objects;
