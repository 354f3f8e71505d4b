//! WebSocket messages as carriers: of numbered channels, and of the bytes of another protocol.

mod channels;
mod tunnel;

pub(crate) use channels::{Channels, Codec};
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
