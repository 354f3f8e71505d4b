//! The directory a control plane keeps everything in, and the lock that keeps it to one process.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// The bits of a mode that let the group and others write.
const WRITE_OF_OTHERS: u32 = 0o022;

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
    /// Others than its owner may write there, and so replace what is kept in it.
    #[error(
        "data directory {path} may be written by others (mode {mode:04o}): name one that does not exist yet, or \
         take the right away with `chmod go-w {path}`",
        path = path.display()
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
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
    /// is changed in a directory that somebody else uses. One that is made is its owner's alone (mode 0700), one
    /// that is there keeps its mode.
    ///
    /// # Errors
    /// When somebody else uses it, others may write there, or it cannot be used.
    pub fn lock(path: &Path, user: &str) -> Result<Self, DataDirError> {
        let failed = |source| DataDirError::Io { path: path.to_owned(), source };
        Self::make(path)?;
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
        let note = format!("{user} (process {})\n", std::process::id());
        lock.set_len(0).and_then(|()| lock.write_all(note.as_bytes())).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        Ok(Self { path, _lock: lock })
    }

    /// Makes a directory of mode 0700 if it is missing, and says its absolute path.
    ///
    /// # Errors
    /// When others may write in the one that is there, or there can be none.
    pub fn make(path: &Path) -> Result<PathBuf, DataDirError> {
        let failed = |source| DataDirError::Io { path: path.to_owned(), source };
        match (make_private(path), path.parent()) {
            (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(parent).and_then(|()| make_private(path)).map_err(failed)?;
            }
            (made, _) => made.map_err(failed)?,
        }
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
        if mode & WRITE_OF_OTHERS != 0 {
            return Err(DataDirError::Open { path: path.to_owned(), mode });
        }
        fs::canonicalize(path).map_err(failed)
    }

    /// The directory, as an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory that only its owner may look into; one that is there is left as it is.
fn make_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
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
    use std::fs::Permissions;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_directory_that_was_there_keeps_its_mode_and_a_new_one_is_its_owners_alone() {
        let home = tempfile::tempdir().unwrap();
        let there = home.path().join("there");
        fs::create_dir(&there).unwrap();
        fs::set_permissions(&there, Permissions::from_mode(0o755)).unwrap();
        DataDir::lock(&there, "kubeplane serve").unwrap();
        assert_eq!(mode(&there), 0o755);
        let made = home.path().join("new/data");
        DataDir::lock(&made, "kubeplane serve").unwrap();
        assert_eq!(mode(&made), 0o700);
        assert_eq!(DataDir::make(&made).unwrap(), fs::canonicalize(&made).unwrap());
    }

    #[test]
    fn a_directory_others_may_write_in_is_refused_and_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        for open in [0o777, 0o1777, 0o775, 0o702] {
            let path = home.path().join(format!("{open:o}"));
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            let error = DataDir::lock(&path, "kubeplane serve").unwrap_err().to_string();
            let told = format!("(mode {open:04o})");
            assert!(error.contains(&told) && error.contains("chmod go-w"), "{error}");
            assert_eq!(mode(&path), open);
            assert_eq!(fs::read_dir(&path).unwrap().count(), 0, "nothing was made in it");
        }
    }

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
