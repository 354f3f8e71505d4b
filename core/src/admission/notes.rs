use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What the steps of one phase of one write leave behind: annotations for the audit log, and whether the
/// mutating steps are to run once more because a step changed what earlier ones had seen.
#[derive(Default)]
pub struct Notes(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    annotations: BTreeMap<String, String>,
    details: BTreeMap<String, String>,
    again_wanted: bool,
    again: bool,
    states: BTreeMap<&'static str, Box<dyn Any + Send>>,
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        f.debug_struct("Notes")
            .field("annotations", &inner.annotations)
            .field("again", &inner.again)
            .finish_non_exhaustive()
    }
}

impl Notes {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Annotates the write for the audit log; the first value of a key stays.
    pub fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        self.inner().annotations.entry(key.into()).or_insert_with(|| value.into());
    }

    /// All annotations.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.inner().annotations.clone()
    }

    /// Annotates the write for an audit log that is to have what was sent, too; the first value of a key stays.
    pub fn detail(&self, key: impl Into<String>, value: impl Into<String>) {
        self.inner().details.entry(key.into()).or_insert_with(|| value.into());
    }

    /// All annotations for such a log, beside those for any.
    #[must_use]
    pub fn details(&self) -> BTreeMap<String, String> {
        self.inner().details.clone()
    }

    /// Asks for a second run of the mutating steps. There is never a third.
    pub fn run_again(&self) {
        self.inner().again_wanted = true;
    }

    /// Whether this is the second run.
    #[must_use]
    pub fn is_again(&self) -> bool {
        self.inner().again
    }

    /// Begins the second run, if a step asked for it and it was not begun before. For the server.
    pub fn begin_again(&self) -> bool {
        let mut inner = self.inner();
        let begins = inner.again_wanted && !inner.again;
        inner.again |= begins;
        begins
    }

    /// Takes what a step put away in the first run.
    pub fn take<T: Any + Send>(&self, step: &'static str) -> Option<T> {
        let state = self.inner().states.remove(step)?;
        state.downcast().ok().map(|state| *state)
    }

    /// Puts something away for the step's second run.
    pub fn put<T: Any + Send>(&self, step: &'static str, state: T) {
        self.inner().states.insert(step, Box::new(state));
    }
}

#[cfg(test)]
mod tests {
    use super::Notes;

    #[test]
    fn there_is_one_second_run_for_those_who_ask() {
        let notes = Notes::default();
        assert!(!notes.begin_again());
        notes.run_again();
        notes.put("step", 7_u32);
        assert!(notes.begin_again() && notes.is_again());
        assert_eq!((notes.take::<u32>("step"), notes.take::<u32>("step")), (Some(7), None));
        notes.run_again();
        assert!(!notes.begin_again());
    }

    #[test]
    fn the_first_annotation_stays() {
        let notes = Notes::default();
        notes.annotate("a", "1");
        notes.annotate("a", "2");
        assert_eq!(notes.annotations()["a"], "1");
        assert!(notes.details().is_empty());
        notes.detail("b", "1");
        notes.detail("b", "2");
        assert_eq!((notes.annotations().len(), &*notes.details()["b"]), (1, "1"));
    }
}
