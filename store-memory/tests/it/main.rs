//! The memory store against the contract, and its files against crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test says where")]

mod crash;
mod factories;
mod files;
mod history;
mod loss;
mod snapshots;

mod ephemeral {
    kubeplane_store_trait::conformance!(crate::factories::Ephemeral::default());
}

mod durable {
    kubeplane_store_trait::conformance!(crate::factories::Durable::new());
}

mod snapshotting {
    kubeplane_store_trait::conformance!(crate::factories::Snapshotting::new());
}
