//! SPDY/3.1, WebSocket channel protocols and port-forward tunnels over any byte stream.
//!
//! ```text
//!   remote_command        port_forward            streams of a command, connections to ports
//!        │      │              │
//!        │      └── WebSocket channels (v1, v4, v5, base64)
//!        │                     │
//!      SPDY/3.1 connection ────┘                  streams over one byte stream
//!        │           │
//!        │        Tunnel                          bytes inside WebSocket messages
//!        │           │
//!   any AsyncRead + AsyncWrite: an upgraded HTTP connection, a socket, a pipe
//! ```
//!
//! A server passes the headers of a request to [`negotiate`], answers with what it returns, and hands the
//! upgraded connection to [`remote_command::serve`] or [`port_forward::serve`]. A client hands it to
//! [`remote_command::connect`] or [`port_forward::connect`]. Nothing here knows the time: waits are bounded
//! by callers, who drop the future when their clock says so.
//!
//! ```
//! use kubeplane_streaming::remote_command::{self, Options, Outcome};
//! use kubeplane_streaming::{Purpose, negotiate};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! let mut headers = http::HeaderMap::new();
//! headers.insert("connection", "Upgrade".parse().unwrap());
//! headers.insert("upgrade", "SPDY/3.1".parse().unwrap());
//! headers.insert("x-stream-protocol-version", "v4.channel.k8s.io".parse().unwrap());
//! let upgrade = negotiate(&headers, Purpose::RemoteCommand).unwrap();
//!
//! let options = Options::from_query("output=1").unwrap();
//! let (near, far) = tokio::io::duplex(4096);
//! let server = async {
//!     let mut streams = remote_command::serve(far, &upgrade, options).await.unwrap();
//!     streams.stdout.take().unwrap().write_all(b"hello").await.unwrap();
//!     streams.status.send(Outcome::ExitCode(3)).await.unwrap();
//! };
//! let client = async {
//!     let mut process = remote_command::connect(near, 4, options).await.unwrap();
//!     let mut output = String::new();
//!     process.stdout.take().unwrap().read_to_string(&mut output).await.unwrap();
//!     assert_eq!(output, "hello");
//!     assert_eq!(process.status.wait().await.unwrap(), Outcome::ExitCode(3));
//! };
//! tokio::join!(server, client);
//! # });
//! ```

mod error;
mod handshake;
mod negotiate;
mod pipe;
pub mod port_forward;
pub mod remote_command;
pub mod spdy;
mod splice;
pub mod websocket;

pub use error::{Error, Result};
pub use handshake::upgrade;
pub use negotiate::{
    ACCEPTED_PROTOCOLS, Carrier, Purpose, STREAM_PROTOCOL, Upgrade, is_upgrade, negotiate,
    rejection_headers,
};
pub use pipe::{BoxDuplex, Duplex, Stream, StreamReader, StreamWriter};
pub use splice::splice;
