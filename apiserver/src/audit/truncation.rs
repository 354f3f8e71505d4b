//! Events that are too large for where they go.

use super::Event;
use std::{borrow::Cow, io};

const NOTE: &str = "audit.k8s.io/truncated";

/// How large events may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// The largest event, in bytes of JSON; a larger one loses what was sent and answered, and says so in the annotation
    /// `audit.k8s.io/truncated`; if that does not help it is lost.
    pub max_event_size: usize,
    /// The most bytes sent at once, where several are.
    pub max_batch_size: usize,
}

impl Default for Truncation {
    /// The original's: 100 KiB and 10 MiB.
    fn default() -> Self {
        Self { max_event_size: 100 * 1024, max_batch_size: 10 * 1024 * 1024 }
    }
}

impl Truncation {
    /// The event, small enough; `None` when it cannot be made so.
    pub(super) fn fit<'e>(&self, event: &'e Event) -> Option<Cow<'e, Event>> {
        if size(event) <= self.max_event_size {
            return Some(Cow::Borrowed(event));
        }
        let mut small = event.clone();
        (small.request_object, small.response_object) = (None, None);
        small.annotations.insert(NOTE.to_owned(), "true".to_owned());
        (size(&small) <= self.max_event_size).then_some(Cow::Owned(small))
    }
}

/// Bytes of its JSON.
fn size(event: &Event) -> usize {
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, event) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Level;
    use serde_json::json;

    #[test]
    fn large_events_lose_their_objects() {
        let mut event = Event::new(Level::Request, "7".to_owned(), jiff::Timestamp::UNIX_EPOCH);
        event.request_object = Some(json!({"data": "x".repeat(2000)}));
        let truncation = Truncation { max_event_size: 1000, ..Truncation::default() };
        let small = truncation.fit(&event).unwrap();
        assert_eq!((small.request_object.is_none(), &*small.annotations[NOTE]), (true, "true"));
        event.request_object = None;
        assert!(matches!(truncation.fit(&event), Some(Cow::Borrowed(_))));
        event.user_agent = "x".repeat(2000);
        assert!(truncation.fit(&event).is_none());
    }
}
