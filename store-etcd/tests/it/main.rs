//! The etcd store against the contract, on a real etcd: alone, behind TLS with users, and as a cluster that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test says where")]

mod certificates;
mod cluster;
mod compaction;
mod failures;
mod fragments;
mod gateway;
mod leases;
mod limits;
mod security;
mod server;
mod traffic;

mod conformance {
    kubeplane_store_trait::conformance!(crate::server::Etcd::start());
}

mod conformance_with_tls_and_users {
    kubeplane_store_trait::conformance!(crate::server::Etcd::secured());
}
