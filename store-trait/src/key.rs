use bytes::Bytes;
use std::{borrow::Borrow, fmt};

/// The name of an entry: any bytes but none, at most [`Key::MAX_LEN`] of them. Keys order by their bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(crate) Bytes);

impl Key {
    /// The longest key, in bytes.
    pub const MAX_LEN: usize = 4096;

    /// A key of these bytes; `None` when there are none or too many.
    #[must_use]
    pub fn new(bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        (!bytes.is_empty() && bytes.len() <= Self::MAX_LEN).then_some(Self(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The keys from `start` (inclusive) to `end` (exclusive; `None` means no upper bound).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyRange {
    start: Bytes,
    end: Option<Bytes>,
}

impl KeyRange {
    /// Every key.
    #[must_use]
    pub fn all() -> Self {
        Self { start: Bytes::new(), end: None }
    }

    /// Every key that begins with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = successor(&start);
        Self { start, end }
    }

    /// The one key.
    #[must_use]
    pub fn single(key: &Key) -> Self {
        let mut end = key.0.to_vec();
        end.push(0);
        Self { start: key.0.clone(), end: Some(end.into()) }
    }

    /// The keys from `start` (inclusive) to `end` (exclusive).
    #[must_use]
    pub fn between(start: impl Into<Bytes>, end: Option<Bytes>) -> Self {
        Self { start: start.into(), end }
    }

    /// The same range without what orders at or before `key`: where the page after `key` begins.
    #[must_use]
    pub fn after(&self, key: &Key) -> Self {
        let mut start = key.0.to_vec();
        start.push(0);
        Self { start: Bytes::from(start).max(self.start.clone()), end: self.end.clone() }
    }

    /// The inclusive lower bound.
    #[must_use]
    pub fn start(&self) -> &Bytes {
        &self.start
    }

    /// The exclusive upper bound.
    #[must_use]
    pub fn end(&self) -> Option<&Bytes> {
        self.end.as_ref()
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &Key) -> bool {
        key.0 >= self.start && self.end.as_ref().is_none_or(|end| key.0 < *end)
    }

    /// Whether no key can lie in the range.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end.as_ref().map(|end| String::from_utf8_lossy(end));
        write!(f, "[{:?}, {end:?})", String::from_utf8_lossy(&self.start))
    }
}

fn successor(prefix: &Bytes) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end.into())
}
