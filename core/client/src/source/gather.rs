use super::SourceEvents;
use futures::{FutureExt, StreamExt, stream};
use kubeplane_clock::SharedClock;
use std::time::Duration;

/// What comes closer together than this is read at once.
const LULL: Duration = Duration::from_millis(1);

/// The same events in the same order, of which none waits for longer than about `pause`: whoever has read all there is
/// rests for so long before it looks again, and what comes in the meantime stays in the connection.
pub(super) fn gather(events: SourceEvents, pause: Duration, clock: SharedClock) -> SourceEvents {
    stream::unfold((events, clock), move |(mut events, clock)| async move {
        let next = match events.next().now_or_never() {
            Some(next) => next,
            None => tokio::select! {
                biased;
                next = events.next() => next,
                () = clock.sleep(LULL) => {
                    clock.sleep(pause).await;
                    events.next().await
                }
            },
        };
        next.map(|event| (event, (events, clock)))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SourceEvent;
    use futures::channel::mpsc;
    use kubeplane_clock::PausedClock;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_comes_during_a_pause_is_told_behind_it_and_in_order() {
        let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let (told, events) = mpsc::unbounded();
        let mut read = gather(events.boxed(), Duration::from_secs(1), Arc::new(clock.clone()));
        let tell = |at: &str| told.unbounded_send(Ok(SourceEvent::Bookmark(at.to_owned()))).is_ok();
        assert!(tell("1") && tell("2"));
        for expected in ["1", "2"] {
            assert!(
                matches!(read.next().await, Some(Ok(SourceEvent::Bookmark(at))) if at == expected)
            );
        }
        let mut next = read.next();
        assert!((&mut next).now_or_never().is_none());
        clock.advance(LULL);
        assert!((&mut next).now_or_never().is_none());
        assert!(tell("3"));
        assert!((&mut next).now_or_never().is_none(), "it rests");
        clock.advance(Duration::from_secs(1));
        assert!(matches!(next.await, Some(Ok(SourceEvent::Bookmark(at))) if at == "3"));
    }
}
