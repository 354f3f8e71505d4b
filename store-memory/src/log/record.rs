//! What a frame's payload is made of: one record per change.

use super::{
    file::{u32_at, u64_at},
    snapshot::Stored,
};
use bytes::Bytes;
use kubeplane_store_trait::Key;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const COMPACT: u8 = 3;
const ENTRY: u8 = 4;
const COUNT: u8 = 5;

/// One record. Expiry is wall time in milliseconds since 1970, so that it outlives the process; zero is never.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Put {
        key: Key,
        value: Bytes,
        expires: u64,
    },
    Delete {
        key: Key,
    },
    Compact {
        through: u64,
    },
    /// In a snapshot: an entry with the revisions it has.
    Entry(Stored<'a>),
    /// In a snapshot: how many entries came before; its last record.
    Count {
        entries: u64,
    },
}

pub(crate) fn put(out: &mut Vec<u8>, key: &Key, value: &[u8], expires: u64) {
    out.push(PUT);
    pair(out, key, value);
    out.extend_from_slice(&expires.to_le_bytes());
}

/// The bytes of a put.
pub(crate) fn put_len(key: &Key, value: &[u8]) -> usize {
    1 + 4 + key.as_bytes().len() + 4 + value.len() + 8
}

/// The bytes of a delete.
pub(crate) fn delete_len(key: &Key) -> usize {
    1 + 4 + key.as_bytes().len()
}

pub(crate) fn delete(out: &mut Vec<u8>, key: &Key) {
    out.push(DELETE);
    field(out, key.as_bytes());
}

pub(crate) fn compact(out: &mut Vec<u8>, through: u64) {
    out.push(COMPACT);
    out.extend_from_slice(&through.to_le_bytes());
}

pub(crate) fn entry(out: &mut Vec<u8>, key: &Key, value: &[u8], numbers: [u64; 3]) {
    out.push(ENTRY);
    pair(out, key, value);
    for number in numbers {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

pub(crate) fn count(out: &mut Vec<u8>, entries: u64) {
    out.push(COUNT);
    out.extend_from_slice(&entries.to_le_bytes());
}

fn pair(out: &mut Vec<u8>, key: &Key, value: &[u8]) {
    field(out, key.as_bytes());
    field(out, value);
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Reads the records of a payload; `None` in place of one that makes no sense, then the end.
#[derive(Debug)]
pub(crate) struct Items<'a> {
    rest: &'a [u8],
}

impl<'a> Items<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    fn item(&mut self) -> Option<Item<'a>> {
        let start = self.rest;
        let kind = self.take(1)?[0];
        Some(match kind {
            PUT => {
                let (key, value) = (self.key()?, self.value()?);
                Item::Put { key, value, expires: self.number()? }
            }
            DELETE => Item::Delete { key: self.key()? },
            COMPACT => Item::Compact { through: self.number()? },
            ENTRY => {
                let (key, value) = (self.key()?, self.value()?);
                let expires = self.number()?;
                let revision = self.number()?;
                let created = self.number()?;
                let bytes = &start[..start.len() - self.rest.len()];
                Item::Entry(Stored { bytes, key, value, expires, revision, created })
            }
            COUNT => Item::Count { entries: self.number()? },
            _ => return None,
        })
    }

    fn key(&mut self) -> Option<Key> {
        Key::new(self.value()?)
    }

    fn value(&mut self) -> Option<Bytes> {
        let len = usize::try_from(u32_at(self.take(4)?, 0)).ok()?;
        // Copied, so that one small value does not keep a whole file in memory.
        Some(Bytes::copy_from_slice(self.take(len)?))
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64_at(self.take(8)?, 0))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Option<Item<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = self.item();
        if item.is_none() {
            self.rest = &[];
        }
        Some(item)
    }
}
