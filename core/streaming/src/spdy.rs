//! SPDY/3.1 as Kubernetes clients and servers speak it: many streams over one byte stream, without
//! flow control by windows, headers compressed, no HTTP semantics inside.

mod codec;
mod connection;
mod dictionary;
mod driver;
mod frame;

pub use codec::{Decoder, Encoder};
pub use connection::{Connection, Incoming, Role, Syn};
pub use frame::{Frame, Headers, ResetStatus};
