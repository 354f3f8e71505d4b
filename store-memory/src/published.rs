use crate::{state::State, watch::Watchers};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;
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

    pub(crate) fn watchers(&self) -> &Mutex<Watchers> {
        &self.watchers
    }

    pub(crate) fn deadline_changed(&self) -> &Notify {
        &self.deadline_changed
    }

    /// Makes `state` the one that is read, then tells the watchers. Only the one writer calls it.
    pub(crate) fn publish(&self, state: State) {
        let state = Arc::new(state);
        let old = self.state.swap(state.clone());
        let wakers = self.watchers.lock().advance(&state, old.revision);
        for waker in wakers {
            waker.wake();
        }
        if old.next_deadline != state.next_deadline {
            self.deadline_changed.notify_one();
        }
    }

    /// Ends every watcher, now and later.
    pub(crate) fn close(&self) {
        let wakers = self.watchers.lock().close();
        for waker in wakers {
            waker.wake();
        }
    }
}
