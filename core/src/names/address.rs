//! IP addresses and networks.

use super::{Messages, one};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const NO_NETWORK: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// Parses an address as the original's old parser does: IPv4 octets may have leading zeros.
#[must_use]
pub fn parse_ip_sloppy(value: &str) -> Option<IpAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let start = value.rfind(':').map_or(0, |colon| colon + 1);
    let (head, dotted) = value.split_at(start);
    if !dotted.contains('.') {
        return None;
    }
    let octets: Option<Vec<_>> = dotted.split('.').map(without_leading_zeros).collect();
    format!("{head}{}", octets?.join(".")).parse().ok()
}

fn without_leading_zeros(octet: &str) -> Option<&str> {
    let trimmed = octet.trim_start_matches('0');
    match (octet.is_empty(), trimmed.is_empty()) {
        (true, _) => None,
        (_, true) => Some("0"),
        _ => Some(trimmed),
    }
}

/// Parses a network as the original's old parser does: the address and its prefix length, bits below the
/// prefix kept.
#[must_use]
pub fn parse_cidr_sloppy(value: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = value.split_once('/')?;
    let address = parse_ip_sloppy(address)?;
    if length.is_empty() || length.len() > 8 || !length.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let length: u32 = length.parse().ok()?;
    let limit = if address.is_ipv4() { 32 } else { 128 };
    (length <= limit).then_some((address, u8::try_from(length).ok()?))
}

/// An address as Go prints it: IPv4-mapped ones as IPv4.
#[must_use]
pub fn print_ip(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// A network as Go prints it, bits below the prefix cleared.
#[must_use]
pub fn print_cidr(address: IpAddr, length: u8) -> String {
    let masked = mask(address, length);
    match masked {
        IpAddr::V6(v6) if length >= 96 => match v6.to_ipv4_mapped() {
            Some(v4) => format!("{v4}/{}", length - 96),
            None => format!("{masked}/{length}"),
        },
        _ => format!("{masked}/{length}"),
    }
}

/// Clears the bits below the prefix.
#[must_use]
pub fn mask(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let keep = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & keep))
        }
        IpAddr::V6(v6) => {
            let keep = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & keep))
        }
    }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

fn strict_ip(value: &str) -> Result<IpAddr, Messages> {
    let address = parse_ip_sloppy(value).ok_or_else(|| vec![NO_ADDRESS.to_owned()])?;
    let mut found = one(value.parse::<IpAddr>().is_ok(), || "must not have leading 0s".to_owned());
    if found.is_empty() && is_mapped(address) {
        found.push("must not be an IPv4-mapped IPv6 address".to_owned());
    }
    if found.is_empty() { Ok(address) } else { Err(found) }
}

/// An address in canonical form, for fields made since strict validation.
#[must_use]
pub fn is_valid_ip(value: &str) -> Messages {
    match strict_ip(value) {
        Err(found) => found,
        Ok(address) => {
            let canonical = print_ip(address);
            one(value == canonical, || format!("must be in canonical form ({canonical:?})"))
        }
    }
}

/// An address in a field older than strict validation: any form, but neither leading zeros nor IPv4-mapped.
#[must_use]
pub fn is_valid_ip_for_legacy_field(value: &str) -> Messages {
    strict_ip(value).err().unwrap_or_default()
}

fn strict_cidr(value: &str) -> Result<(IpAddr, u8), Messages> {
    let (address, length) = parse_cidr_sloppy(value).ok_or_else(|| vec![NO_NETWORK.to_owned()])?;
    let plain = value.split_once('/').is_some_and(|(text, digits)| {
        text.parse::<IpAddr>().is_ok() && (digits == "0" || !digits.starts_with('0'))
    });
    if !plain {
        return Err(vec!["must not have leading 0s in IP or prefix length".to_owned()]);
    }
    if is_mapped(address) {
        return Err(vec!["must not have an IPv4-mapped IPv6 address".to_owned()]);
    }
    if mask(address, length) != address {
        return Err(vec!["must not have bits set beyond the prefix length".to_owned()]);
    }
    Ok((address, length))
}

/// A network in canonical form, for fields made since strict validation.
#[must_use]
pub fn is_valid_cidr(value: &str) -> Messages {
    match strict_cidr(value) {
        Err(found) => found,
        Ok((address, length)) => {
            let canonical = print_cidr(address, length);
            one(value == canonical, || format!("must be in canonical form ({canonical:?})"))
        }
    }
}

/// A network in a field older than strict validation.
#[must_use]
pub fn is_valid_cidr_for_legacy_field(value: &str) -> Messages {
    strict_cidr(value).err().unwrap_or_default()
}

/// An address with its prefix length, in canonical form: `192.168.1.5/24`.
#[must_use]
pub fn is_valid_interface_address(value: &str) -> Messages {
    let Some((address, length)) = parse_cidr_sloppy(value) else {
        return vec![
            "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)".to_owned(),
        ];
    };
    let length = if is_mapped(address) && length > 32 { length.saturating_sub(96) } else { length };
    let canonical = format!("{}/{length}", print_ip(address));
    one(value == canonical, || format!("must be in canonical form ({canonical:?})"))
}

/// The warning about an address in an unusual form that an older field accepts; `path` names the field.
#[must_use]
pub fn warning_for_ip(path: &str, value: &str) -> Option<String> {
    let address = parse_ip_sloppy(value)?;
    if value.parse::<IpAddr>().is_err() || is_mapped(address) {
        let better = print_ip(address);
        return Some(format!(
            "{path}: non-standard IP address {value:?} is invalid: use {better:?}"
        ));
    }
    let canonical = address.to_string();
    (address.is_ipv6() && canonical != value).then(|| {
        format!(
            "{path}: IPv6 address {value:?} should be in RFC 5952 canonical format ({canonical:?})"
        )
    })
}

/// The warnings about a network in an unusual form that an older field accepts; `path` names the field.
#[must_use]
pub fn warnings_for_cidr(path: &str, value: &str) -> Messages {
    let Some((address, length)) = parse_cidr_sloppy(value) else {
        return Vec::new();
    };
    let canonical = print_cidr(address, length);
    let mut found = Vec::new();
    if mask(address, length) != address {
        let single = format!("{}/{}", print_ip(address), if address.is_ipv4() { 32 } else { 128 });
        found.push(format!(
            "{path}: CIDR value {value:?} is ambiguous in this context (should be {canonical:?} or {single:?}?)"
        ));
    }
    let plain = value.split_once('/').is_some_and(|(text, digits)| {
        text.parse::<IpAddr>().is_ok() && (digits == "0" || !digits.starts_with('0'))
    });
    if !plain || is_mapped(address) {
        found.push(format!(
            "{path}: non-standard CIDR value {value:?} is invalid: use {canonical:?}"
        ));
    }
    let printed = format!("{address}/{length}");
    if found.is_empty() && address.is_ipv6() && printed != value {
        found.push(format!(
            "{path}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format ({printed:?})"
        ));
    }
    found
}
