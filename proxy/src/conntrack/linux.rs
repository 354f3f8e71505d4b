//! The flows of Linux, through netlink.

use super::UdpPorts;
use crate::ruleset::Family;
use rustix::{
    fd::OwnedFd,
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind,
        netlink::{self, SocketAddrNetlink},
        recv, send, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

const GET: u16 = 0x0101;
const DELETE: u16 = 0x0102;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Lengths of the netlink header and of netfilter's own after it.
const HEADER: usize = 16;
const BODY: usize = HEADER + 4;
const UDP: u8 = 17;
/// Bits of an attribute's type that are no part of it.
const TYPE: u16 = 0x3fff;
const NESTED: u16 = 0x8000;
/// The kernel answers at once or not at all.
const PATIENCE: Duration = Duration::from_secs(5);

impl UdpPorts {
    /// Whether a flow goes where none of its service's endpoints is.
    fn is_stale(&self, flow: &Flow) -> bool {
        if let Some(endpoints) = self.addresses.get(&flow.to) {
            return !endpoints.contains(&flow.answered_by);
        }
        let rewritten = flow.to.ip() != flow.answered_by.ip();
        let endpoints = self.node_ports.get(&flow.to.port()).filter(|_| rewritten);
        endpoints.is_some_and(|endpoints| !endpoints.contains(&flow.answered_by))
    }
}

/// A flow the kernel knows.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    /// The destination the client wrote to.
    to: SocketAddr,
    /// Who answers.
    answered_by: SocketAddr,
    /// The flow's name, as the kernel wrote it.
    tuple: Vec<u8>,
}

/// Forgets the stale flows of a family and says how many. Blocks for a moment.
pub(crate) fn forget_stale(family: Family, ports: &UdpPorts) -> io::Result<usize> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::NETFILTER),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    let mut stale = Vec::new();
    send(&socket, &message(GET, REQUEST | DUMP, family, &[]), SendFlags::empty())?;
    answers(&socket, |body| stale.extend(flow(body).filter(|flow| ports.is_stale(flow))))?;
    for flow in &stale {
        let attribute = attribute(1 | NESTED, &flow.tuple);
        let message = message(DELETE, REQUEST | ACKNOWLEDGE, family, &attribute);
        send(&socket, &message, SendFlags::empty())?;
        match answers(&socket, |_| {}) {
            // It ended by itself meanwhile.
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
            other => other?,
        }
    }
    Ok(stale.len())
}

fn message(kind: u16, flags: u16, family: Family, attributes: &[u8]) -> Vec<u8> {
    let length = (BODY + attributes.len()) as u32;
    let mut message = Vec::with_capacity(BODY + attributes.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    let family = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    message.extend([family.as_raw() as u8, 0, 0, 0]);
    message.extend(attributes);
    message
}

fn attribute(kind: u16, content: &[u8]) -> Vec<u8> {
    let length = (4 + content.len()) as u16;
    let mut attribute = Vec::with_capacity(4 + content.len());
    attribute.extend(length.to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(content);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

/// Reads messages until the kernel says that there are no more.
fn answers(socket: &OwnedFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (length, _) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, message, after)) = next_message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => return outcome(message),
                _ => each(message.get(BODY..).unwrap_or_default()),
            }
            rest = after;
        }
    }
}

fn next_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let message = bytes.get(..length).filter(|message| message.len() >= HEADER)?;
    Some((kind, message, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// An acknowledgement is an error without a number.
fn outcome(message: &[u8]) -> io::Result<()> {
    let code = message.get(HEADER..HEADER + 4).and_then(|code| code.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(code) => Err(io::Error::from_raw_os_error(-code)),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?) & TYPE;
        let content = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, content))
    })
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, content)| content)
}

/// A UDP flow of a dumped message.
fn flow(body: &[u8]) -> Option<Flow> {
    let original = find(body, 1)?;
    let (_, to) = ends(original)?;
    let (answered_by, _) = ends(find(body, 2)?)?;
    Some(Flow { to, answered_by, tuple: original.to_vec() })
}

/// Source and destination of a UDP tuple.
fn ends(tuple: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (addresses, protocol) = (find(tuple, 1)?, find(tuple, 2)?);
    if find(protocol, 1)? != [UDP] {
        return None;
    }
    let ip = |v4, v6| find(addresses, v4).or_else(|| find(addresses, v6)).and_then(address);
    let port = |kind| Some(u16::from_be_bytes(find(protocol, kind)?.try_into().ok()?));
    Some((SocketAddr::new(ip(1, 3)?, port(2)?), SocketAddr::new(ip(2, 4)?, port(3)?)))
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into()).ok();
    v4.or_else(|| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn tuple(from: [u8; 4], to: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
        let addresses = [attribute(1, &from), attribute(2, &to)].concat();
        let protocol = [
            attribute(1, &[UDP]),
            attribute(2, &ports.0.to_be_bytes()),
            attribute(3, &ports.1.to_be_bytes()),
        ];
        [attribute(1 | NESTED, &addresses), attribute(2 | NESTED, &protocol.concat())].concat()
    }

    #[test]
    fn flows_to_endpoints_that_are_gone_are_stale() {
        let original = tuple([10, 0, 0, 1], [10, 96, 0, 11], (4000, 53));
        let reply = tuple([10, 244, 1, 10], [10, 0, 0, 1], (8080, 4000));
        let body = [attribute(1 | NESTED, &original), attribute(2 | NESTED, &reply)].concat();
        let flow = flow(&body).unwrap();
        assert_eq!(flow.to, "10.96.0.11:53".parse().unwrap());
        assert_eq!(flow.answered_by, "10.244.1.10:8080".parse().unwrap());

        let ports = |endpoint: &str| UdpPorts {
            addresses: [(flow.to, [endpoint.parse().unwrap()].into())].into(),
            node_ports: BTreeMap::new(),
        };
        assert!(!ports("10.244.1.10:8080").is_stale(&flow));
        assert!(ports("10.244.2.10:8080").is_stale(&flow));
        assert!(!UdpPorts::default().is_stale(&flow));
    }

    #[test]
    fn what_is_cut_short_is_no_flow() {
        let original = tuple([10, 0, 0, 1], [10, 96, 0, 11], (4000, 53));
        let body = attribute(1 | NESTED, &original);
        for length in 0..body.len() {
            assert_eq!(flow(&body[..length]), None);
        }
    }
}
