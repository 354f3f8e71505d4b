//! WebSocket messages as carriers: of numbered channels, of the bytes of another protocol, and of one stream to the
//! client.

mod channels;
mod messages;
mod tunnel;

pub(crate) use channels::{Channels, Codec};
pub use messages::{Messages, is_requested};
pub use tunnel::Tunnel;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// What any message may hold at most.
const MAX_MESSAGE: usize = 16 << 20;

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .read_buffer_size(16 << 10)
        .write_buffer_size(16 << 10)
}
