//! Webhooks and policies against a whole API server.

mod harness;
mod mutations;
mod policies;
mod webhooks;
