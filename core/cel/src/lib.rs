//! The Kubernetes CEL environment
