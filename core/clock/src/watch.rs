//! A value that many wait on, who are woken in the same order whenever the same was done before.
//!
//! As `tokio::sync::watch`, which wakes in an order by chance, so that what follows is another at each run.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use kubeplane_clock::watch;
//! let phase = watch::Sender::new("filling");
//! let mut seen = phase.subscribe();
//! phase.send_replace("synced");
//! assert_eq!(seen.wait_for(|phase| *phase == "synced").await, Ok(()));
//! # }
//! ```

use parking_lot::{RwLock, RwLockReadGuard};
use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// How many queues those who wait are spread over, so that they do not all wait for one lock.
const LANES: usize = 8;

/// All senders are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody changes the value any more")]
pub struct Closed;

struct Shared<T> {
    value: RwLock<T>,
    /// Grows with each change, while the value is locked for writing.
    version: AtomicU64,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    /// How many receivers there ever were.
    lanes_given: AtomicUsize,
    lanes: [Notify; LANES],
}

impl<T> Shared<T> {
    fn tell(&self) {
        self.lanes.iter().for_each(Notify::notify_waiters);
    }
}

/// The side that changes the value. The last one that is dropped ends the waiting.
pub struct Sender<T>(Arc<Shared<T>>);

/// The side that waits; it has seen the value there was when it was made.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
    lane: usize,
}

/// The value, locked for reading: not to be kept.
pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        T::fmt(self, f)
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sender").field(&*self.borrow()).finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&*self.borrow()).finish()
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.tell();
        }
    }
}

impl<T> Sender<T> {
    /// Begins with this value.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(Shared {
            value: RwLock::new(value),
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
            lanes_given: AtomicUsize::new(0),
            lanes: std::array::from_fn(|_| Notify::new()),
        }))
    }

    /// Another who waits, from the value there is now on.
    #[must_use]
    pub fn subscribe(&self) -> Receiver<T> {
        let value = self.0.value.read();
        let seen = self.0.version.load(Ordering::Acquire);
        drop(value);
        Receiver::new(self.0.clone(), seen)
    }

    /// The value.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.value.read())
    }

    /// Changes the value and wakes all who wait, if the change says that it is one.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.0.value.write();
        let changed = change(&mut value);
        if changed {
            self.0.version.fetch_add(1, Ordering::Release);
        }
        drop(value);
        if changed {
            self.0.tell();
        }
        changed
    }

    /// Changes the value and wakes all who wait.
    pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
        self.send_if_modified(|value| {
            change(value);
            true
        });
    }

    /// Puts in another value, wakes all who wait, and gives the value before.
    pub fn send_replace(&self, mut value: T) -> T {
        self.send_modify(|old| std::mem::swap(old, &mut value));
        value
    }

    /// How many receivers there are.
    #[must_use]
    pub fn receiver_count(&self) -> usize {
        self.0.receivers.load(Ordering::Relaxed)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone(), self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Receiver<T> {
    fn new(shared: Arc<Shared<T>>, seen: u64) -> Self {
        shared.receivers.fetch_add(1, Ordering::Relaxed);
        let lane = shared.lanes_given.fetch_add(1, Ordering::Relaxed) % LANES;
        Self { shared, seen, lane }
    }

    /// The value, whether it was seen or not.
    #[must_use]
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.value.read())
    }

    /// The value, which counts as seen.
    pub fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.value.read();
        self.seen = self.shared.version.load(Ordering::Acquire);
        Ref(value)
    }

    /// Waits for a change that was not seen yet; it counts as seen then.
    ///
    /// # Errors
    /// When all senders are gone.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            // Hears of everything from here on, also before it is polled.
            let told = self.shared.lanes[self.lane].notified();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(Closed);
            }
            told.await;
        }
    }

    /// Waits until the value is as wanted, which it may be already; it counts as seen then.
    ///
    /// # Errors
    /// When all senders are gone and it is not.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn wait_for(&mut self, mut wanted: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        loop {
            if wanted(&self.borrow_and_update()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[tokio::test]
    async fn a_value_is_waited_for_and_its_end_is_told() {
        let sender = Sender::new(1);
        let mut receiver = sender.subscribe();
        assert!(!sender.send_if_modified(|_| false));
        assert_eq!(sender.send_replace(2), 1);
        assert_eq!((receiver.changed().await, *receiver.borrow()), (Ok(()), 2));
        let waiting = tokio::spawn(async move {
            (receiver.wait_for(|value| *value == 4).await, receiver.changed().await)
        });
        for value in 3..5 {
            tokio::task::yield_now().await;
            sender.clone().send_replace(value);
        }
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(waiting.await.unwrap(), (Ok(()), Err(Closed)));
    }

    /// In which order twenty tasks hear of ten changes.
    fn order() -> Vec<usize> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (sender, heard) = (Sender::new(0), Arc::new(Mutex::new(Vec::new())));
            for number in 0..20 {
                let (mut receiver, heard) = (sender.subscribe(), heard.clone());
                tokio::spawn(async move {
                    while receiver.changed().await.is_ok() {
                        heard.lock().push(number);
                    }
                });
            }
            assert_eq!(sender.receiver_count(), 20);
            for value in 0..10 {
                tokio::task::yield_now().await;
                sender.send_replace(value);
            }
            tokio::task::yield_now().await;
            std::mem::take(&mut *heard.lock())
        })
    }

    #[test]
    fn all_hear_in_the_same_order_again() {
        let first = order();
        assert_eq!(first.len(), 200);
        (0..5).for_each(|_| assert_eq!(order(), first));
    }
}
