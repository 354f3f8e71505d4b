//! Running a command in a container with its streams: the server's end and the client's.

mod client;
mod options;
mod server;
mod status;
mod terminal;

pub use client::{RemoteProcess, StatusReceiver, connect, dial};
pub use options::Options;
pub use server::{RemoteStreams, StatusSender, serve};
pub use status::Outcome;
pub use terminal::{ResizeReceiver, ResizeSender, TerminalSize};

const STREAM_TYPE: &str = "streamType";
