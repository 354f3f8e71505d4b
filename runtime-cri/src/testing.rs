//! A real containerd and images for it, made on this machine without any registry (feature `testing`).
//!
//! For tests and demonstrations that run as root on Debian with `containerd`, `runc` and
//! `busybox-static`; what is missing is an error that names it.

mod archive;
mod containerd;

pub use archive::{TestImage, busybox_image, pause_image};
pub use containerd::{Containerd, ContainerdOptions};

/// The name of the image sandboxes run.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10";
/// The name of the image tests run containers of.
pub const BUSYBOX_IMAGE: &str = "docker.io/library/busybox:1.36";
