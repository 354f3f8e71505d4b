//! The `kubeplane` binary from outside: unmodified kubectls, raw requests, restarts and bad input.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test says where")]

mod apart;
mod api_options;
mod assembly;
mod bad_input;
mod calls;
mod clients;
mod cluster;
mod corpus;
mod custom;
mod devices;
mod earlier;
mod gangs;
mod gates;
mod joining;
mod kubectl;
mod matrix;
mod metrics;
mod network;
mod observability;
mod parts;
mod picture;
mod raw;
mod restart;
mod scheduling;
mod scheduling_faults;
mod secure;
mod snapshot;
mod start_up;
mod storage;
mod testserver;
mod workload_faults;
mod workloads;
