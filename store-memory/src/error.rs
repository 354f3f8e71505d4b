use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why a data directory could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process (or another store of this one) holds the directory.
    #[error("data directory {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file or the directory cannot be read or written.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is damaged where no crash can have damaged it. Nothing was changed on disk.
    #[error("{} is corrupt at byte {offset}: {reason}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// Where in it, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
    /// A file was written by a version that this one cannot read.
    #[error("{} has format version {found}; this version reads {supported}", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// The version this build reads and writes.
        supported: u32,
    },
    /// A directory that a snapshot was to be restored into holds a store already.
    #[error("{} holds data already; a snapshot is restored into a new directory only", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
}

/// What was dropped to open a damaged directory, because
/// [`Builder::accept_data_loss`](crate::Builder::accept_data_loss) allowed it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DataLoss {
    /// The file, under the name it had.
    pub file: PathBuf,
    /// Where in it the damage begins, in bytes from its start.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
    /// What was dropped.
    pub dropped: String,
}

impl fmt::Display for DataLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, reason, dropped } = self;
        write!(f, "{} at byte {offset}: {reason}; dropped {dropped}", file.display())
    }
}

impl OpenError {
    pub(crate) fn corrupt(file: &Path, offset: usize, reason: impl Into<String>) -> Self {
        Self::Corrupt { file: file.to_owned(), offset: offset as u64, reason: reason.into() }
    }

    /// For `map_err`: an I/O failure at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
