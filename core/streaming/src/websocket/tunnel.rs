use crate::pipe::Duplex;
use bytes::{Buf, Bytes};
use futures::{Sink, Stream};
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error as WsError, Message, protocol::Role},
};

const PIECE: usize = 32 << 10;

/// A byte stream inside the binary messages of a WebSocket connection: KEP-4006 carries SPDY so.
pub struct Tunnel<T> {
    socket: WebSocketStream<T>,
    current: Bytes,
    over: bool,
}

impl<T: Duplex> Tunnel<T> {
    /// The server's end, over bytes on which the request for an upgrade was already answered.
    pub async fn server(io: T) -> Self {
        Self::new(io, Role::Server).await
    }

    /// The client's end, over bytes on which the upgrade was already granted.
    pub async fn client(io: T) -> Self {
        Self::new(io, Role::Client).await
    }

    async fn new(io: T, role: Role) -> Self {
        let socket = WebSocketStream::from_raw_socket(io, role, Some(super::config())).await;
        Self { socket, current: Bytes::new(), over: false }
    }
}

impl<T> fmt::Debug for Tunnel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("over", &self.over).finish_non_exhaustive()
    }
}

fn io_error(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        WsError::ConnectionClosed | WsError::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other),
    }
}

impl<T: Duplex> AsyncRead for Tunnel<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            if self.over {
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                Some(Ok(Message::Binary(bytes))) => self.current = bytes,
                Some(Ok(Message::Text(_))) => {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
                Some(Ok(Message::Close(_))) | None => self.over = true,
                Some(Ok(_)) => {}
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => self.over = true,
                // Many clients drop the connection without a closing handshake.
                Some(Err(WsError::Protocol(_))) => self.over = true,
                Some(Err(error)) => return Poll::Ready(Err(io_error(error))),
            }
        }
        let size = buf.remaining().min(self.current.len());
        buf.put_slice(&self.current[..size]);
        self.current.advance(size);
        Poll::Ready(Ok(()))
    }
}

impl<T: Duplex> AsyncWrite for Tunnel<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(io_error)?;
        let size = data.len().min(PIECE);
        let message = Message::Binary(Bytes::copy_from_slice(&data[..size]));
        Pin::new(&mut self.socket).start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(size))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.socket).poll_close(cx)) {
            Ok(()) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(io_error(error))),
        }
    }
}
