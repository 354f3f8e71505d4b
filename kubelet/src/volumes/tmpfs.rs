//! Volumes in memory.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::{mount, unmount_below};

/// Fails: nobody but Linux mounts memory.
#[cfg(not(target_os = "linux"))]
pub(crate) fn mount(path: &std::path::Path, _bytes: Option<i64>) -> crate::Result<()> {
    let why = format!("cannot mount memory at {}: that needs Linux", path.display());
    Err(crate::Error::pod(why))
}

/// Does nothing, as nothing is mounted.
#[cfg(not(target_os = "linux"))]
pub(crate) fn unmount_below(_dir: &std::path::Path) -> crate::Result<()> {
    Ok(())
}
