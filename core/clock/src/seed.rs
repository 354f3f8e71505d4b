use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::sync::Arc;

/// The one source of chance of a cluster; clones draw from the same stream.
#[derive(Debug, Clone)]
pub struct Seed {
    value: u64,
    stream: Arc<Mutex<StdRng>>,
}

const SUFFIX_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

impl Seed {
    /// A stream that is the same for the same `value`.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self { value, stream: Arc::new(Mutex::new(StdRng::seed_from_u64(value))) }
    }

    /// A stream no one can predict.
    #[must_use]
    pub fn random() -> Self {
        Self::new(rand::random())
    }

    /// What the stream was made from.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }

    /// A number below `bound`; zero when `bound` is zero.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.stream.lock().random_range(0..bound) }
    }

    /// A number in `[0, 1)`.
    #[must_use]
    pub fn fraction(&self) -> f64 {
        self.stream.lock().random()
    }

    /// `length` characters for a generated name, from the alphabet Kubernetes uses (no vowels, no
    /// digits that look like letters).
    #[must_use]
    pub fn suffix(&self, length: usize) -> String {
        let mut stream = self.stream.lock();
        (0..length)
            .map(|_| char::from(SUFFIX_ALPHABET[stream.random_range(0..SUFFIX_ALPHABET.len())]))
            .collect()
    }

    /// `N` bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.stream.lock().fill(&mut bytes);
        bytes
    }
}
