use crate::{state::State, watch::Watchers};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::{sync::Arc, task::Waker, time::Duration};
use tokio::sync::Notify;

/// What readers and watchers see: the latest durable state. Reading it never blocks.
#[derive(Debug)]
pub(crate) struct Published {
    state: ArcSwap<State>,
    watchers: Mutex<Watchers>,
    deadline_changed: Notify,
}

impl Published {
    pub(crate) fn new(state: State) -> Self {
        Self {
            watchers: Mutex::new(Watchers::starting_at(state.revision)),
            state: ArcSwap::from_pointee(state),
            deadline_changed: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// When the next entry expires, in the clock's elapsed time. Asked with every write: the state is looked at, not shared.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.state.load().next_deadline
    }

    pub(crate) fn watchers(&self) -> &Mutex<Watchers> {
        &self.watchers
    }

    pub(crate) fn deadline_changed(&self) -> &Notify {
        &self.deadline_changed
    }

    /// Makes `state` the one that is read, and notes it for the watchers. Only the one writer calls it; what is
    /// left to do can be done once others may write again.
    pub(crate) fn publish(&self, state: State) -> Told<'_> {
        let state = Arc::new(state);
        let old = self.show(state.clone());
        self.tell(&state, old)
    }

    /// Lets `state` be read; returns the one before. No watcher knows of it until it is told.
    pub(crate) fn show(&self, state: Arc<State>) -> Arc<State> {
        self.state.swap(state)
    }

    /// Notes for the watchers that `state` came after `old`.
    pub(crate) fn tell(&self, state: &State, old: Arc<State>) -> Told<'_> {
        let wakers = self.watchers.lock().advance(state, old.revision);
        let deadline = (old.next_deadline != state.next_deadline).then_some(&self.deadline_changed);
        Told { wakers, deadline, _old: old }
    }

    /// Ends every watcher, now and later.
    pub(crate) fn close(&self) {
        let wakers = self.watchers.lock().close();
        for waker in wakers {
            waker.wake();
        }
    }
}

/// Who is to be woken after a publication, and the state before it, which takes time to free.
#[must_use]
pub(crate) struct Told<'a> {
    wakers: Vec<Waker>,
    deadline: Option<&'a Notify>,
    _old: Arc<State>,
}

impl Told<'_> {
    pub(crate) fn wake(self) {
        for waker in self.wakers {
            waker.wake();
        }
        if let Some(deadline) = self.deadline {
            deadline.notify_one();
        }
    }
}
