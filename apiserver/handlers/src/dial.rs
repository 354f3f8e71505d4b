//! How the API server reaches what runs in the cluster.

use async_trait::async_trait;
use std::{fmt, io, net::IpAddr};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A connection in both directions.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// How pods and nodes are reached, where the API server's machine is not in their network.
#[async_trait]
pub trait Dial: fmt::Debug + Send + Sync + 'static {
    /// Connects to a host, by address or name, and a TCP port.
    ///
    /// # Errors
    /// When it cannot be reached; the caller sets the limit in time.
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Connection>>;

    /// Connects to a port of the node of this name, its kubelet's or another, at one of its addresses. Without more it is
    /// as any host.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    async fn connect_node(
        &self,
        _node: &str,
        host: &str,
        port: u16,
    ) -> io::Result<Box<dyn Connection>> {
        self.connect(host, port).await
    }

    /// The addresses of a host.
    ///
    /// # Errors
    /// When its name has none.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// The machine's own network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

#[async_trait]
impl Dial for Tcp {
    async fn connect(&self, host: &str, port: u16) -> io::Result<Box<dyn Connection>> {
        let stream = TcpStream::connect((host, port)).await?;
        // Best effort: without it only small frames wait a little.
        let _ = stream.set_nodelay(true);
        Ok(Box::new(stream))
    }
}

/// A failure to connect in the words of the original.
pub(crate) fn said(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("connect: {}", text.to_lowercase())
}
