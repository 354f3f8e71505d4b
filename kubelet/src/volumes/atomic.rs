//! Directories whose files change all at once.
//!
//! ```text
//!   volume/name        -> ..data/name          what containers see
//!   volume/..data      -> ..v_0a1b2c3d4e5f    swapped by one rename
//!   volume/..v_0a1b2c3d4e5f/name               the bytes
//! ```

use super::ownership;
use crate::{Error, Result};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Component, Path, PathBuf},
};

const DATA: &str = "..data";
const NEXT: &str = "..data_tmp";

/// The content of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    /// Who owns it, where that is not this process.
    pub(crate) owner: Option<u32>,
}

/// Files by their path inside a volume.
pub(crate) type Files = BTreeMap<String, File>;

/// Brings the directory to exactly these files, in one step for readers; does nothing when it has them.
pub(crate) fn write(dir: &Path, files: &Files, group: Option<u32>) -> Result<()> {
    for path in files.keys() {
        check(path)?;
    }
    let current = fs::read_link(dir.join(DATA)).ok();
    if let Some(current) = &current
        && has(&dir.join(current), files, group.is_some())
    {
        return Ok(());
    }
    let version = new_version(dir)?;
    fill(&version, files)?;
    if let Some(group) = group {
        ownership::give_to_group(&version, group, true)?;
    }
    swap(dir, &version).map_err(|error| Error::file(dir, error))?;
    link(dir, files).map_err(|error| Error::file(dir, error))?;
    if let Some(old) = current {
        let old = dir.join(old);
        fs::remove_dir_all(&old).map_err(|error| Error::file(old, error))?;
    }
    Ok(())
}

fn check(path: &str) -> Result<()> {
    let relative = Path::new(path);
    let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(Error::pod(format!(
            "invalid path: must be relative and not contain '..': {path}"
        )));
    }
    Ok(())
}

fn has(version: &Path, files: &Files, modes_vary: bool) -> bool {
    let mut found = BTreeSet::new();
    if collect(version, Path::new(""), &mut found).is_err() || found.len() != files.len() {
        return false;
    }
    files.iter().all(|(path, file)| {
        let path = version.join(path);
        let same_mode = || {
            let mode = fs::metadata(&path).map(|meta| meta.permissions().mode() & 0o777);
            modes_vary || mode.is_ok_and(|mode| mode == file.mode)
        };
        fs::read(&path).is_ok_and(|data| data == file.data) && same_mode()
    })
}

fn collect(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

fn new_version(dir: &Path) -> Result<PathBuf> {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    let path = dir.join(format!("..v_{}", &unique[..12]));
    fs::create_dir(&path).map_err(|error| Error::file(&path, error))?;
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&path, open).map_err(|error| Error::file(&path, error))?;
    Ok(path)
}

fn fill(version: &Path, files: &Files) -> Result<()> {
    for (path, file) in files {
        let path = version.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| Error::file(parent, error))?;
        }
        let write = || {
            fs::write(&path, &file.data)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
            file.owner.map_or(Ok(()), |owner| chown(&path, Some(owner), None))
        };
        write().map_err(|error| Error::file(&path, error))?;
    }
    Ok(())
}

fn swap(dir: &Path, version: &Path) -> io::Result<()> {
    let next = dir.join(NEXT);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(version.file_name().unwrap_or_default(), &next)?;
    fs::rename(&next, dir.join(DATA))
}

/// Makes the names containers see, and takes away those that are no more.
fn link(dir: &Path, files: &Files) -> io::Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let wanted: BTreeSet<String> = files.keys().map(|path| first(path)).collect();
    for name in &wanted {
        let link = dir.join(name);
        if link.symlink_metadata().is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(&name) {
            fs::remove_file(dir.join(name))?;
        }
    }
    Ok(())
}
