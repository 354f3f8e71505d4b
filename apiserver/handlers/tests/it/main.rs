//! Handlers and admission steps in a server without a socket.

mod addresses;
mod eviction;
mod harness;
mod node_restriction;
mod proxy;
