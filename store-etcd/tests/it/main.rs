//! The etcd store against the contract, on a real etcd.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test says where")]

mod failures;
mod server;

mod conformance {
    kubeplane_store_trait::conformance!(crate::server::Etcd::start());
}
