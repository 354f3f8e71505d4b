//! Services and EndpointSlices to nftables rules.
//!
//! ```text
//!   Services ───────┐
//!   EndpointSlices ─┴─> service ports, endpoints ─> traffic policy ─> Ruleset (plain data)
//!                                                                        │ difference to the last one
//!                                                        one nft transaction per IP family
//! ```
//!
//! ClusterIPs, node ports, external and load balancer addresses for TCP, UDP and SCTP, with session affinity
//! and both traffic policies, as kube-proxy's nftables mode has them. Every change is one atomic transaction, and
//! touches only what differs; the tables `kubeplane-proxy` of the families `ip` and `ip6` are the proxy's own.
//!
//! ```
//! use kubeplane_proxy::ProxyConfig;
//! let mut config = ProxyConfig::new("node-1");
//! config.cluster_cidrs = vec!["10.244.0.0/16".parse().unwrap()];
//! assert_eq!(config.masquerade_mark(), 0x4000);
//! ```

mod compile;
mod config;
mod conntrack;
mod endpoints;
mod error;
mod health;
mod metrics;
mod names;
mod nft;
mod proxy;
mod ruleset;
mod service;
mod syncer;
mod topology;
mod transaction;

pub use config::ProxyConfig;
pub use error::{Error, Result};
pub use proxy::{Proxy, ProxyBuilder};
