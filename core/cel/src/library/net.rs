//! Addresses and networks.

use super::{Function, Out, fails, overload, text};
use crate::{
    fault::Fault,
    value::{Extra, Value},
};
use kubeplane_core::{field::go_quote, names::address::mask};
use std::{fmt, net::IpAddr};

/// A network: an address and how many of its bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    pub(crate) address: IpAddr,
    pub(crate) bits: u8,
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Prefix {
    /// The address without the bits that do not count.
    fn masked(self) -> Self {
        Self { address: mask(self.address, self.bits), ..self }
    }

    fn contains(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Self { address, ..self }.masked() == self.masked()
    }
}

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "ip" => |args| match &args[0] {
            Value::Extra(Extra::Cidr(prefix)) => Ok(Value::Extra(Extra::Ip(prefix.address))),
            _ => Ok(Value::Extra(Extra::Ip(parse(text(args, 0)?)?))),
        },
        "isIP" => |args| Ok(Value::Bool(parse(text(args, 0)?).is_ok())),
        "ip.isCanonical" => |args| {
            let written = text(args, 0)?;
            Ok(Value::Bool(parse(written)?.to_string() == written))
        },
        "family" => |args| Ok(Value::Int(if ip(args, 0)?.is_ipv4() { 4 } else { 6 })),
        "isUnspecified" => |args| Ok(Value::Bool(ip(args, 0)?.is_unspecified())),
        "isLoopback" => |args| Ok(Value::Bool(ip(args, 0)?.is_loopback())),
        "isLinkLocalMulticast" => |args| Ok(Value::Bool(is_local_multicast(ip(args, 0)?))),
        "isLinkLocalUnicast" => |args| Ok(Value::Bool(is_local(ip(args, 0)?))),
        "isGlobalUnicast" => |args| Ok(Value::Bool(is_global(ip(args, 0)?))),
        "cidr" => |args| match network(text(args, 0)?) {
            Ok(prefix) => Ok(Value::Extra(Extra::Cidr(prefix))),
            Err(fault) => {
                fails(format!("network address parse error during conversion from string: {fault}"))
            }
        },
        "isCIDR" => |args| Ok(Value::Bool(network(text(args, 0)?).is_ok())),
        "masked" => |args| Ok(Value::Extra(Extra::Cidr(cidr(args, 0)?.masked()))),
        "prefixLength" => |args| Ok(Value::Int(i64::from(cidr(args, 0)?.bits))),
        "containsIP" => contains_ip,
        "containsCIDR" => contains_network,
        _ => return None,
    })
}

fn ip(args: &[Value<'_>], index: usize) -> Result<IpAddr, Fault> {
    match args.get(index) {
        Some(Value::Extra(Extra::Ip(address))) => Ok(*address),
        _ => overload(),
    }
}

fn cidr(args: &[Value<'_>], index: usize) -> Result<Prefix, Fault> {
    match args.get(index) {
        Some(Value::Extra(Extra::Cidr(prefix))) => Ok(*prefix),
        _ => overload(),
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn parse(raw: &str) -> Result<IpAddr, Fault> {
    let quoted = go_quote(raw);
    if let Some((address, zone)) = raw.split_once('%')
        && address.contains(':')
        && !zone.is_empty()
        && address.parse::<IpAddr>().is_ok()
    {
        return fails(format!("IP address {quoted} with zone value is not allowed"));
    }
    let Ok(address) = raw.parse::<IpAddr>() else {
        return fails(format!(
            "IP Address {quoted} parse error during conversion from string: ParseAddr({quoted}): {}",
            why_no_address(raw)
        ));
    };
    match is_mapped(address) {
        true => fails(format!("IPv4-mapped IPv6 address {quoted} is not allowed")),
        false => Ok(address),
    }
}

/// Whether an address, which may have a zone, is one of version 4.
///
/// # Errors
/// What Go says of a text that is none.
pub(super) fn is_version_4(raw: &str) -> Result<bool, String> {
    let (address, zone) = raw.split_once('%').map_or((raw, None), |(a, zone)| (a, Some(zone)));
    match address.parse::<IpAddr>() {
        Ok(found) if zone.is_none_or(|zone| found.is_ipv6() && !zone.is_empty()) => {
            Ok(found.is_ipv4())
        }
        _ => Err(format!("ParseAddr({}): {}", go_quote(raw), why_no_address(raw))),
    }
}

/// What Go says of a text that is no address.
fn why_no_address(raw: &str) -> String {
    match raw.find(['.', ':', '%']) {
        None => return "unable to parse IP".to_owned(),
        Some(at) if raw[at..].starts_with('%') => return "missing IPv6 address".to_owned(),
        Some(at) if raw[at..].starts_with(':') => {
            return format!("unexpected character, want colon (at {})", go_quote(raw));
        }
        Some(_) => {}
    }
    let (mut value, mut digits, mut fields) = (0_u32, 0, 0);
    for (at, c) in raw.char_indices() {
        match c {
            '0'..='9' if digits == 1 && value == 0 => {
                return "IPv4 field has octet with leading zero".to_owned();
            }
            '0'..='9' => {
                value = value * 10 + c.to_digit(10).unwrap_or_default();
                digits += 1;
                if value > 255 {
                    return "IPv4 field has value >255".to_owned();
                }
            }
            '.' if digits == 0 || at + 1 == raw.len() => {
                let rest = go_quote(&raw[at..]);
                return format!("IPv4 field must have at least one digit (at {rest})");
            }
            '.' if fields == 3 => return "IPv4 address too long".to_owned(),
            '.' => (value, digits, fields) = (0, 0, fields + 1),
            _ => return format!("unexpected character (at {})", go_quote(&raw[at..])),
        }
    }
    "IPv4 address too short".to_owned()
}

fn network(raw: &str) -> Result<Prefix, Fault> {
    let quoted = go_quote(raw);
    let wrong = |why: &str| {
        fails(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({quoted}): {why}"
        ))
    };
    let Some((address, bits)) = raw.rsplit_once('/') else { return wrong("no '/'") };
    let Ok(address) = address.parse::<IpAddr>() else {
        let why = why_no_address(address);
        return wrong(&format!("ParseAddr({}): {why}", go_quote(address)));
    };
    if is_mapped(address) {
        return fails(format!("IPv4-mapped IPv6 address {quoted} is not allowed"));
    }
    let plain = !bits.is_empty()
        && bits.bytes().all(|byte| byte.is_ascii_digit())
        && (bits.len() == 1 || !bits.starts_with('0'));
    let most = if address.is_ipv4() { 32 } else { 128 };
    match (bits.parse::<i64>(), bits.parse::<u8>()) {
        (Ok(_), Ok(bits)) if plain && bits <= most => Ok(Prefix { address, bits }),
        (Ok(_), _) if plain => wrong("prefix length out of range"),
        _ => wrong(&format!("bad bits after slash: {}", go_quote(bits))),
    }
}

fn is_local_multicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    }
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn is_global(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified()
        || is_broadcast
        || address.is_loopback()
        || address.is_multicast()
        || is_local(address))
}

fn contains_ip<'a>(args: &[Value<'a>]) -> Out<'a> {
    let prefix = cidr(args, 0)?;
    let address = match &args[1] {
        Value::String(text) => parse(text.as_str())?,
        _ => ip(args, 1)?,
    };
    Ok(Value::Bool(prefix.contains(address)))
}

fn contains_network<'a>(args: &[Value<'a>]) -> Out<'a> {
    let prefix = cidr(args, 0)?;
    let other = match &args[1] {
        Value::String(text) => network(text.as_str()).map_err(|fault| {
            Fault::new(format!(
                "network address parse error during conversion from string: {fault}"
            ))
        })?,
        _ => cidr(args, 1)?,
    };
    Ok(Value::Bool(prefix.bits <= other.bits && prefix.contains(other.address)))
}
