use super::QueueOptions;
use std::time::Duration;

/// The longer of a pause that grows with an item's failures and the wait for a token of a shared bucket.
#[derive(Debug)]
pub(super) struct Limiter {
    first: Duration,
    longest: Duration,
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Duration,
}

impl Limiter {
    pub(super) fn new(options: &QueueOptions) -> Self {
        let burst = f64::from(options.burst);
        Self {
            first: options.first_pause,
            longest: options.longest_pause,
            rate: options.rate,
            burst,
            tokens: burst,
            at: Duration::ZERO,
        }
    }

    pub(super) fn pause(&mut self, failures: u32, now: Duration) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let own = self.first.saturating_mul(1 << doublings).min(self.longest);
        own.max(self.reserve(now))
    }

    /// Takes a token, if need be one that will only be there after the returned time.
    fn reserve(&mut self, now: Duration) -> Duration {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = passed.mul_add(self.rate, self.tokens).min(self.burst) - 1.0;
        if self.tokens >= 0.0 {
            Duration::ZERO
        } else {
            Duration::from_secs_f64(-self.tokens / self.rate)
        }
    }
}
