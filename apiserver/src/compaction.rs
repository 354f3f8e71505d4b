//! Forgets old revisions, as the original does, so that history does not grow for ever.

use kubeplane_clock::SharedClock;
use kubeplane_store_trait::Store;
use std::{sync::Arc, time::Duration};

/// How long a revision can still be listed and watched after it was superseded, at least.
const KEPT: Duration = Duration::from_secs(300);

/// Compacts the store through the revision it was at one period ago, again and again.
pub(crate) async fn run(store: Arc<dyn Store>, clock: SharedClock) {
    if store.compacts_itself() {
        return;
    }
    let mut last = None;
    loop {
        clock.sleep(KEPT).await;
        if let Some(through) = last {
            match store.compact(through).await {
                Ok(()) => tracing::debug!(%through, "store compacted"),
                Err(error) => tracing::debug!(%error, "store not compacted"),
            }
        }
        last = store.status().await.ok().map(|status| status.revision);
    }
}
