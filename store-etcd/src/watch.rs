//! Watches.
//!
//! ```text
//!   EtcdWatcher ──> Feed: batches, bookmarks, fragments ──> Session: one stream to one member
//!                     └── the stream broke: establish another after the last batch
//! ```

mod feed;
mod session;

use crate::{client::Client, members::Member, wire};
use feed::Feed;
use futures::{
    Stream, StreamExt,
    stream::{self, FuturesUnordered},
};
use kubeplane_clock::timeout;
use kubeplane_store_trait::{BoxWatcher, Error, KeyRange, Result, Revision, WatchBatch, Watcher};
use session::{Refused, Session, establish, refusal};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::Notify;

/// Establishes a watch of everything after `after`.
pub(crate) async fn start(
    client: &Client,
    range: &KeyRange,
    after: Revision,
) -> Result<BoxWatcher> {
    let session = establish(client, range, after).await?;
    let asked = Arc::new(Notify::new());
    let feed = Feed::new(client, session, range, after, asked.clone());
    let batches = stream::unfold(feed, |mut feed| async move {
        let item = feed.next().await?;
        Some((item, feed))
    });
    Ok(Box::pin(EtcdWatcher { batches: batches.boxed(), asked }))
}

/// The oldest revision that is kept, and surely no older than `floor`, if any member knows; zero when nothing was
/// compacted yet.
///
/// All members are asked, because one that lags behind the others may tell an earlier one, or nothing at all.
pub(crate) async fn compaction_point(client: &Client, floor: Revision) -> Result<Revision> {
    if client.reads_first_revision().await? {
        return Ok(Revision(0));
    }
    let members = client.members().order();
    let mut answers: FuturesUnordered<_> =
        members.iter().map(|member| compacted_at(client, member)).collect();
    let mut best: Result<Revision> =
        Err(Error::Unavailable { reason: "no member was asked".into() });
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(revision) if revision >= floor => return Ok(revision),
            Ok(revision) => best = Ok(best.unwrap_or_default().max(revision)),
            Err(refused) if best.is_err() => best = Err(refused.error()),
            Err(_) => {}
        }
    }
    best
}

/// What one member has compacted, if it says so in time.
async fn compacted_at(
    client: &Client,
    member: &Arc<Member>,
) -> std::result::Result<Revision, Refused> {
    let told = timeout(client.clock().as_ref(), client.timeout(), told_by(client, member)).await;
    told.unwrap_or_else(|| {
        let reason = format!("{} does not say what it has compacted", member.name);
        Err(Refused::Here(Error::Unavailable { reason }))
    })
}

/// etcd tells the point only to a watch that starts before it.
async fn told_by(client: &Client, member: &Arc<Member>) -> std::result::Result<Revision, Refused> {
    let mut session = Session::try_open(client, member, None, Revision(1)).await?;
    loop {
        let response = session.responses.message().await.map_err(|status| refusal(&status))?;
        let Some(response) = response else {
            let reason = format!("{} ended the watch", member.name);
            return Err(Refused::Here(Error::Unavailable { reason }));
        };
        if response.compact_revision > 0 {
            return Ok(wire::revision(response.compact_revision));
        }
    }
}

struct EtcdWatcher {
    batches: stream::BoxStream<'static, Result<WatchBatch>>,
    asked: Arc<Notify>,
}

impl Stream for EtcdWatcher {
    type Item = Result<WatchBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.as_mut().poll_next(context)
    }
}

impl Watcher for EtcdWatcher {
    fn request_progress(self: Pin<&mut Self>) {
        self.asked.notify_one();
    }
}
