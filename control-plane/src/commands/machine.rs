//! What is found out about the machine.

use std::{
    fs::Permissions,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

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

/// The directory, made if missing, as an absolute path.
pub(super) fn directory(path: &Path) -> anyhow::Result<PathBuf> {
    let failed =
        |error: std::io::Error| anyhow::anyhow!("data directory {}: {error}", path.display());
    std::fs::create_dir_all(path).map_err(failed)?;
    // Logs of pods, volumes and tokens lie below.
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?;
    std::fs::canonicalize(path).map_err(failed)
}
