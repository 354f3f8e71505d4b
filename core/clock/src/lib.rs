//! The clock and the seeded generator every component takes its time and chance from.
//!
//! ```text
//!   RealClock ──┐
//!   PausedClock ┼──> SharedClock ──> every component that waits, stamps or expires
//!   OffsetClock ┘
//! ```
//!
//! Nothing above this crate reads the system clock or sleeps by itself, so a test can stop time,
//! move it, and replay a run from its seed. [`watch`] is for values that several tasks wait on: it wakes them in
//! an order that is no chance either.
//!
//! # Contract
//! A [`Clock`] tells two times: `now`, the wall time, which may be off and go back, and `elapsed`, which never does. A
//! `sleep` ends when `elapsed` has grown by as much, however the wall time moves meanwhile; dropping it forgets it.
//!
//! # Example
//! ```
//! use kubeplane_clock::{Clock, PausedClock};
//! use std::time::Duration;
//! let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
//! clock.advance(Duration::from_secs(60));
//! assert_eq!(clock.now().to_string(), "2026-01-01T00:01:00Z");
//! ```

mod offset;
mod paused;
mod real;
mod seed;
pub mod watch;

pub use offset::OffsetClock;
pub use paused::PausedClock;
pub use real::RealClock;
pub use seed::Seed;

use jiff::Timestamp;
use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc, time::Duration};

/// A future that ends when a clock has passed a point.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// A clock shared by all parts of one cluster.
pub type SharedClock = Arc<dyn Clock>;

/// Where time comes from.
///
/// # Contract
/// `elapsed` never goes back; `now` may be set by an operator and can jump. Deadlines and back-off are
/// measured with `elapsed` and `sleep`; only what is written into objects uses `now`.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall time, as written into objects.
    fn now(&self) -> Timestamp;

    /// Monotonic time since this clock was made.
    fn elapsed(&self) -> Duration;

    /// Waits until `duration` has passed on this clock; dropping the future forgets the wait.
    fn sleep(&self, duration: Duration) -> Sleep;

    /// Whether time passes only when somebody moves it on, however much is done meanwhile.
    fn is_paused(&self) -> bool {
        false
    }
}

/// Runs `future` for at most `duration` of `clock`'s time; `None` when the time ran out first.
pub async fn timeout<F: Future>(
    clock: &dyn Clock,
    duration: Duration,
    future: F,
) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep(duration) => None,
    }
}

/// The machine's clock, shared.
#[must_use]
pub fn real() -> SharedClock {
    Arc::new(RealClock::default())
}
