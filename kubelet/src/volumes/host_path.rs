use crate::{Error, Result};
use std::{
    fs,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Checks that a path of this machine is what the pod expects there, or makes it so.
pub(crate) fn prepare(path: &str, expected: &str) -> Result<PathBuf> {
    let target = PathBuf::from(path);
    let failed =
        |what: &str| Error::pod(format!("hostPath type check failed: {path} is not {what}"));
    let found = fs::metadata(&target).ok();
    let is = |test: fn(&fs::Metadata) -> bool| found.as_ref().is_some_and(test);
    match expected {
        "DirectoryOrCreate" if found.is_none() => create(&target, true)?,
        "FileOrCreate" if found.is_none() => create(&target, false)?,
        "Directory" | "DirectoryOrCreate" if !is(fs::Metadata::is_dir) => {
            return Err(failed("a directory"));
        }
        "File" | "FileOrCreate" if !is(fs::Metadata::is_file) => return Err(failed("a file")),
        "Socket" if !is(|meta| meta.file_type().is_socket()) => {
            return Err(failed("a socket file"));
        }
        "CharDevice" if !is(|meta| meta.file_type().is_char_device()) => {
            return Err(failed("a character device"));
        }
        "BlockDevice" if !is(|meta| meta.file_type().is_block_device()) => {
            return Err(failed("a block device"));
        }
        _ => {}
    }
    Ok(target)
}

fn create(path: &Path, directory: bool) -> Result<()> {
    let make = || {
        if directory {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        } else {
            fs::OpenOptions::new().create(true).append(true).open(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        }
    };
    make().map_err(|error| Error::file(path, error))
}
