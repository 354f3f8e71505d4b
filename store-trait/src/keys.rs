use crate::{Key, Revision};
use bytes::Bytes;
use std::{fmt, ops::Range};

/// The keys of a list without values, in key order. All stand in one buffer, so that each costs its bytes and three
/// numbers: nothing is allocated, and no reference counted, for one of them.
///
/// ```
/// use kubeplane_store_trait::{Key, Keys, Revision};
///
/// let mut keys = Keys::default();
/// for (name, revision) in [("/registry/pods/a", 7), ("/registry/pods/b", 9)] {
///     keys.push(&Key::new(name).unwrap(), Revision(revision), Revision(7));
/// }
/// let last = keys.last().unwrap();
/// assert_eq!((last.key, last.revision), (&b"/registry/pods/b"[..], Revision(9)));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Row {
    /// Where the key ends in the buffer; it begins where the one before ends.
    end: usize,
    revision: Revision,
    created: Revision,
}

/// One of the [`Keys`]: all of an [`Entry`](crate::Entry) but its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedKey<'a> {
    /// The bytes of the key.
    pub key: &'a [u8],
    /// The revision of the entry's last write.
    pub revision: Revision,
    /// The revision of its creation.
    pub created: Revision,
}

impl Keys {
    /// None yet, with room for so many keys that have so many bytes together.
    #[must_use]
    pub fn with_capacity(keys: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), rows: Vec::with_capacity(keys) }
    }

    /// Adds one behind the others; the caller keeps them in order.
    pub fn push(&mut self, key: &Key, revision: Revision, created: Revision) {
        self.bytes.extend_from_slice(key.as_bytes());
        self.rows.push(Row { end: self.bytes.len(), revision, created });
    }

    /// Adds those of `other` at the places of `range` behind the others, all at once.
    ///
    /// # Panics
    /// Where `other` has no such places.
    pub fn append(&mut self, other: &Self, range: Range<usize>) {
        let (start, before) = (other.start(range.start), self.bytes.len());
        self.bytes.extend_from_slice(&other.bytes[start..start + other.size(range.clone())]);
        let moved = |row: &Row| Row { end: row.end - start + before, ..*row };
        self.rows.extend(other.rows[range].iter().map(moved));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many bytes those at the places of `range` have together.
    ///
    /// # Panics
    /// Where there are no such places.
    #[must_use]
    pub fn size(&self, range: Range<usize>) -> usize {
        self.start(range.end) - self.start(range.start)
    }

    /// The last one.
    #[must_use]
    pub fn last(&self) -> Option<ListedKey<'_>> {
        self.iter().next_back()
    }

    /// All, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = ListedKey<'_>> + ExactSizeIterator {
        (0..self.rows.len()).map(|index| {
            let Row { end, revision, created } = self.rows[index];
            ListedKey { key: &self.bytes[self.start(index)..end], revision, created }
        })
    }

    /// Where the key at a place begins.
    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.rows[before].end)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|listed| listed.to_string())).finish()
    }
}

impl ListedKey<'_> {
    /// The key for itself, copied.
    #[must_use]
    pub fn to_key(self) -> Key {
        Key(Bytes::copy_from_slice(self.key))
    }
}

impl fmt::Display for ListedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.key))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests {
    use super::*;

    fn keys(names: &[&'static str]) -> Keys {
        let mut keys = Keys::default();
        for (name, revision) in names.iter().zip(10..) {
            keys.push(&Key::new(*name).unwrap(), Revision(revision), Revision(revision - 5));
        }
        keys
    }

    fn told(keys: &Keys) -> Vec<(String, u64, u64)> {
        keys.iter().map(|one| (one.to_string(), one.revision.0, one.created.0)).collect()
    }

    #[test]
    fn parts_of_several_stand_in_one() {
        let (first, second) = (keys(&["a", "bcd", "e"]), keys(&["f", "gh", "ijk"]));
        let mut all = Keys::with_capacity(4, first.size(1..3) + second.size(0..2));
        all.append(&first, 1..3);
        all.append(&second, 3..3);
        all.append(&second, 0..2);
        let expected = [("bcd", 11, 6), ("e", 12, 7), ("f", 10, 5), ("gh", 11, 6)];
        assert_eq!(told(&all), expected.map(|(name, one, two)| (name.to_owned(), one, two)));
        assert_eq!((all.len(), all.size(0..4), all.is_empty()), (4, 7, false));
        assert_eq!(all.last().unwrap().to_key(), Key::new("gh").unwrap());
        assert_eq!(format!("{all:?}"), r#"["bcd", "e", "f", "gh"]"#);
    }

    #[test]
    fn none_are_none() {
        let none = Keys::default();
        assert_eq!((none.len(), none.size(0..0), none.last()), (0, 0, None));
    }
}
