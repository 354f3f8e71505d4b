//! The files of a data directory.
//!
//! ```text
//!   lock                          held while the store is open
//!   snapshot-<revision>           every entry at that revision
//!   log-<revision>                the changes after that revision, one frame per group commit
//! ```
//!
//! Every file begins with a [header](file::Header); then come [frames](frame), each with a checksum
//! over its own header and one over its payload. A frame says whether the one before it was on the disk when it was
//! written: only such ones at the end of the last log, with those that were not, can be torn by a crash. The same part,
//! from the last frame that says so to the end, is written again when the log is opened, because it may be on the disk
//! in appearance only.

pub(crate) mod appender;
pub(crate) mod directory;
pub(crate) mod disk;
pub(crate) mod file;
pub(crate) mod frame;
pub(crate) mod frames;
pub(crate) mod pace;
pub(crate) mod record;
pub(crate) mod recover;
pub(crate) mod snapshot;
