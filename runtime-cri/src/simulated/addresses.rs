use crate::{Error, Result};
use ipnet::IpNet;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The addresses sandboxes get, one of each range.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    ranges: Vec<Range>,
    taken: BTreeSet<IpAddr>,
}

#[derive(Debug)]
struct Range {
    net: IpNet,
    /// The offset of the address tried next, so that one given back is not given out again at once.
    next: u128,
}

/// The first address of a range is the network, the second one the gateway.
const FIRST: u128 = 2;

impl Addresses {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let ranges = text
            .split(',')
            .map(|part| {
                let net = part
                    .trim()
                    .parse::<IpNet>()
                    .map_err(|error| Error::invalid(format!("pod range {part:?}: {error}")))?;
                Ok(Range { net: net.trunc(), next: FIRST })
            })
            .collect::<Result<_>>()?;
        Ok(Self { ranges, taken: BTreeSet::new() })
    }

    /// Takes other ranges; addresses that are taken stay so.
    pub(super) fn replace(&mut self, other: Self) {
        let same = self.ranges.iter().map(|range| range.net).eq(other.ranges.iter().map(|r| r.net));
        if !same {
            self.ranges = other.ranges;
        }
    }

    /// One address of each range.
    pub(super) fn take(&mut self) -> Result<Vec<String>> {
        let mut given = Vec::new();
        for range in &mut self.ranges {
            let free = range.free(&self.taken).ok_or_else(|| Error::ResourceExhausted {
                message: format!("no address is free in {}", range.net),
            })?;
            given.push(free);
        }
        self.taken.extend(&given);
        Ok(given.iter().map(IpAddr::to_string).collect())
    }

    pub(super) fn give_back(&mut self, addresses: &[String]) {
        for address in addresses.iter().filter_map(|address| address.parse().ok()) {
            self.taken.remove(&address);
        }
    }
}

impl Range {
    fn free(&mut self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        // The last address of a range is for broadcasts.
        let size = 1_u128.checked_shl(u32::from(self.net.max_prefix_len() - self.net.prefix_len()));
        let last = size.unwrap_or(u128::MAX).saturating_sub(1);
        let tries = last.saturating_sub(FIRST).min(taken.len() as u128 + 1);
        for _ in 0..tries {
            if self.next >= last {
                self.next = FIRST;
            }
            let address = at(&self.net, self.next);
            self.next += 1;
            if !taken.contains(&address) {
                return Some(address);
            }
        }
        None
    }
}

fn at(net: &IpNet, offset: u128) -> IpAddr {
    match net {
        IpNet::V4(net) => {
            let offset = u32::try_from(offset).unwrap_or_default();
            Ipv4Addr::from_bits(net.network().to_bits().wrapping_add(offset)).into()
        }
        IpNet::V6(net) => Ipv6Addr::from_bits(net.network().to_bits().wrapping_add(offset)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_gives_each_address_once_until_it_comes_back() {
        let mut addresses = Addresses::parse("10.1.0.0/29, fd00::/64").unwrap();
        let first = addresses.take().unwrap();
        assert_eq!(first, ["10.1.0.2", "fd00::2"]);
        let rest: Vec<_> = std::iter::from_fn(|| addresses.take().ok()).collect();
        assert_eq!(rest.len(), 4);
        addresses.give_back(&first);
        assert_eq!(addresses.take().unwrap()[0], "10.1.0.2");
        assert!(Addresses::parse("ten").is_err());
    }
}
