//! When a runtime has nothing left to do but to wait.

use parking_lot::Mutex;
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

/// Told by a runtime of one thread each time it is about to wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Idle(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waits: u64,
    wakers: Vec<Waker>,
}

impl Idle {
    /// A runtime of one thread that tells.
    pub(super) fn runtime(&self) -> std::io::Result<tokio::runtime::Runtime> {
        let idle = self.clone();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || idle.waits())
            .build()
    }

    fn waits(&self) {
        let mut state = self.0.lock();
        state.waits += 1;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns when every other task of the runtime waits for something that is not there yet.
    pub(super) async fn wait(&self) {
        let before = self.0.lock().waits;
        poll_fn(|context| {
            let mut state = self.0.lock();
            if state.waits > before {
                return Poll::Ready(());
            }
            state.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
