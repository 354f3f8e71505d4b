//! Connections the API server makes by itself: to webhooks and to extension API servers.
//!
//! ```text
//!   Endpoint (URL or Service, whose certificates) ─> Clients ─> one client per endpoint, connections kept
//!                                                      │
//!                       Service ─> ready endpoint ─────┴─> TCP ─> TLS ─> HTTP/1.1 or 2
//! ```
//!
//! ```
//! use kubeplane_outbound::Endpoint;
//! use serde_json::json;
//! use std::time::Duration;
//!
//! let endpoint = Endpoint::of(&json!({"service": {"namespace": "n", "name": "s", "path": "/convert"}}));
//! let uri = endpoint.uri(Duration::from_secs(30))?;
//! assert_eq!(uri.to_string(), "https://s.n.svc:443/convert?timeout=30s");
//! # Ok::<_, String>(())
//! ```

mod client;
mod connect;
mod endpoint;
mod resolve;

pub use client::{Clients, Failure};
pub use connect::{Identity, check_authorities};
pub use endpoint::{Endpoint, Place};
