//! The object in which the node ports in use are kept, in the original's own form and place.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use kubeplane_core::protobuf;
use serde_json::Value;
use std::{collections::BTreeSet, ops::RangeInclusive};

const METADATA: u64 = 1;
const RANGE: u64 = 2;
const DATA: u64 = 3;
const BYTES: u64 = 2;

/// Ports of a range that are in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortRange {
    ports: RangeInclusive<u16>,
    used: BTreeSet<u16>,
}

impl PortRange {
    pub(super) fn new(ports: &RangeInclusive<u16>) -> Self {
        Self { ports: ports.clone(), used: BTreeSet::new() }
    }

    /// What is stored, in `ports`: what lies outside them, as another server with other options left it, is dropped.
    /// `None` when it cannot be read.
    pub(super) fn decode(stored: &[u8], ports: &RangeInclusive<u16>) -> Option<Self> {
        let (range, data) = match protobuf::unwrap(stored) {
            Ok(unknown) => message(unknown.raw)?,
            Err(_) => json(stored)?,
        };
        let first: u16 = range.split('-').next()?.parse().ok()?;
        let mut found = Self::new(ports);
        for (index, byte) in data.iter().rev().enumerate() {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                let offset = u16::try_from(index * 8 + bit).ok()?;
                found.used.extend(first.checked_add(offset).filter(|port| ports.contains(port)));
            }
        }
        Some(found)
    }

    /// In the form the original stores.
    pub(super) fn encode(&self) -> Vec<u8> {
        let first = *self.ports.start();
        let highest = self.used.last().map_or(0, |port| usize::from(port - first) / 8 + 1);
        let mut data = vec![0u8; highest];
        for port in &self.used {
            let offset = usize::from(port - first);
            if let Some(byte) = data.iter_mut().rev().nth(offset / 8) {
                *byte |= 1 << (offset % 8);
            }
        }
        let mut raw = Vec::new();
        put(&mut raw, METADATA, &[]);
        put(&mut raw, RANGE, self.text().as_bytes());
        put(&mut raw, DATA, &data);
        protobuf::wrap("v1", "RangeAllocation", &raw)
    }

    /// The range itself, as errors name it.
    pub(super) fn text(&self) -> String {
        format!("{}-{}", self.ports.start(), self.ports.end())
    }

    pub(super) fn used(&self) -> &BTreeSet<u16> {
        &self.used
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// `false` when it was in use; ports outside the range are nobody's.
    pub(super) fn take(&mut self, port: u16) -> bool {
        self.contains(port) && self.used.insert(port)
    }

    pub(super) fn release(&mut self, port: u16) {
        self.used.remove(&port);
    }

    /// Takes a port nobody chose, from the upper part of the range first, which leaves the lower to those who choose
    /// theirs (KEP-3668). `below` is a random number below its argument.
    pub(super) fn take_any(&mut self, below: impl Fn(u64) -> u64) -> Option<u16> {
        let size = u64::from(self.ports.end() - self.ports.start()) + 1;
        let lower = if size <= 16 { 0 } else { (size / 32).clamp(16, 128) };
        for (first, length) in [(lower, size - lower), (0, lower)] {
            if length == 0 {
                continue;
            }
            let start = below(length);
            let offsets = (0..length).map(|step| first + (start + step) % length);
            let mut ports = offsets
                .filter_map(|offset| self.ports.start().checked_add(u16::try_from(offset).ok()?));
            let free = ports.find(|port| !self.used.contains(port));
            if let Some(port) = free {
                self.used.insert(port);
                return Some(port);
            }
        }
        None
    }
}

fn json(stored: &[u8]) -> Option<(String, Vec<u8>)> {
    let value: Value = serde_json::from_slice(stored).ok()?;
    let data = BASE64_STANDARD.decode(value["data"].as_str().unwrap_or_default()).ok()?;
    Some((value["range"].as_str()?.to_owned(), data))
}

/// The range and the bits of a `RangeAllocation`.
fn message(mut raw: &[u8]) -> Option<(String, Vec<u8>)> {
    let (mut range, mut data) = (String::new(), Vec::new());
    while !raw.is_empty() {
        let key = varint(&mut raw)?;
        if key & 7 != BYTES {
            return None;
        }
        let length = usize::try_from(varint(&mut raw)?).ok()?;
        let (value, rest) = raw.split_at_checked(length)?;
        raw = rest;
        match key >> 3 {
            RANGE => range = String::from_utf8(value.to_vec()).ok()?,
            DATA => data = value.to_vec(),
            _ => {}
        }
    }
    Some((range, data))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn put(message: &mut Vec<u8>, field: u64, value: &[u8]) {
    for mut number in [field << 3 | BYTES, value.len() as u64] {
        while number >= 0x80 {
            message.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        message.push(number as u8);
    }
    message.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: RangeInclusive<u16> = 30_000..=32_767;

    #[test]
    fn what_is_stored_reads_back_in_both_forms() {
        let mut range = PortRange::new(&PORTS);
        assert_eq!(PortRange::decode(&range.encode(), &PORTS), Some(range.clone()));
        for port in [30_000, 30_009, 32_767] {
            assert!(range.take(port) && !range.take(port));
        }
        assert!(!range.take(29_999));
        let stored = range.encode();
        assert_eq!(PortRange::decode(&stored, &PORTS), Some(range));
        // Bits 0 and 9, the highest byte first.
        let json =
            br#"{"kind":"RangeAllocation","apiVersion":"v1","range":"30000-32767","data":"AgE="}"#;
        let read = PortRange::decode(json, &PORTS).unwrap();
        assert_eq!(read.used().iter().copied().collect::<Vec<_>>(), [30_000, 30_009]);
        let narrow = PortRange::decode(&stored, &(30_005..=30_010)).unwrap();
        assert_eq!(narrow.used().iter().copied().collect::<Vec<_>>(), [30_009]);
        assert_eq!(PortRange::decode(b"k8s\0\xff", &PORTS), None);
    }

    #[test]
    fn every_port_is_granted_once_the_upper_ones_first() {
        let ports = 30_000..=30_039;
        let mut range = PortRange::new(&ports);
        let mut granted = BTreeSet::new();
        for round in 0..40 {
            let port = range.take_any(|below| 7 % below).unwrap();
            assert!(granted.insert(port));
            assert_eq!(port >= 30_016, round < 24, "{port}");
        }
        assert_eq!(range.take_any(|below| 7 % below), None);
        range.release(30_005);
        assert_eq!(range.take_any(|_| 0), Some(30_005));
    }
}
