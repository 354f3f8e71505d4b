//! The built-in controllers against an API server in this process, with a kubelet's part played by the test.

mod cluster;
mod collection;
mod deployments;
mod elections;
mod endpoints;
mod namespaces;
mod nodes;
mod replicas;
