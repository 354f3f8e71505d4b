//! The two tasks of a connection: one reads frames, one writes them.

use super::{Decoder, Encoder, Frame, Headers, ResetStatus, Role, Syn};
use crate::{
    Error, Result,
    pipe::{Command, Duplex, INBOUND, OUTBOUND, Shared},
};
use bytes::{Bytes, BytesMut};
use std::{sync::Arc, sync::atomic::Ordering};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::mpsc,
    task::JoinSet,
};

/// Answers and refusals that may wait at once; a peer that causes more breaks the connection.
const URGENT: usize = 256;

pub(super) fn spawn<T: Duplex + 'static>(
    tasks: &mut JoinSet<()>,
    io: T,
    role: Role,
    shared: &Arc<Shared>,
    outbound: &mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
) -> mpsc::Receiver<Syn> {
    let (read, write) = tokio::io::split(io);
    let (accepted, streams) = mpsc::channel(INBOUND);
    let (urgent, urgents) = mpsc::channel(URGENT);
    let (refused, refusals) = mpsc::channel(URGENT);
    let reader = Reader {
        role,
        shared: shared.clone(),
        outbound: outbound.downgrade(),
        accepted: Some(accepted),
        urgent,
        refused,
        last: 0,
    };
    let writer = Writer {
        encoder: Encoder::new(),
        out: BytesMut::new(),
        shared: shared.clone(),
        last_good: 0,
    };
    tasks.spawn(reader.run(read));
    tasks.spawn(writer.run(write, commands, urgents, refusals));
    streams
}

struct Reader {
    role: Role,
    shared: Arc<Shared>,
    outbound: mpsc::WeakSender<Command>,
    accepted: Option<mpsc::Sender<Syn>>,
    urgent: mpsc::Sender<Command>,
    refused: mpsc::Sender<u32>,
    last: u32,
}

impl Reader {
    async fn run<T: Duplex>(mut self, mut io: ReadHalf<T>) {
        if let Err(error) = self.frames(&mut io).await {
            tracing::debug!(%error, "a SPDY connection broke");
        }
        self.shared.close();
    }

    async fn frames<T: Duplex>(&mut self, io: &mut ReadHalf<T>) -> Result<()> {
        let mut decoder = Decoder::new();
        let mut input = BytesMut::with_capacity(16 << 10);
        loop {
            while let Some(frame) = decoder.decode(&mut input)? {
                self.frame(frame).await?;
            }
            input.reserve(16 << 10);
            if io.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
    }

    async fn frame(&mut self, frame: Frame) -> Result<()> {
        match frame {
            Frame::SynStream { id, headers, fin, .. } => self.opened(id, headers, fin).await?,
            Frame::SynReply { id, fin, .. } => {
                let reply = self.shared.streams.lock().get_mut(&id).and_then(|e| e.reply.take());
                if let Some(reply) = reply {
                    // Whoever opened the stream may have given up.
                    let _ = reply.send(());
                }
                if fin {
                    self.shared.remote_finished(id);
                }
            }
            Frame::Data { id, bytes, fin } => {
                self.shared.deliver(id, bytes).await;
                if fin {
                    self.shared.remote_finished(id);
                }
            }
            Frame::Headers { id, fin: true, .. } => self.shared.remote_finished(id),
            Frame::Reset { id, .. } => {
                self.shared.forget(id);
            }
            // Odd numbers are the client's questions, even ones the server's.
            Frame::Ping(id) if (id % 2 == 1) == (self.role == Role::Server) => {
                self.urgent(Command::Pong { id })?;
            }
            Frame::GoAway { .. } => self.accepted = None,
            _ => {}
        }
        Ok(())
    }

    async fn opened(&mut self, id: u32, headers: Headers, fin: bool) -> Result<()> {
        let from_peer = (id % 2 == 1) == (self.role == Role::Server);
        let (Some(accepted), Some(outbound)) = (&self.accepted, self.outbound.upgrade()) else {
            return Ok(());
        };
        if !from_peer || id <= self.last {
            return self.urgent(Command::Reset { id });
        }
        self.last = id;
        let halves = self.shared.register(id, &outbound);
        if fin {
            self.shared.remote_finished(id);
        }
        let refused = self.refused.clone();
        let syn = Syn { id, headers, halves: Some(halves), outbound, refused };
        let taken = tokio::select! {
            sent = accepted.send(syn) => sent.is_ok(),
            () = self.shared.wait_discard() => false,
        };
        if !taken {
            // The unsent stream was dropped, which refuses it.
            self.accepted = None;
        }
        Ok(())
    }

    fn urgent(&self, command: Command) -> Result<()> {
        self.urgent.try_send(command).map_err(|_| Error::protocol("too many frames to answer"))
    }
}

struct Writer {
    encoder: Encoder,
    out: BytesMut,
    shared: Arc<Shared>,
    last_good: u32,
}

impl Writer {
    async fn run<T: Duplex>(
        mut self,
        mut io: WriteHalf<T>,
        mut commands: mpsc::Receiver<Command>,
        mut urgents: mpsc::Receiver<Command>,
        mut refusals: mpsc::Receiver<u32>,
    ) {
        let mut batch = Vec::with_capacity(OUTBOUND);
        let shared = self.shared.clone();
        let mut closing = false;
        while !closing {
            // Taken before the queue, so that what those streams wrote before goes out before their end.
            let mut dropped = std::mem::take(&mut *self.shared.dropped.lock());
            if dropped.is_empty() {
                tokio::select! {
                    biased;
                    Some(command) = urgents.recv() => batch.push(command),
                    Some(id) = refusals.recv() => batch.push(Command::Reset { id }),
                    received = commands.recv_many(&mut batch, OUTBOUND) => closing = received == 0,
                    () = shared.wait_closed() => closing = true,
                }
            }
            while batch.len() < OUTBOUND * 2
                && let Ok(command) = commands.try_recv()
            {
                batch.push(command);
            }
            for command in batch.drain(..) {
                closing |= matches!(command, Command::Close);
                self.command(command);
            }
            for id in dropped.drain(..) {
                self.command(Command::Finish { id });
            }
            if closing {
                self.goodbye();
            }
            if let Err(error) = self.flush(&mut io).await {
                tracing::debug!(%error, "a SPDY connection cannot be written");
                self.shared.close();
                return;
            }
        }
        if let Err(error) = io.shutdown().await {
            tracing::debug!(%error, "a SPDY connection was not closed in order");
        }
    }

    async fn flush<T: Duplex>(&mut self, io: &mut WriteHalf<T>) -> Result<()> {
        io.write_all_buf(&mut self.out).await?;
        io.flush().await?;
        Ok(())
    }

    fn command(&mut self, command: Command) {
        let frame = match command {
            Command::Open { id, headers } => Frame::SynStream {
                id,
                associated: 0,
                priority: 0,
                headers,
                fin: false,
                unidirectional: false,
            },
            Command::Reply { id } => {
                self.last_good = self.last_good.max(id);
                Frame::SynReply { id, headers: Headers::new(), fin: false }
            }
            Command::Data { id, bytes } if self.is_writable(id) => {
                Frame::Data { id, bytes, fin: false }
            }
            Command::Finish { id } if self.shared.local_finished(id) => {
                Frame::Data { id, bytes: Bytes::new(), fin: true }
            }
            Command::Reset { id } => {
                self.shared.forget(id);
                Frame::Reset { id, status: ResetStatus::CANCEL }
            }
            Command::Pong { id } => Frame::Ping(id),
            _ => return,
        };
        self.encode(&frame);
    }

    fn is_writable(&self, id: u32) -> bool {
        let streams = self.shared.streams.lock();
        streams
            .get(&id)
            .is_some_and(|entry| !entry.finished && !entry.reset.load(Ordering::Acquire))
    }

    fn goodbye(&mut self) {
        let open: Vec<u32> = self.shared.streams.lock().keys().copied().collect();
        for id in open {
            self.command(Command::Finish { id });
        }
        self.encode(&Frame::GoAway { last_good: self.last_good, status: 0 });
        self.shared.discard();
    }

    fn encode(&mut self, frame: &Frame) {
        if let Err(error) = self.encoder.encode(frame, &mut self.out) {
            tracing::warn!(%error, "a SPDY frame could not be sent");
        }
    }
}
