//! Connections to ports of a pod: the server's end and the client's.

mod client;
mod server;

pub use client::{Forwarder, connect, dial};
pub use server::{Forwarded, PortForwards, ports_from_query, serve};

use crate::{
    Result,
    pipe::{Stream, StreamReader},
};
use tokio::io::AsyncReadExt;

const PORT: &str = "port";
const REQUEST_ID: &str = "requestID";
const STREAM_TYPE: &str = "streamType";
/// What is read of an error stream at most.
const MAX_ERROR: u64 = 64 << 10;

/// A connection a client opened to a port.
#[derive(Debug)]
#[non_exhaustive]
pub struct PortConnection {
    /// The bytes of the connection, both ways.
    pub data: Stream,
    /// Tells why the connection failed.
    pub error: PortError,
}

/// Tells a client why a connection failed.
#[derive(Debug)]
pub struct PortError {
    reader: StreamReader,
}

impl PortError {
    /// Waits for the end of the connection; the message of a failure, if it failed.
    ///
    /// # Errors
    /// `Io` when it cannot be read.
    pub async fn wait(self) -> Result<Option<String>> {
        let mut text = String::new();
        self.reader.take(MAX_ERROR).read_to_string(&mut text).await?;
        Ok((!text.is_empty()).then_some(text))
    }
}
