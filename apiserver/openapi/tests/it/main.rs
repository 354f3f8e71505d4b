//! The documents, as a client of the server in this process gets them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed expectation is a failed test"
)]

mod delegated;
mod discovery;
mod documents;
mod kubectl;
mod server;
