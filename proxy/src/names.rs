//! The names of chains and sets of services and endpoints.

use crate::service::PortName;
use std::net::SocketAddr;

/// The longest name without its prefix, in bytes; nftables takes 255 with it.
const MAX: usize = 235;

/// A chain or set of a service port.
pub(crate) fn of_service(prefix: &str, name: &PortName) -> String {
    bounded(prefix, &base(name))
}

/// A chain or set of an endpoint of a service port.
pub(crate) fn of_endpoint(prefix: &str, name: &PortName, endpoint: SocketAddr) -> String {
    let ip = endpoint.ip().to_string().replace(':', ".");
    bounded(prefix, &format!("{}__{ip}/{}", base(name), endpoint.port()))
}

fn base(name: &PortName) -> String {
    format!("{}/{}/{}/{}", name.namespace, name.service, name.protocol.word(), name.port)
}

/// Cuts names that are too long, and keeps them apart by a hash of the whole.
fn bounded(prefix: &str, name: &str) -> String {
    if name.len() <= MAX {
        return format!("{prefix}-{name}");
    }
    format!("{prefix}-{}-{:016x}", &name[..MAX - 17], hash(name))
}

/// FNV-1a, which is the same in every process.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
