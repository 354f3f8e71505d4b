//! Both roles of every protocol, over pipes in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod messages;
mod port_forward;
mod remote_command;
mod spdy;
mod splice;

use kubeplane_streaming::{Purpose, Upgrade, negotiate};
use std::{future::Future, time::Duration};
use tokio::io::DuplexStream;

/// What a client of `protocol` and the server agree on.
fn agree(protocol: &str, upgrade: &str, purpose: Purpose) -> Upgrade {
    let mut headers = http::HeaderMap::new();
    headers.insert("connection", "Upgrade".parse().unwrap());
    headers.insert("upgrade", upgrade.parse().unwrap());
    headers.insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
    if !protocol.is_empty() {
        headers.insert("x-stream-protocol-version", protocol.parse().unwrap());
        headers.insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    negotiate(&headers, purpose).unwrap()
}

fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(64 << 10)
}

/// A deadline far beyond what anything here needs.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("it hangs")
}
