use std::cmp::Ordering;

/// The most bytes that the keys of a node share and that are not kept with each of them.
const PREFIX: usize = 46;

/// What tells the keys of a node apart, side by side: what all begin with, and of each the `HEAD` bytes behind that,
/// filled up with zeros. The keys themselves lie anywhere in memory, and are looked at only where that does not decide.
#[derive(Debug, Clone, Copy)]
pub(super) struct Index<const HEAD: usize, const MOST: usize> {
    prefix: [u8; PREFIX],
    shared: u8,
    len: u8,
    heads: [[u8; HEAD]; MOST],
}

impl<const HEAD: usize, const MOST: usize> Default for Index<HEAD, MOST> {
    fn default() -> Self {
        Self { prefix: [0; PREFIX], shared: 0, len: 0, heads: [[0; HEAD]; MOST] }
    }
}

impl<const HEAD: usize, const MOST: usize> Index<HEAD, MOST> {
    /// Of so many keys in order, which `key` tells by their places.
    pub(super) fn of<'a>(len: usize, key: impl Fn(usize) -> &'a [u8]) -> Self {
        let mut index = Self::default();
        let shared = common(len, &key);
        for (at, slot) in index.heads[..len].iter_mut().enumerate() {
            let (prefix, rest) = key(at).split_at(shared);
            index.prefix[..shared].copy_from_slice(prefix);
            *slot = head(rest);
        }
        (index.shared, index.len) = (shared as u8, len as u8);
        index
    }

    fn prefix(&self) -> &[u8] {
        &self.prefix[..self.shared.into()]
    }

    fn heads(&self) -> &[[u8; HEAD]] {
        &self.heads[..self.len.into()]
    }

    /// Where `wanted` is, or where it would be.
    pub(super) fn search<'a>(
        &self,
        wanted: &[u8],
        key: impl Fn(usize) -> &'a [u8],
    ) -> Result<usize, usize> {
        let (prefix, heads) = (self.prefix(), self.heads());
        let (start, rest) = wanted.split_at(prefix.len().min(wanted.len()));
        // One that is shorter comes before all that it begins.
        match start.cmp(prefix) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(heads.len()),
            Ordering::Equal => {}
        }
        let wanted = head(rest);
        let first = heads.partition_point(|head| *head < wanted);
        let alike = heads[first..].iter().take_while(|head| **head == wanted).count();
        let (mut low, mut high) = (first, first + alike);
        while low < high {
            let middle = (low + high) / 2;
            match key(middle)[prefix.len()..].cmp(rest) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// Takes in the key that now is at this place.
    pub(super) fn insert<'a>(&mut self, at: usize, key: impl Fn(usize) -> &'a [u8]) {
        let len = self.heads().len();
        match key(at).strip_prefix(self.prefix()) {
            Some(rest) if len > 0 => {
                self.heads.copy_within(at..len, at + 1);
                self.heads[at] = head(rest);
                self.len += 1;
            }
            _ => *self = Self::of(len + 1, key),
        }
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.heads.copy_within(at + 1..self.len.into(), at);
        self.len -= 1;
    }

    /// Keeps the keys before a place; returns what is of the others.
    pub(super) fn split_off(&mut self, at: usize) -> Self {
        let mut right = *self;
        right.heads.copy_within(at.., 0);
        right.len -= at as u8;
        self.len = at as u8;
        right
    }

    /// Made anew when its keys, of which some went, now share more.
    pub(super) fn tighten<'a>(&mut self, key: impl Fn(usize) -> &'a [u8]) {
        let len = self.heads().len();
        if common(len, &key) > self.prefix().len() {
            *self = Self::of(len, key);
        }
    }
}

/// How many bytes so many keys share at their begin, of those that are kept.
fn common<'a>(len: usize, key: &impl Fn(usize) -> &'a [u8]) -> usize {
    let Some(last) = len.checked_sub(1) else { return 0 };
    // They are in order: what the first and the last share, all do.
    let pairs = key(0).iter().zip(key(last)).take(PREFIX);
    pairs.take_while(|(one, other)| one == other).count()
}

fn head<const HEAD: usize>(rest: &[u8]) -> [u8; HEAD] {
    rest.first_chunk().copied().unwrap_or_else(|| {
        let mut head = [0; HEAD];
        head[..rest.len()].copy_from_slice(rest);
        head
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests {
    use super::Index;
    use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

    const MOST: usize = 8;

    /// Keys that are alike at their begin, also for longer than is kept, that end in zeros, and that begin each other.
    fn key(random: &mut StdRng) -> Vec<u8> {
        let alike = [0, 1, 7, 46, 48, 50][random.random_range(0..6)];
        let mut key = vec![b'p'; alike];
        key.extend((0..random.random_range(1..12)).map(|_| random.random_range(0..3_u8)));
        key
    }

    fn agree(index: &Index<4, MOST>, keys: &[Vec<u8>], random: &mut StdRng) {
        let of = |at: usize| keys[at].as_slice();
        for key in keys.iter().cloned().chain((0..20).map(|_| key(random))).chain([vec![]]) {
            let expected = keys.binary_search(&key);
            assert_eq!(index.search(&key, of), expected, "{key:?} in {keys:?}");
        }
    }

    #[test]
    fn it_finds_what_the_keys_themselves_do() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let (mut keys, mut index) = (Vec::new(), Index::<4, MOST>::default());
            for _ in 0..60 {
                let new = key(&mut random);
                match keys.binary_search(&new) {
                    Err(at) if keys.len() < MOST => {
                        keys.insert(at, new);
                        index.insert(at, |at| keys[at].as_slice());
                    }
                    Err(at) => {
                        let mut right = index.split_off(MOST / 2);
                        let others = keys.split_off(MOST / 2);
                        right.tighten(|at| others[at].as_slice());
                        agree(&right, &others, &mut random);
                        if at % 2 == 0 {
                            index.tighten(|at| keys[at].as_slice());
                        } else {
                            (keys, index) = (others, right);
                        }
                    }
                    Ok(at) => {
                        keys.remove(at);
                        index.remove(at);
                    }
                }
                agree(&index, &keys, &mut random);
            }
            let anew = Index::of(keys.len(), |at| keys[at].as_slice());
            agree(&anew, &keys, &mut random);
        }
    }
}
