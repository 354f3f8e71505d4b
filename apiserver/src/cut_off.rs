//! Connections that end when the way between their two sides is cut.

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use std::{
    fmt, io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

type End = Shared<BoxFuture<'static, ()>>;

/// The moment at which a way is cut. Clones are of the same moment.
///
/// In the extensions of a request that a client in this process sends, see [`Clients`](crate::Clients), it ends the
/// connection that the request takes over, as exec and port-forward do. Any other answer is its reader's to end.
#[derive(Clone)]
pub struct CutOff(End);

impl fmt::Debug for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CutOff").finish_non_exhaustive()
    }
}

impl CutOff {
    /// When this future ends, which is polled by whoever waits on a connection it is to cut.
    #[must_use]
    pub fn when(end: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(end.boxed().shared())
    }

    /// The connection until then. After that it is closed, and reads and writes fail with
    /// [`io::ErrorKind::ConnectionReset`].
    #[must_use]
    pub fn guard<T>(&self, connection: T) -> Guarded<T> {
        let (reading, writing) = (self.0.clone(), self.0.clone());
        Guarded { connection: Some(connection), reading, writing }
    }
}

/// A connection that ends with a [`CutOff`].
pub struct Guarded<T> {
    connection: Option<T>,
    /// One for each direction: those who read and those who write may be different tasks, each to be woken.
    reading: End,
    writing: End,
}

impl<T> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarded")
            .field("is_open", &self.connection.is_some())
            .finish_non_exhaustive()
    }
}

impl<T: Unpin> Guarded<T> {
    fn reader(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut T>> {
        still_open(&mut self.connection, &mut self.reading, context)
    }

    fn writer(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut T>> {
        still_open(&mut self.connection, &mut self.writing, context)
    }
}

fn still_open<'a, T: Unpin>(
    connection: &'a mut Option<T>,
    end: &mut End,
    context: &mut Context<'_>,
) -> io::Result<Pin<&'a mut T>> {
    if connection.is_some() && end.poll_unpin(context).is_ready() {
        *connection = None;
    }
    connection.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::ConnectionReset.into())
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().reader(context)?.poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().writer(context)?.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writer(context)?.poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().writer(context)?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex, split},
        sync::oneshot,
    };

    fn until(told: oneshot::Receiver<()>) -> CutOff {
        CutOff::when(told.map(drop))
    }

    #[tokio::test]
    async fn a_connection_carries_everything_until_it_is_cut_and_nothing_after() {
        let (tell, told) = oneshot::channel();
        let (near, mut far) = duplex(64);
        let mut near = until(told).guard(near);
        near.write_all(b"ping").await.unwrap();
        let mut said = [0; 4];
        far.read_exact(&mut said).await.unwrap();
        far.write_all(b"pong, and more").await.unwrap();
        near.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"pong");

        tell.send(()).unwrap();
        let read = near.read(&mut said).await.unwrap_err();
        assert_eq!(read.kind(), io::ErrorKind::ConnectionReset, "also what was on its way");
        let written = near.write(b"x").await.unwrap_err();
        assert_eq!(written.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(near.shutdown().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(far.read(&mut said).await.unwrap(), 0, "the other side sees that it is closed");
    }

    #[tokio::test]
    async fn who_waits_on_either_direction_is_woken() {
        let (tell, told) = oneshot::channel();
        let (near, far) = duplex(4);
        let (mut reader, mut writer) = split(until(told).guard(near));
        let reading = tokio::spawn(async move { reader.read_u8().await });
        // More than there is room for.
        let writing = tokio::spawn(async move { writer.write_all(&[0; 64]).await });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished() && !writing.is_finished());
        tell.send(()).unwrap();
        let reset = io::ErrorKind::ConnectionReset;
        assert_eq!(reading.await.unwrap().unwrap_err().kind(), reset);
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), reset);
        drop(far);
    }
}
