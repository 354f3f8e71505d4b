use kubeplane_clock::{Seed, SharedClock};
use std::time::Duration;

/// Growing pauses between attempts: doubled each time, with jitter, forgotten after a quiet while.
#[derive(Debug, Clone)]
pub struct Backoff {
    clock: SharedClock,
    seed: Seed,
    initial: Duration,
    max: Duration,
    jitter: f64,
    reset_after: Duration,
    next: Duration,
    last: Option<Duration>,
}

impl Backoff {
    /// Pauses from `initial` to `max`; each is lengthened by up to its own length.
    #[must_use]
    pub fn new(clock: SharedClock, seed: Seed, initial: Duration, max: Duration) -> Self {
        Self {
            clock,
            seed,
            initial,
            max,
            jitter: 1.0,
            reset_after: max * 4,
            next: initial,
            last: None,
        }
    }

    /// The length of the next pause.
    pub fn advance(&mut self) -> Duration {
        let now = self.clock.elapsed();
        if self.last.is_some_and(|last| now.saturating_sub(last) > self.reset_after) {
            self.next = self.initial;
        }
        self.last = Some(now);
        let base = self.next;
        self.next = (base * 2).min(self.max);
        base + base.mul_f64(self.seed.fraction() * self.jitter)
    }

    /// Waits for the next pause to end.
    pub async fn wait(&mut self) {
        let pause = self.advance();
        self.clock.sleep(pause).await;
    }

    /// Starts again with the shortest pause.
    pub fn reset(&mut self) {
        self.next = self.initial;
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_clock::PausedClock;
    use std::sync::Arc;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_quiet_time() {
        let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(4));
        let mut backoff = Backoff::new(Arc::new(clock.clone()), Seed::new(1), first, max);
        for expected in [1, 2, 4, 4] {
            let pause = backoff.advance();
            assert!(
                pause >= Duration::from_secs(expected)
                    && pause <= Duration::from_secs(2 * expected),
                "{pause:?}"
            );
        }
        clock.advance(Duration::from_secs(60));
        assert!(backoff.advance() <= Duration::from_secs(2));
    }
}
