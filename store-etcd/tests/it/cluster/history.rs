//! Whether what clients were told fits into one history.
//!
//! etcd orders all writes by revision, so the order need not be searched for: it is checked that every answer fits
//! into it, and that it fits the clock: what ended before another began comes before it.

use super::workload::{Action, Answer, Operation};
use kubeplane_store_trait::{Event, Key, Revision};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// How many calls had which end.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) read: usize,
    pub(crate) written: usize,
    pub(crate) refused: usize,
    pub(crate) unavailable: usize,
    pub(crate) indeterminate: usize,
}

pub(crate) fn summary(operations: &[Operation]) -> Summary {
    let mut summary = Summary::default();
    for operation in operations {
        match operation.answer {
            Answer::Read(..) => summary.read += 1,
            Answer::Written(_) => summary.written += 1,
            Answer::Refused(_) => summary.refused += 1,
            Answer::Unavailable => summary.unavailable += 1,
            Answer::Indeterminate => summary.indeterminate += 1,
        }
    }
    summary
}

/// The keys at the end, and the revisions they have.
pub(crate) fn state(history: &[Event]) -> BTreeMap<Key, Revision> {
    let mut state = BTreeMap::new();
    for event in history {
        match event {
            Event::Put { entry, .. } => state.insert(entry.key.clone(), entry.revision),
            event => state.remove(event.key()),
        };
    }
    state
}

/// A key over time: what it was from each revision on.
type Versions = Vec<(Revision, Option<String>)>;

/// When each event was asked for.
type AskedFor = HashMap<(Key, Revision), Duration>;

struct History {
    keys: HashMap<Key, Versions>,
}

impl History {
    fn of(events: &[Event]) -> Self {
        let mut keys: HashMap<Key, Versions> = HashMap::new();
        for event in events {
            let value = match event {
                Event::Put { entry, .. } => {
                    Some(String::from_utf8_lossy(&entry.value).into_owned())
                }
                _ => None,
            };
            keys.entry(event.key().clone()).or_default().push((event.revision(), value));
        }
        Self { keys }
    }

    fn versions(&self, key: &Key) -> &[(Revision, Option<String>)] {
        self.keys.get(key).map_or(&[], Vec::as_slice)
    }

    /// What the key was at a revision: since when, and the value.
    fn at(&self, key: &Key, revision: Revision) -> Option<(Revision, String)> {
        let last = self.versions(key).iter().rev().find(|version| version.0 <= revision)?;
        last.1.clone().map(|value| (last.0, value))
    }

    /// Whether the key was this at some revision from `floor` on that `may_be`.
    fn was(
        &self,
        key: &Key,
        what: &Option<(Revision, String)>,
        floor: Revision,
        may_be: impl Fn(Revision) -> bool,
    ) -> bool {
        if self.at(key, floor) == *what {
            return true;
        }
        self.versions(key)
            .iter()
            .filter(|version| version.0 > floor && may_be(version.0))
            .any(|(since, value)| value.clone().map(|value| (*since, value)) == *what)
    }
}

/// Everything that does not fit; empty when all is well.
pub(crate) fn check(events: &[Event], operations: &[Operation]) -> Vec<String> {
    let history = History::of(events);
    let mut broken = Vec::new();
    check_order(events, &mut broken);
    check_answers(&history, operations, &mut broken);
    let asked_for = check_causes(&history, operations, &mut broken);
    check_time(&history, &asked_for, operations, &mut broken);
    broken
}

fn check_order(events: &[Event], broken: &mut Vec<String>) {
    for pair in events.windows(2) {
        if pair[0].revision() >= pair[1].revision() {
            broken.push(format!("out of order: {pair:?}"));
        }
    }
}

/// Every answer is true of the history.
fn check_answers(history: &History, operations: &[Operation], broken: &mut Vec<String>) {
    for operation in operations {
        let Operation { key, action, answer, .. } = operation;
        let before = |revision: Revision| history.at(key, Revision(revision.0 - 1));
        let holds = match (action, answer) {
            (_, Answer::Read(revision, found)) => history.at(key, *revision) == *found,
            (Action::Create(value), Answer::Written(revision)) => {
                before(*revision).is_none()
                    && history.at(key, *revision) == Some((*revision, value.clone()))
            }
            (Action::Update(value, expected), Answer::Written(revision)) => {
                before(*revision).is_some_and(|before| before.0 == *expected)
                    && history.at(key, *revision) == Some((*revision, value.clone()))
            }
            (Action::Delete(expected), Answer::Written(revision)) => {
                before(*revision).is_some_and(|before| before.0 == *expected)
                    && history.versions(key).contains(&(*revision, None))
            }
            (Action::Create(_), Answer::Refused(found)) => found.is_some(),
            (Action::Update(_, expected) | Action::Delete(expected), Answer::Refused(found)) => {
                found.as_ref().is_none_or(|found| found.0 != *expected)
            }
            _ => true,
        };
        if !holds {
            broken.push(format!("not what happened: {operation:?}"));
        }
    }
}

/// Every event was asked for, by a call that was not told that it surely failed: when, for each.
fn check_causes(history: &History, operations: &[Operation], broken: &mut Vec<String>) -> AskedFor {
    let mut asked_for = AskedFor::new();
    let may_have = |answer: &Answer| matches!(answer, Answer::Written(_) | Answer::Indeterminate);
    // What each may have replaced, and since when: nothing happens before it is asked for.
    let mut values: HashMap<_, (Option<Revision>, Duration)> = HashMap::new();
    let mut deletes: HashMap<_, Duration> = HashMap::new();
    for operation in operations.iter().filter(|operation| may_have(&operation.answer)) {
        let (key, start) = (&operation.key, operation.start);
        match &operation.action {
            Action::Create(value) => {
                values.insert((key, value.as_str()), (None, start));
            }
            Action::Update(value, expected) => {
                values.insert((key, value.as_str()), (Some(*expected), start));
            }
            Action::Delete(expected) => {
                let first = deletes.entry((key, *expected)).or_insert(start);
                *first = start.min(*first);
            }
            Action::Read => {}
        }
    }
    let known = known_by(operations);
    for (key, versions) in &history.keys {
        if key.as_ref() == super::END.as_bytes() {
            continue;
        }
        let mut previous = None;
        for (revision, value) in versions {
            let asked = match value {
                // Values are unique, so one that is written twice is found here too.
                Some(value) => values
                    .remove(&(key, value.as_str()))
                    .filter(|(replaced, _)| *replaced == previous)
                    .map(|(_, start)| start),
                None => previous.and_then(|previous| deletes.get(&(key, previous)).copied()),
            };
            // Whoever had seen this revision, or a later one, before the write was asked for saw the future.
            let seen = known.range(*revision..).next().map(|(_, end)| *end);
            match asked {
                Some(start) if seen.is_none_or(|seen| seen >= start) => {
                    asked_for.insert((key.clone(), *revision), start);
                }
                _ => broken.push(format!("nobody wrote {key} = {value:?} at {revision} in time")),
            }
            previous = value.as_ref().map(|_| *revision);
        }
    }
    asked_for
}

/// The revisions that calls were told, and when each, or a later one, was first known.
fn known_by(operations: &[Operation]) -> BTreeMap<Revision, Duration> {
    let mut known = BTreeMap::new();
    for operation in operations {
        if let Some(revision) = operation.answer.revision() {
            let first = known.entry(revision).or_insert(operation.end);
            *first = operation.end.min(*first);
        }
    }
    let mut first = Duration::MAX;
    for end in known.values_mut().rev() {
        first = first.min(*end);
        *end = first;
    }
    known
}

/// What ended before a call began is seen by it, and what was asked for after it ended is not.
fn check_time(
    history: &History,
    asked_for: &AskedFor,
    operations: &[Operation],
    broken: &mut Vec<String>,
) {
    let mut ends: Vec<(Duration, Revision)> = Vec::new();
    for operation in operations {
        ends.extend(operation.answer.revision().map(|revision| (operation.end, revision)));
    }
    ends.sort_unstable();
    let mut starts: Vec<_> = operations.iter().collect();
    starts.sort_by_key(|operation| operation.start);
    let (mut ended, mut floor) = (ends.into_iter().peekable(), Revision(0));
    for operation in starts {
        while let Some((_, revision)) = ended.next_if(|(end, _)| *end < operation.start) {
            floor = floor.max(revision);
        }
        let holds = match &operation.answer {
            Answer::Read(revision, _) => *revision >= floor,
            Answer::Written(revision) => *revision > floor,
            Answer::Refused(found) => history.was(&operation.key, found, floor, |revision| {
                let begun = asked_for.get(&(operation.key.clone(), revision));
                begun.is_none_or(|begun| *begun <= operation.end)
            }),
            Answer::Unavailable | Answer::Indeterminate => true,
        };
        if !holds {
            broken.push(format!("older than {floor}, which was known before: {operation:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_store_trait::Entry;

    fn key() -> Key {
        Key::new("a").unwrap()
    }

    fn put(revision: u64, value: &'static str) -> Event {
        let revision = Revision(revision);
        let entry = Entry { key: key(), value: value.into(), revision, created: revision };
        Event::Put { entry, previous: None }
    }

    fn delete(revision: u64) -> Event {
        Event::Delete { key: key(), previous: None, revision: Revision(revision) }
    }

    fn call(start: u64, end: u64, action: Action, answer: Answer) -> Operation {
        let (start, end) = (Duration::from_secs(start), Duration::from_secs(end));
        Operation { key: key(), action, answer, start, end }
    }

    fn create(start: u64, value: &str, answer: Answer) -> Operation {
        call(start, start + 2, Action::Create(value.into()), answer)
    }

    fn update(start: u64, value: &str, at: u64, answer: Answer) -> Operation {
        call(start, start + 2, Action::Update(value.into(), Revision(at)), answer)
    }

    fn read(start: u64, revision: u64, found: Option<(u64, &str)>) -> Operation {
        let found = found.map(|(since, value)| (Revision(since), value.to_owned()));
        call(start, start + 2, Action::Read, Answer::Read(Revision(revision), found))
    }

    fn written(revision: u64) -> Answer {
        Answer::Written(Revision(revision))
    }

    #[test]
    fn a_good_history_passes() {
        let events = [put(2, "x"), put(3, "y"), delete(4), put(6, "w")];
        let operations = [
            create(0, "x", written(2)),
            update(3, "y", 2, Answer::Indeterminate),
            read(6, 3, Some((3, "y"))),
            update(7, "z", 2, Answer::Refused(Some((Revision(3), "y".into())))),
            call(8, 9, Action::Delete(Revision(3)), written(4)),
            update(10, "never", 4, Answer::Refused(None)),
            update(10, "lost", 3, Answer::Indeterminate),
            create(12, "w", written(6)),
            create(20, "no", Answer::Unavailable),
        ];
        assert_eq!(check(&events, &operations), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_is_found() {
        let both = [put(2, "x"), put(3, "y")];
        let first = || create(0, "x", written(2));
        let second = || update(3, "y", 2, written(3));
        let cases: [(&str, &[Event], Vec<Operation>); 12] = [
            ("a lost write", &both[..1], vec![first(), second()]),
            ("an invented write", &both, vec![first()]),
            (
                "a refused write that happened",
                &both,
                vec![first(), update(3, "y", 2, Answer::Unavailable)],
            ),
            ("a stale read", &both, vec![first(), second(), read(6, 2, Some((2, "x")))]),
            ("a dirty read", &both[..1], vec![first(), read(3, 3, Some((3, "y")))]),
            (
                "a stale conflict",
                &both,
                vec![
                    first(),
                    second(),
                    update(6, "z", 9, Answer::Refused(Some((Revision(2), "x".into())))),
                ],
            ),
            ("an ignored compare", &both, vec![first(), update(3, "y", 1, written(3))]),
            (
                "revisions against the clock",
                &both,
                vec![create(3, "x", written(2)), update(0, "y", 2, written(3))],
            ),
            (
                "an ignored compare of a write that was not answered",
                &[put(2, "x"), put(3, "y"), put(4, "z")],
                vec![first(), second(), update(6, "z", 2, Answer::Indeterminate)],
            ),
            (
                "a write that was not answered, before it was asked for",
                &both,
                vec![first(), read(3, 3, Some((3, "y"))), update(9, "y", 2, Answer::Indeterminate)],
            ),
            (
                "a refusal by what was gone only later",
                &[put(2, "x"), delete(3)],
                vec![
                    first(),
                    update(3, "y", 9, Answer::Refused(None)),
                    call(7, 8, Action::Delete(Revision(2)), written(3)),
                ],
            ),
            (
                "a write applied twice",
                &[put(2, "x"), delete(3), put(4, "x")],
                vec![first(), call(3, 4, Action::Delete(Revision(2)), written(3))],
            ),
        ];
        for (name, events, operations) in cases {
            assert!(!check(events, &operations).is_empty(), "{name} is not found");
        }
    }
}
