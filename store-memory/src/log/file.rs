use crate::OpenError;
use std::path::Path;

/// The format that is written, and the only one that is read.
pub(crate) const VERSION: u32 = 1;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Log,
    Snapshot,
}

impl Kind {
    fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::Log => b"kubeplog",
            Self::Snapshot => b"kubepsnp",
        }
    }
}

/// The first bytes of a file: magic, version, revision, checksum, all little-endian. Every version keeps them so, that a
/// damaged one is told from a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) revision: u64,
}

impl Header {
    pub(crate) const LEN: usize = 24;

    pub(crate) fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(self.kind.magic());
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.revision.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..20]);
        bytes[20..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the header of a file of this kind; returns its revision.
    pub(crate) fn read(kind: Kind, bytes: &[u8], file: &Path) -> Result<u64, OpenError> {
        let corrupt = |reason: &str| OpenError::corrupt(file, 0, reason);
        if bytes.len() < Self::LEN {
            return Err(corrupt("the file ends inside its header"));
        }
        if bytes[..8] != *kind.magic() {
            return Err(corrupt("this is not such a file"));
        }
        if u32_at(bytes, 20) != crc32c::crc32c(&bytes[..20]) {
            return Err(corrupt("the header's checksum is wrong"));
        }
        let found = u32_at(bytes, 8);
        if found != VERSION {
            return Err(OpenError::Version { file: file.to_owned(), found, supported: VERSION });
        }
        Ok(u64_at(bytes, 12))
    }

    /// Reads the header of a file of this kind and revision.
    pub(crate) fn check(self, bytes: &[u8], file: &Path) -> Result<(), OpenError> {
        if Self::read(self.kind, bytes, file)? != self.revision {
            let reason = "the header's revision is not that of the name";
            return Err(OpenError::corrupt(file, 12, reason));
        }
        Ok(())
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
