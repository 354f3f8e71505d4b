//! Inputs by chance, the same from the same seed.

use kubeplane_clock::Seed;
use serde_json::{Value, json};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// How long one input may take on a machine that does much else.
const LONG: Duration = Duration::from_secs(30);

/// Choices, the same from the same seed.
pub(super) struct Chance(Seed);

impl Chance {
    fn next(&mut self) -> u64 {
        u64::from_le_bytes(self.0.bytes())
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.0.below(limit as u64)).unwrap()
    }

    pub(super) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(super) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// A text of these pieces, with noise now and then.
    pub(super) fn text(&mut self, pieces: &[&str], most: usize) -> String {
        let mut out = String::new();
        for _ in 0..=self.below(most) {
            match self.below(12) {
                0 => out.push(char::from_u32(self.below(0x3000) as u32).unwrap_or('x')),
                1 => out.push_str(&"([{"[self.below(3)..][..1].repeat(self.below(300))),
                2 => out.push_str(&self.next().to_string()),
                _ => out.push_str(self.pick(pieces)),
            }
        }
        out
    }

    /// Bytes like these, damaged.
    pub(super) fn damaged(&mut self, of: &[u8]) -> Vec<u8> {
        let mut bytes = of.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 => {
                    let part = bytes[at..bytes.len().min(at + self.below(40))].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                3 => drop(bytes.drain(at..bytes.len().min(at + self.below(20)))),
                _ if !bytes.is_empty() => bytes[at] = self.next() as u8,
                _ => {}
            }
        }
        bytes
    }

    pub(super) fn json(&mut self, keys: &[&str], depth: usize) -> Value {
        let below = depth.saturating_sub(1);
        match self.below(if depth == 0 { 6 } else { 10 }) {
            0 => Value::Null,
            1 => self.one_in(2).into(),
            2 => (self.next() as i64 >> self.below(60)).into(),
            3 => json!(f64::from_bits(self.next())),
            4 | 5 => self.pick(keys).into(),
            6 | 7 => (0..self.below(4)).map(|_| self.json(keys, below)).collect(),
            _ => {
                let members = (0..self.below(5))
                    .map(|_| (self.pick(keys).to_owned(), self.json(keys, below)));
                Value::Object(members.collect())
            }
        }
    }
}

/// What this thread has computed so far. On a busy machine an input may wait long for its turn.
fn computed() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split_whitespace().next().unwrap().parse().unwrap())
}

/// Makes inputs until the time is over.
pub(super) fn fuzz(mut one: impl FnMut(&mut Chance)) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let until =
        Instant::now() + Duration::from_secs(number("KUBEPLANE_FUZZ_SECONDS").unwrap_or(12));
    let mut seed = number("KUBEPLANE_FUZZ_SEED").unwrap_or(1);
    while Instant::now() < until {
        let began = computed();
        let outcome = catch_unwind(AssertUnwindSafe(|| one(&mut Chance(Seed::new(seed)))));
        assert!(outcome.is_ok(), "an input panics: KUBEPLANE_FUZZ_SEED={seed}");
        let took = computed().saturating_sub(began);
        assert!(took < LONG, "an input takes {took:?}: KUBEPLANE_FUZZ_SEED={seed}");
        seed += 1;
    }
}
