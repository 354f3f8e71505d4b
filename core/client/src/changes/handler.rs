use crate::{Change, ObjectKey, cache::Reader, object::Object};
use parking_lot::Mutex;
use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
};
use tokio::sync::oneshot;

type Panic = Box<dyn Any + Send>;
type Handle = Box<dyn FnMut(&Change<dyn Object>) + Send>;

/// A function that is called with each change, by whoever makes it.
pub(crate) struct Handler {
    live: Mutex<Option<Live>>,
}

struct Live {
    handle: Handle,
    ended: oneshot::Sender<Result<(), Panic>>,
}

impl Handler {
    pub(crate) fn new(
        handle: impl FnMut(&Change<dyn Object>) + Send + 'static,
    ) -> (Arc<Self>, Registration) {
        let (sender, ended) = oneshot::channel();
        let live = Live { handle: Box::new(handle), ended: sender };
        let handler = Arc::new(Self { live: Mutex::new(Some(live)) });
        (handler.clone(), Registration { handler, ended })
    }
}

impl Reader for Handler {
    fn tell(&self, _key: &Arc<ObjectKey>, change: &Change<dyn Object>) {
        let mut live = self.live.lock();
        let Some(own) = &mut *live else { return };
        let called = catch_unwind(AssertUnwindSafe(|| (own.handle)(change)));
        // The others are told as before; what this one has in hand is of no use any more.
        if let Err(panic) = called
            && let Some(own) = live.take()
        {
            let _ = own.ended.send(Err(panic));
        }
    }

    fn close(&self) {
        if let Some(own) = self.live.lock().take() {
            let _ = own.ended.send(Ok(()));
        }
    }
}

/// Keeps a handler in place that [`Informer::add_handler`](crate::Informer::add_handler) has put there: when this is
/// dropped, the handler is dropped, too, after the call that it may be in.
#[must_use = "the handler is dropped with it"]
pub struct Registration {
    handler: Arc<Handler>,
    ended: oneshot::Receiver<Result<(), Panic>>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

impl Registration {
    /// Waits until the informer stops.
    ///
    /// # Panics
    /// As the handler, when that panicked; it is not called any more then.
    pub async fn ended(mut self) {
        if let Ok(Err(panic)) = (&mut self.ended).await {
            resume_unwind(panic);
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let live = self.handler.live.lock().take();
        drop(live);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};

    fn map(name: &str, version: &str) -> Arc<dyn Object> {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        Arc::new(ConfigMap { metadata, ..ConfigMap::default() })
    }

    /// A handler that notes what it is told, and how many objects it sees then; it panics about one of this name.
    fn follow(cache: &Arc<Cache>, fatal: &'static str) -> (Arc<Mutex<Vec<String>>>, Registration) {
        let (seen, own) = (Arc::new(Mutex::new(Vec::new())), cache.clone());
        let noted = seen.clone();
        let (handler, registration) = Handler::new(move |change| {
            let meta = change.object().metadata();
            let name = meta.name.as_deref().unwrap_or_default();
            assert_ne!(name, fatal);
            let what = match change {
                Change::Added(_) => '+',
                Change::Updated { .. } => '>',
                Change::Deleted(_) => '-',
            };
            noted.lock().push(format!("{what}{name} of {}", own.len()));
        });
        cache.attach(&handler);
        (seen, registration)
    }

    #[tokio::test]
    async fn a_handler_sees_what_is_there_and_then_each_change_once() {
        let cache = Arc::new(Cache::new());
        cache.apply(map("a", "1"));
        let (seen, registration) = follow(&cache, "");
        cache.apply(map("a", "2"));
        cache.apply(map("a", "2"));
        cache.apply(map("b", "3"));
        cache.delete(map("a", "4"));
        assert_eq!(*seen.lock(), ["+a of 1", ">a of 1", "+b of 2", "-a of 1"]);
        cache.close();
        registration.ended().await;
    }

    #[tokio::test]
    async fn a_handler_that_is_dropped_or_panics_is_not_called_again() {
        let cache = Arc::new(Cache::new());
        let (dropped, registration) = follow(&cache, "");
        drop(registration);
        let (broken, registration) = follow(&cache, "bad");
        let (seen, _other) = follow(&cache, "");
        cache.apply(map("good", "1"));
        cache.apply(map("bad", "2"));
        cache.apply(map("good", "3"));
        assert!(dropped.lock().is_empty());
        assert_eq!(*broken.lock(), ["+good of 1"]);
        assert_eq!(*seen.lock(), ["+good of 1", "+bad of 2", ">good of 2"]);
        let ended = tokio::spawn(registration.ended()).await;
        assert!(ended.is_err_and(|error| error.is_panic()));
    }
}
