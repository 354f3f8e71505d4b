use super::{EventType, Occurrence, memory::Memory};
use kubeplane_clock::SharedClock;
use std::{collections::HashSet, time::Duration};

/// How many keys each memory keeps, as in the original.
const REMEMBERED: usize = 4096;
/// More different messages than this within [`SIMILAR_WITHIN`] become one combined event.
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
/// Events of one type per object that may come at once, and how long it takes until one more may.
const BURST: f64 = 25.0;
const REFILL: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ObjectId(Vec<String>);

pub(super) type Group = (ObjectId, EventType, String);

/// Under which name equal events are counted together.
pub(super) type Identity = (Group, Option<String>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    at: Duration,
}

/// What is already written of an event.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) count: i32,
}

/// What to do with an occurrence.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) identity: Identity,
    pub(super) message: String,
    pub(super) written: Option<Written>,
}

/// Decides which occurrences are written, combined or counted.
#[derive(Debug)]
pub(super) struct Correlator {
    clock: SharedClock,
    buckets: Memory<(ObjectId, EventType), Bucket>,
    similar: Memory<Group, Similar>,
    written: Memory<Identity, Written>,
}

impl Correlator {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            buckets: Memory::new(REMEMBERED),
            similar: Memory::new(REMEMBERED),
            written: Memory::new(REMEMBERED),
        }
    }

    /// `None` when the object has had too many events of this type.
    pub(super) fn plan(&mut self, occurrence: &Occurrence) -> Option<Plan> {
        let now = self.clock.elapsed();
        let object = object_id(occurrence);
        let group = (object.clone(), occurrence.kind, occurrence.reason.clone());
        let combined = self.is_combined(&group, &occurrence.message, now);
        if !self.take_token((object, occurrence.kind), now) {
            return None;
        }
        let message = if combined {
            format!("(combined from similar events): {}", occurrence.message)
        } else {
            occurrence.message.clone()
        };
        let identity = (group, (!combined).then(|| occurrence.message.clone()));
        let written = self.written.touch(&identity).cloned();
        Some(Plan { identity, message, written })
    }

    pub(super) fn wrote(&mut self, identity: Identity, written: Written) {
        self.written.insert(identity, written);
    }

    pub(super) fn forget(&mut self, identity: &Identity) {
        self.written.remove(identity);
    }

    fn is_combined(&mut self, group: &Group, message: &str, now: Duration) -> bool {
        let recent =
            self.similar.touch(group).filter(|seen| now.saturating_sub(seen.at) <= SIMILAR_WITHIN);
        let Some(seen) = recent else {
            let messages = HashSet::from([message.to_owned()]);
            self.similar.insert(group.clone(), Similar { messages, at: now });
            return false;
        };
        seen.at = now;
        if seen.messages.len() < SIMILAR || seen.messages.contains(message) {
            seen.messages.insert(message.to_owned());
            return seen.messages.len() >= SIMILAR;
        }
        true
    }

    fn take_token(&mut self, of: (ObjectId, EventType), now: Duration) -> bool {
        let Some(bucket) = self.buckets.touch(&of) else {
            self.buckets.insert(of, Bucket { tokens: BURST - 1.0, at: now });
            return true;
        };
        let refilled = now.saturating_sub(bucket.at).as_secs_f64() / REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + refilled).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

fn object_id(occurrence: &Occurrence) -> ObjectId {
    let object = &occurrence.object;
    let parts = [
        &object.kind,
        &object.namespace,
        &object.name,
        &object.uid,
        &object.api_version,
        &object.field_path,
    ];
    let component = occurrence.component.as_deref().unwrap_or_default().to_owned();
    let parts = parts.into_iter().map(|part| part.clone().unwrap_or_default());
    ObjectId(parts.chain([component]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ObjectReference;
    use kubeplane_clock::PausedClock;
    use std::sync::Arc;

    fn occurrence(object: &str, message: String) -> Occurrence {
        let object = ObjectReference { name: Some(object.into()), ..ObjectReference::default() };
        let (kind, reason) = (EventType::Normal, "Reason".into());
        Occurrence { object, component: None, kind, reason, message }
    }

    #[test]
    fn equal_events_are_counted_and_many_similar_ones_combined() {
        let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let mut correlator = Correlator::new(Arc::new(clock));
        let first = correlator.plan(&occurrence("a", "same".into())).unwrap();
        assert!(first.written.is_none());
        correlator
            .wrote(first.identity, Written { namespace: "n".into(), name: "e".into(), count: 1 });
        let second = correlator.plan(&occurrence("a", "same".into())).unwrap();
        assert_eq!(second.written.map(|written| written.count), Some(1));

        let messages: Vec<_> = (0..12)
            .filter_map(|n| correlator.plan(&occurrence("b", format!("m{n}"))))
            .map(|plan| plan.message)
            .collect();
        assert_eq!(messages[0], "m0");
        assert_eq!(messages[8], "m8");
        assert_eq!(messages[11], "(combined from similar events): m11");
    }

    #[test]
    fn an_object_cannot_flood() {
        let clock = PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH);
        let mut correlator = Correlator::new(Arc::new(clock.clone()));
        let passed =
            (0..100).filter(|_| correlator.plan(&occurrence("a", "same".into())).is_some()).count();
        assert_eq!(passed, 25);
        assert!(correlator.plan(&occurrence("other", "same".into())).is_some());
        let warning = Occurrence { kind: EventType::Warning, ..occurrence("a", "same".into()) };
        assert!(correlator.plan(&warning).is_some(), "types are counted by themselves");
        clock.advance(Duration::from_secs(301));
        assert!(correlator.plan(&occurrence("a", "same".into())).is_some());
        assert!(correlator.plan(&occurrence("a", "same".into())).is_none());
    }
}
