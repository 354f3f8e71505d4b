//! The built-in controllers against an API server in this process, with a kubelet's part played by the test.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

mod addresses;
mod attachments;
mod autoscaling;
mod bindings;
mod budgets;
mod certificates;
mod cluster;
mod collection;
mod cronjob_events;
mod cronjobs;
mod daemons;
mod daemonsets;
mod deployments;
mod edges;
mod elections;
mod endpoints;
mod expansion;
mod failures;
mod job_delays;
mod job_failures;
mod job_scenes;
mod job_suspension;
mod jobs;
mod ledger;
mod manager;
mod namespaces;
mod nodes;
mod ordinals;
mod owners;
mod protection;
mod quotas;
mod replicas;
mod replicas_more;
mod resource_claims;
mod roles;
mod rollouts;
mod scaling;
mod service_cidrs;
mod statefulsets;
mod tokens;
mod told;
mod traffic;
mod volumes;
mod world;
