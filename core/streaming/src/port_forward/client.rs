use super::{PORT, PortConnection, PortError, REQUEST_ID, STREAM_TYPE};
use crate::{
    Result, handshake,
    negotiate::PORT_FORWARD,
    pipe::Duplex,
    spdy::{Connection, Headers, Role},
};
use std::sync::atomic::{AtomicU32, Ordering};

/// The client's end of a port-forward: opens any number of connections. Dropping it ends them all.
#[derive(Debug)]
pub struct Forwarder {
    connection: Connection,
    requests: AtomicU32,
}

/// Asks the server at a streaming URL, as runtimes give them, for a port-forward.
///
/// # Errors
/// `Refused` when the server does not upgrade, `BadOptions` when the URL is not `http://host:port/path`,
/// `Io` when it cannot be reached.
pub async fn dial(url: &str) -> Result<Forwarder> {
    Ok(connect(handshake::dial(url, &[PORT_FORWARD]).await?.io))
}

/// The client's end of a port-forward over SPDY, on a connection that was upgraded.
#[must_use]
pub fn connect<T: Duplex + 'static>(io: T) -> Forwarder {
    // A client takes no streams, so they are refused.
    let (connection, _) = Connection::new(io, Role::Client);
    Forwarder { connection, requests: AtomicU32::new(0) }
}

impl Forwarder {
    /// Opens a connection to `port`. Whether anything listens there is told by its error stream.
    ///
    /// # Errors
    /// `StreamReset` or `Closed` when the server does not take it.
    pub async fn open(&self, port: u16) -> Result<PortConnection> {
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let headers = |kind| {
            Headers::new()
                .with(STREAM_TYPE, kind)
                .with(PORT, port.to_string())
                .with(REQUEST_ID, request.to_string())
        };
        // Servers of old pair streams by their numbers, so the error stream comes first.
        let (reader, writer) = self.connection.open(headers("error")).await?.into_split();
        drop(writer);
        let data = self.connection.open(headers("data")).await?;
        Ok(PortConnection { data, error: PortError { reader } })
    }

    /// Waits until the connection is over.
    pub async fn closed(&self) {
        self.connection.closed().await;
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        self.connection.close().await;
    }
}
