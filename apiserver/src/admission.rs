//! Admission steps that belong to the server itself.

mod namespace_lifecycle;

pub use namespace_lifecycle::NamespaceLifecycle;
