use crate::pipe::Duplex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink, split};

/// How much is read and thrown away from a client whose backend has ended.
const MAX_DISCARDED: u64 = 16 << 20;

/// Passes bytes between two upgraded connections until both directions have ended: what a server does
/// that only stands between a client and a kubelet or another server.
///
/// When one side ends, the other gets the rest and the end; a side that breaks is one that ends. What
/// `client` still sends after `backend` takes no more is read and thrown away, so that the client gets to
/// read everything that was sent to it.
///
/// # Cancellation
/// Dropping the future drops both sides.
pub async fn splice<A: Duplex, B: Duplex>(client: A, backend: B) {
    let (mut from_client, mut to_client) = split(client);
    let (mut from_backend, mut to_backend) = split(backend);
    let up = async {
        if let Err(error) = copy(&mut from_client, &mut to_backend).await {
            tracing::debug!(%error, "a spliced connection takes no more from its client");
            let mut rest = (&mut from_client).take(MAX_DISCARDED);
            // Whatever fails from here on, this direction is over.
            let _ = copy(&mut rest, &mut sink()).await;
        }
        let _ = to_backend.shutdown().await;
    };
    let down = async {
        if let Err(error) = copy(&mut from_backend, &mut to_client).await {
            tracing::debug!(%error, "a spliced connection takes no more from its backend");
        }
        // A client that is gone need not be told.
        let _ = to_client.shutdown().await;
    };
    tokio::join!(up, down);
}
