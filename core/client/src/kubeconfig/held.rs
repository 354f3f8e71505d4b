//! An answer that ends with the credentials it was asked for with.

use super::transport::Answer;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// A body that breaks off when its connection is not to be used any longer.
pub(super) struct Held {
    body: Answer,
    over: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Held {
    /// `over` for those that would go on for good.
    pub(super) fn new(body: Answer, over: Option<CancellationToken>) -> Self {
        Self { body, over: over.map(|over| Box::pin(over.cancelled_owned())) }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let over = self.over.as_mut().is_some_and(|over| over.as_mut().poll(context).is_ready());
        if over {
            // As clients see it when a connection is closed: they watch on from where they were.
            let why = "unexpected EOF: the credentials were renewed";
            let error = io::Error::new(io::ErrorKind::UnexpectedEof, why);
            return Poll::Ready(Some(Err(error.into())));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
