//! Mounts, through the kernel of Linux.

use crate::{Error, Result};
use rustix::mount::{MountFlags, UnmountFlags};
use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
};

/// Mounts memory at a directory, of at most `bytes`; does nothing when something is mounted there.
pub(crate) fn mount(path: &Path, bytes: Option<i64>) -> Result<()> {
    if below(path)?.iter().any(|mounted| mounted == path) {
        return Ok(());
    }
    let options = bytes.map_or_else(String::new, |bytes| format!("size={bytes}"));
    let options = CString::new(options).map_err(|error| Error::pod(error.to_string()))?;
    rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
        .map_err(|error| Error::file(path, error.into()))
}

/// Unmounts everything at and below a directory.
pub(crate) fn unmount_below(path: &Path) -> Result<()> {
    let mut mounted = below(path)?;
    // The innermost first.
    mounted.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for path in mounted {
        rustix::mount::unmount(&path, UnmountFlags::DETACH)
            .map_err(|error| Error::file(&path, error.into()))?;
    }
    Ok(())
}

fn below(path: &Path) -> Result<Vec<PathBuf>> {
    let table = "/proc/self/mounts";
    let text = fs::read_to_string(table).map_err(|error| Error::file(table, error))?;
    let at = text.lines().filter_map(|line| line.split(' ').nth(1));
    let paths = at.map(|escaped| PathBuf::from(unescaped(escaped)));
    Ok(paths.filter(|mounted| mounted.starts_with(path)).collect())
}

/// The mount table writes blanks and backslashes as octal numbers.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
