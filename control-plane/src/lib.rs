//! kubeplane: a Kubernetes control plane as a library, and the binary made of it.

mod supervisor;

pub use supervisor::{ControlPlane, ControlPlaneError, shutdown_signal};
