use crate::{
    Backoff, Error, InformerSource, Listed, Query, Result, SourceEvent,
    cache::Cache,
    object::{Decode, Object, Transform},
};
use futures::StreamExt;
use kubeplane_clock::{Seed, SharedClock};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A watch is opened anew after this long, or up to twice as long.
const WATCH_LIFETIME: Duration = Duration::from_secs(300);
/// How much longer than asked for a silent watch may last before it counts as broken.
const WATCH_GRACE: Duration = Duration::from_secs(30);

/// Keeps a cache equal to what a source has: list, watch, and list again when the watch cannot go on.
pub(crate) struct Reflector {
    pub(crate) source: Arc<dyn InformerSource>,
    pub(crate) query: Query,
    pub(crate) decode: Decode,
    pub(crate) transform: Option<Transform>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) clock: SharedClock,
    pub(crate) seed: Seed,
}

#[derive(Deserialize)]
struct Versioned {
    metadata: Version,
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "resourceVersion", default)]
    resource_version: String,
}

impl Reflector {
    pub(crate) async fn run(self) {
        let mut backoff = self.backoff();
        // What is the newest at first: caches of several kinds that begin together all show what was written before, as
        // those of the original do. Later never an older state than was shown already.
        let mut at_least = String::new();
        let mut failing = false;
        loop {
            match self.source.list(&self.query, &at_least).await {
                Ok(Listed { resource_version, items }) => {
                    // The text goes as the objects come, rather than with the end of the watch.
                    let objects = items.into_iter().filter_map(|item| self.read(&item));
                    self.cache.replace(objects.collect());
                    at_least = resource_version;
                    failing = false;
                    self.follow(&mut at_least, &mut backoff).await;
                }
                Err(Error::Expired { .. }) if !at_least.is_empty() => at_least.clear(),
                Err(error) => {
                    // The first failure is news, its repetition is not.
                    if failing {
                        tracing::debug!(resource = %self.query, %error, "list failed again");
                    } else {
                        tracing::warn!(resource = %self.query, %error, "list failed");
                    }
                    failing = true;
                    backoff.wait().await;
                }
            }
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.clock.clone(), self.seed.clone(), FIRST_PAUSE, LONGEST_PAUSE)
    }

    /// Watches until a new list is needed.
    async fn follow(&self, version: &mut String, backoff: &mut Backoff) {
        loop {
            let lifetime = WATCH_LIFETIME + WATCH_LIFETIME.mul_f64(self.seed.fraction());
            let opened = self.clock.elapsed();
            let deadline = self.clock.sleep(lifetime + WATCH_GRACE);
            let before = version.clone();
            let ended = tokio::select! {
                biased;
                ended = self.watch(version, lifetime) => ended,
                () = deadline => Ok(()),
            };
            let short = self.clock.elapsed().saturating_sub(opened) < Duration::from_secs(1);
            match ended {
                Err(Error::Expired { message }) => {
                    tracing::debug!(resource = %self.query, message, "watch fell behind");
                    if short {
                        backoff.wait().await;
                    }
                    return;
                }
                Err(error) => {
                    tracing::debug!(resource = %self.query, %error, "watch failed");
                    backoff.wait().await;
                }
                Ok(()) if short && *version == before => backoff.wait().await,
                Ok(()) => {}
            }
        }
    }

    async fn watch(&self, version: &mut String, lifetime: Duration) -> Result<()> {
        let mut events = self.source.watch(&self.query, version, lifetime).await?;
        while let Some(event) = events.next().await {
            self.take(event?, version);
        }
        Ok(())
    }

    fn take(&self, event: SourceEvent, version: &mut String) {
        let (text, deleted) = match event {
            SourceEvent::Bookmark(at) => {
                *version = at;
                return;
            }
            SourceEvent::Added(text) | SourceEvent::Modified(text) => (text, false),
            SourceEvent::Deleted(text) => (text, true),
        };
        match self.read(&text) {
            Some(object) => {
                if let Some(at) = &object.metadata().resource_version {
                    version.clone_from(at);
                }
                if deleted { self.cache.delete(object) } else { self.cache.apply(object) }
            }
            None => {
                if let Ok(object) = serde_json::from_slice::<Versioned>(&text) {
                    *version = object.metadata.resource_version;
                }
            }
        }
    }

    /// One object that cannot be read must not keep all others from being seen.
    fn read(&self, text: &[u8]) -> Option<Arc<dyn Object>> {
        std::str::from_utf8(text)
            .map_err(serde::de::Error::custom)
            .and_then(|text| (self.decode)(text, self.transform.as_ref()))
            .inspect_err(|error: &serde_json::Error| {
                tracing::error!(resource = %self.query, %error, "skipping an object that cannot be decoded");
            })
            .ok()
    }
}

#[cfg(test)]
mod tests;
