//! Passing a WebSocket connection through, frame by frame towards the client.

use std::io;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    copy, split,
};

/// Copies both ways until both directions have ended. What comes from the backend is sent frame by frame:
/// clients that poll their socket, as the Python one does, do not see a second frame in the same TLS record.
pub(super) async fn pass<A, B>(client: A, backend: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = split(client);
    let (from_backend, mut to_backend) = split(backend);
    let up = async {
        let copied = copy(&mut from_client, &mut to_backend).await;
        to_backend.shutdown().await.and(copied)
    };
    let down = async {
        let copied = copy_frames(BufReader::new(from_backend), &mut to_client).await;
        to_client.shutdown().await.and(copied)
    };
    tokio::try_join!(up, down).map(|_| ())
}

async fn copy_frames(
    mut from: impl AsyncBufRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    while !from.fill_buf().await?.is_empty() {
        let mut head = [0; 14];
        from.read_exact(&mut head[..2]).await?;
        let length = match head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        // Servers do not mask, but a mask would be four bytes more.
        let end = 2 + length + if head[1] & 0x80 == 0 { 0 } else { 4 };
        from.read_exact(&mut head[2..end]).await?;
        let extended = head[2..2 + length].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let mut left = if length == 0 { u64::from(head[1] & 0x7f) } else { extended };
        let mut part = head[..end].to_vec();
        while left > 0 {
            let ready = from.fill_buf().await?;
            if ready.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let take = ready.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            part.extend_from_slice(&ready[..take]);
            from.consume(take);
            left -= take as u64;
            if left > 0 {
                to.write_all(&part).await?;
                part.clear();
            }
        }
        to.write_all(&part).await?;
        to.flush().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    /// Keeps each write apart.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn frames_that_came_together_are_sent_one_by_one() {
        let long = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        let frames = [vec![0x82, 2, 1, 65], vec![0x82, 0], long, vec![0x88, 2, 3, 0xe8]];
        let mut writes = Writes::default();
        copy_frames(&frames.concat()[..], &mut writes).await.unwrap();
        assert_eq!(writes.0, frames);
        let torn = copy_frames(&[0x82, 5, 1][..], &mut writes).await.unwrap_err();
        assert_eq!(torn.kind(), io::ErrorKind::UnexpectedEof);
    }
}
