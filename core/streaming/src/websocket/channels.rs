use super::config;
use crate::{
    Result,
    pipe::{Command, Duplex, OUTBOUND, Shared, StreamReader, StreamWriter},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

/// The first byte of a message of version 5 that closes the channel its second byte names.
const CLOSE_SIGNAL: u8 = 255;

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Codec {
    /// Messages are text: a digit for the channel, the data in base64.
    pub(crate) base64: bool,
    /// The peer may close single channels.
    pub(crate) close_signal: bool,
}

/// The server's end of a WebSocket connection whose messages begin with the number of a channel.
///
/// Dropping it ends the connection at once.
#[derive(Debug)]
pub(crate) struct Channels {
    shared: Arc<Shared>,
    outbound: mpsc::Sender<Command>,
    tasks: JoinSet<()>,
}

impl Channels {
    /// Channels `0..count`, in order, over bytes on which the request was already answered.
    pub(crate) async fn serve<T: Duplex + 'static>(
        io: T,
        codec: Codec,
        count: u32,
    ) -> (Self, Vec<(StreamReader, StreamWriter)>) {
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await;
        let shared = Shared::new();
        let (outbound, commands) = mpsc::channel(OUTBOUND);
        let ends = (0..count).map(|id| shared.register(id, &outbound)).collect();
        let (sink, messages) = socket.split();
        let mut tasks = JoinSet::new();
        tasks.spawn(read(messages, codec, shared.clone()));
        tasks.spawn(write(sink, codec, shared.clone(), commands));
        (Self { shared, outbound, tasks }, ends)
    }

    pub(crate) async fn closed(&self) {
        self.shared.wait_closed().await;
    }

    /// Sends what was written, says goodbye, and waits until the peer has closed.
    pub(crate) async fn close(mut self) {
        // A connection that is gone already needs no goodbye.
        let _ = self.outbound.send(Command::Close).await;
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn read<T: Duplex>(
    mut messages: SplitStream<WebSocketStream<T>>,
    codec: Codec,
    shared: Arc<Shared>,
) {
    while let Some(message) = messages.next().await {
        let data = match message {
            Ok(Message::Binary(data)) => data,
            Ok(Message::Text(text)) => Bytes::from(text),
            Ok(_) => continue,
            Err(error) => {
                tracing::debug!(%error, "a WebSocket connection broke");
                break;
            }
        };
        if let Err(reason) = deliver(&shared, codec, data).await {
            tracing::debug!(reason, "a WebSocket client broke the protocol");
            break;
        }
    }
    shared.close();
}

async fn deliver(shared: &Shared, codec: Codec, mut data: Bytes) -> Result<(), &'static str> {
    if data.is_empty() {
        return Ok(());
    }
    let first = data.split_to(1)[0];
    if codec.close_signal && first == CLOSE_SIGNAL {
        let [channel] = data[..] else {
            return Err("no channel to close");
        };
        shared.remote_finished(u32::from(channel));
        return Ok(());
    }
    let channel = if codec.base64 { first.wrapping_sub(b'0') } else { first };
    if codec.base64 {
        data = BASE64_STANDARD.decode(&data).map_err(|_| "data is not base64")?.into();
    }
    shared.deliver(u32::from(channel), data).await;
    Ok(())
}

async fn write<T: Duplex>(
    mut sink: SplitSink<WebSocketStream<T>, Message>,
    codec: Codec,
    shared: Arc<Shared>,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut batch = Vec::with_capacity(OUTBOUND);
    let mut closing = false;
    while !closing {
        tokio::select! {
            biased;
            received = commands.recv_many(&mut batch, OUTBOUND) => closing = received == 0,
            () = shared.wait_closed() => closing = true,
        }
        for command in batch.drain(..) {
            let sent = match command {
                Command::Data { id, bytes } => sink.feed(encode(codec, id, &bytes)).await,
                Command::Close => {
                    closing = true;
                    Ok(())
                }
                // Only clients close single channels.
                _ => Ok(()),
            };
            if sent.is_err() {
                shared.close();
            }
        }
        if sink.flush().await.is_err() {
            shared.close();
        }
    }
    shared.discard();
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    // The peer may be gone, and then needs no goodbye.
    let _ = sink.send(Message::Close(Some(goodbye))).await;
}

fn encode(codec: Codec, id: u32, data: &[u8]) -> Message {
    let channel = u8::try_from(id).unwrap_or(u8::MAX);
    if codec.base64 {
        let mut text = String::from(char::from(b'0'.wrapping_add(channel)));
        BASE64_STANDARD.encode_string(data, &mut text);
        return Message::text(text);
    }
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel);
    message.extend_from_slice(data);
    Message::binary(message)
}
