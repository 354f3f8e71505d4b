//! The kubelet against a real API server in this process, with simulated containers and with containerd.

mod containerd;
mod harness;
mod pods;
mod restarts;
mod serving;
