use crate::{Error, Result};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, lchown},
    path::Path,
};

/// Gives a tree to a group, which may then read it, and write it unless `read_only`; new files in its
/// directories belong to the group too.
pub(crate) fn give_to_group(root: &Path, group: u32, read_only: bool) -> Result<()> {
    give(root, group, read_only).map_err(|error| Error::file(root, error))
}

/// Whether a tree was given to a group before, as far as its root shows.
pub(crate) fn is_of(root: &Path, group: u32) -> bool {
    fs::metadata(root).is_ok_and(|meta| meta.gid() == group && meta.mode() & 0o2000 != 0)
}

fn give(path: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let meta = path.symlink_metadata()?;
    lchown(path, None, Some(group))?;
    if meta.is_symlink() {
        return Ok(());
    }
    let mut mode = meta.permissions().mode() | if read_only { 0o440 } else { 0o660 };
    if meta.is_dir() {
        mode |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), group, read_only)?;
        }
    }
    Ok(())
}
