//! The memory store against the contract, and its files against crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test says where")]

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

mod crash;
mod expiry;
mod factories;
mod files;
mod history;
mod loss;
mod readers;
mod sharing;
mod snapshots;

/// Counts what is allocated, for those who ask.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

mod ephemeral {
    kubeplane_store_trait::conformance!(crate::factories::Ephemeral::default());
}

mod durable {
    kubeplane_store_trait::conformance!(crate::factories::Durable::new());
}

mod kept_by_the_system {
    use kubeplane_store_memory::Durability;
    kubeplane_store_trait::conformance!(crate::factories::Durable::with(
        |builder| builder.durability(Durability::Process)
    ));
}

/// Some of the keys that the cases write wait for the disk, and some do not.
mod relaxed {
    kubeplane_store_trait::conformance!(crate::factories::Durable::with(
        |builder| builder.relaxed(["a", "k", "f", "0", "2"])
    ));
}

mod snapshotting {
    kubeplane_store_trait::conformance!(crate::factories::Snapshotting::new());
}
