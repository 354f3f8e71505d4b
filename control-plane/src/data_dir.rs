//! The directory a control plane keeps everything in, and the lock that keeps it to one process.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// Somebody else uses it.
    #[error("data directory {} is in use by {owner}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who, as in `kubeplane serve (process 4711)`.
        owner: String,
    },
    /// It cannot be made, read or written.
    #[error("data directory {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A data directory that nobody else uses while this lives. The lock goes with the process, however it ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing and takes its lock for `user`, as in `kubeplane serve`. Nothing
    /// is changed in a directory that somebody else uses. Only its owner may look into it (mode 0700).
    ///
    /// # Errors
    /// When somebody else uses it, or it cannot be used.
    pub fn lock(path: &Path, user: &str) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let mut lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse { path: path.to_owned(), owner: owner(lock) });
            }
        }
        // Logs of pods, volumes and tokens lie below.
        fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
        let note = format!("{user} (process {})\n", std::process::id());
        lock.set_len(0).and_then(|()| lock.write_all(note.as_bytes())).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// The directory, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What the owner of a lock wrote into it.
fn owner(mut lock: File) -> String {
    let mut note = String::new();
    match lock.read_to_string(&mut note) {
        Ok(_) if !note.trim().is_empty() => note.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_user_is_told_who_the_first_is_and_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let first = DataDir::lock(&path, "kubeplane serve").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o750)).unwrap();
        let error = DataDir::lock(&path, "kubeplane apiserver").unwrap_err().to_string();
        let expected = format!(
            "data directory {} is in use by kubeplane serve (process {})",
            path.display(),
            std::process::id()
        );
        assert_eq!(error, expected);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o750);
        drop(first);
        DataDir::lock(&path, "kubeplane apiserver").unwrap();
        let note = fs::read_to_string(path.join("lock")).unwrap();
        assert!(note.starts_with("kubeplane apiserver (process "), "{note}");
    }
}
