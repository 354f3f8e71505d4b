//! The built-in controllers against an API server in this process, with a kubelet's part played by the test.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod attachments;
mod autoscaling;
mod certificates;
mod cluster;
mod collection;
mod cronjobs;
mod daemonsets;
mod deployments;
mod elections;
mod endpoints;
mod failures;
mod jobs;
mod manager;
mod namespaces;
mod nodes;
mod protection;
mod quotas;
mod replicas;
mod resource_claims;
mod service_cidrs;
mod statefulsets;
mod tokens;
mod volumes;
