//! What is found out about the machine.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// The address the machine would use to reach others; loopback when there is no way out.
pub(super) fn address() -> IpAddr {
    // Connecting a datagram socket sends nothing, it only asks for the route.
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(("192.0.2.1", 9)).and_then(|()| socket.local_addr()));
    found.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// The machine's name in lower case, as node names are.
pub(super) fn name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    if name.is_empty() { "localhost".into() } else { name }
}
