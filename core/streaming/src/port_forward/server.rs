use super::{PORT, REQUEST_ID, STREAM_TYPE};
use crate::{
    Carrier, Error, Result, Upgrade,
    pipe::{BoxDuplex, Duplex, Stream, StreamWriter},
    spdy::{Connection, Headers, Incoming, Role, Syn},
    websocket::{Channels, Tunnel},
};
use std::collections::{HashMap, VecDeque};
use tokio::io::AsyncWriteExt;

/// How many connections may wait for their second stream at once.
const MAX_HALF_OPEN: usize = 128;
/// How many ports one WebSocket connection can carry: two channels each, one byte for their number.
const MAX_PORTS: usize = 120;

/// A connection a client wants to a port.
#[derive(Debug)]
#[non_exhaustive]
pub struct Forwarded {
    /// The port inside the pod.
    pub port: u16,
    /// The bytes of the connection, both ways.
    pub data: Stream,
    error: StreamWriter,
}

impl Forwarded {
    /// Ends the connection, telling the client why.
    pub async fn fail(mut self, message: &str) {
        // A client that is gone need not be told.
        let _ = self.error.write_all(message.as_bytes()).await;
        let _ = self.error.shutdown().await;
        self.data.reset().await;
    }

    /// Copies between the client and `target` until both are done or one fails.
    ///
    /// # Errors
    /// `Io` of the side that failed.
    pub async fn copy<T: Duplex>(mut self, target: &mut T) -> Result<()> {
        let copied = tokio::io::copy_bidirectional(&mut self.data, target).await;
        // Both are told the end whatever happened; a client that is gone need not be.
        let _ = self.data.shutdown().await;
        let _ = self.error.shutdown().await;
        copied?;
        Ok(())
    }
}

/// The connections a client opens, over one upgraded connection. Dropping it ends them all.
#[derive(Debug)]
pub struct PortForwards {
    carried: Carried,
}

#[derive(Debug)]
enum Carried {
    Spdy { connection: Connection, incoming: Incoming, pairs: Pairs },
    Channels { channels: Channels, waiting: VecDeque<Forwarded> },
}

/// The server's end of a port-forward, over `io`, on which the 101 answer of `upgrade` was sent.
///
/// `ports` are those of the query, which only clients with WebSocket channels use.
///
/// # Errors
/// `BadOptions` when such a client names no port or too many, `Closed` when it is gone.
pub async fn serve<T: Duplex + 'static>(
    io: T,
    upgrade: &Upgrade,
    ports: &[u16],
) -> Result<PortForwards> {
    let carried = match upgrade.carrier() {
        Carrier::Spdy => spdy(io),
        Carrier::SpdyInWebSocket => {
            let tunnel: BoxDuplex = Box::new(Tunnel::server(io).await);
            spdy(tunnel)
        }
        Carrier::WebSocket { .. } => channels(io, upgrade, ports).await?,
    };
    Ok(PortForwards { carried })
}

/// The ports a query names: `port` or `ports`, once or more, or in one with commas.
///
/// # Errors
/// `BadOptions` when one is not a number from 1 to 65535.
pub fn ports_from_query(query: &str) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if name != "port" && name != "ports" {
            continue;
        }
        for text in value.split([',']).flat_map(|part| part.split("%2C")) {
            ports.push(port(text)?);
        }
    }
    Ok(ports)
}

fn port(text: &str) -> Result<u16> {
    match text.parse() {
        Ok(0) => Err(Error::BadOptions { reason: format!("port {text:?} must be > 0") }),
        Ok(port) => Ok(port),
        Err(error) => {
            let reason = format!("unable to parse {text:?} as a port: {error}");
            Err(Error::BadOptions { reason })
        }
    }
}

fn spdy<T: Duplex + 'static>(io: T) -> Carried {
    let (connection, incoming) = Connection::new(io, Role::Server);
    Carried::Spdy { connection, incoming, pairs: Pairs::default() }
}

async fn channels<T: Duplex + 'static>(io: T, upgrade: &Upgrade, ports: &[u16]) -> Result<Carried> {
    if ports.is_empty() || ports.len() > MAX_PORTS {
        let reason = format!("query parameter {PORT:?} must name 1 to {MAX_PORTS} ports");
        return Err(Error::BadOptions { reason });
    }
    let count = u32::try_from(ports.len() * 2).unwrap_or_default();
    let (channels, ends) = Channels::serve(io, upgrade.codec(), count).await;
    let mut ends = ends.into_iter();
    let mut waiting = VecDeque::new();
    for (port, id) in ports.iter().zip((0..).step_by(2)) {
        let (Some(data), Some((_, mut error))) = (ends.next(), ends.next()) else {
            break;
        };
        let mut data = Stream::new(id, Headers::new(), data);
        data.write_all(&port.to_le_bytes()).await?;
        error.write_all(&port.to_le_bytes()).await?;
        waiting.push_back(Forwarded { port: *port, data, error });
    }
    Ok(Carried::Channels { channels, waiting })
}

impl PortForwards {
    /// The next connection the client wants; `None` when it is gone.
    ///
    /// # Cancellation
    /// Nothing is lost when the future is dropped before it is ready.
    pub async fn accept(&mut self) -> Option<Forwarded> {
        match &mut self.carried {
            Carried::Channels { channels, waiting } => {
                if let Some(forwarded) = waiting.pop_front() {
                    return Some(forwarded);
                }
                channels.closed().await;
                None
            }
            Carried::Spdy { incoming, pairs, .. } => loop {
                let syn = incoming.next().await?;
                match pairs.add(syn).await {
                    Ok(Some(forwarded)) => return Some(forwarded),
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, "a stream was refused"),
                }
            },
        }
    }

    /// Ends the connection in order, with everything written before; waits until the client has closed.
    pub async fn close(self) {
        match self.carried {
            Carried::Spdy { connection, .. } => connection.close().await,
            Carried::Channels { channels, .. } => channels.close().await,
        }
    }
}

/// Streams that wait for the other one of their connection.
#[derive(Debug, Default)]
struct Pairs {
    half: HashMap<String, Half>,
}

#[derive(Debug)]
enum Half {
    Data(Stream),
    Error(Stream),
}

impl Pairs {
    async fn add(&mut self, syn: Syn) -> Result<Option<Forwarded>> {
        let text = syn.headers().first(PORT).unwrap_or_default();
        let port = port(text)?;
        let kind = syn.headers().first(STREAM_TYPE).unwrap_or_default();
        let is_data = match kind {
            "data" => true,
            "error" => false,
            _ => return Err(Error::protocol(format!("invalid stream type {kind:?}"))),
        };
        let request = request_id(&syn, is_data);
        let other = self.half.remove(&request);
        if other.is_none() && self.half.len() >= MAX_HALF_OPEN {
            return Err(Error::protocol("too many connections wait for their second stream"));
        }
        let stream = syn.accept().await?;
        match (other, is_data) {
            (None, true) => self.half.insert(request, Half::Data(stream)),
            (None, false) => self.half.insert(request, Half::Error(stream)),
            (Some(Half::Error(error)), true) => return Ok(Some(forwarded(port, stream, error))),
            (Some(Half::Data(data)), false) => return Ok(Some(forwarded(port, data, stream))),
            (Some(half), _) => {
                self.half.insert(request, half);
                stream.reset().await;
                return Err(Error::protocol(format!(
                    "{kind} stream already assigned",
                    kind = if is_data { "data" } else { "error" }
                )));
            }
        };
        Ok(None)
    }
}

fn forwarded(port: u16, data: Stream, error: Stream) -> Forwarded {
    Forwarded { port, data, error: error.into_split().1 }
}

/// Clients of old send no request number; their error and data streams have consecutive numbers.
fn request_id(syn: &Syn, is_data: bool) -> String {
    match syn.headers().first(REQUEST_ID) {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ if is_data => syn.id().saturating_sub(2).to_string(),
        _ => syn.id().to_string(),
    }
}
