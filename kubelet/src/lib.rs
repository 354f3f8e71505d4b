//! The node agent: pods through a container runtime
