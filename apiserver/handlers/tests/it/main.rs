//! Handlers and admission steps in a server without a socket.

mod addresses;
mod harness;
mod node_restriction;
mod proxy;
