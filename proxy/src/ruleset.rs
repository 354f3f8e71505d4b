//! The desired rules of one IP family, as plain data.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The name of the tables.
pub(crate) const TABLE: &str = "kubeplane-proxy";

/// An IP family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The nftables family, which is also the word for its header fields.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// The nftables type of an address.
    pub(crate) fn address(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    /// As in Services and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    pub(crate) fn has(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == (self == Self::V4)
    }
}

/// A chain: its hook, if netfilter calls it, and its rules in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) hook: Option<&'static str>,
    pub(crate) rules: Vec<String>,
}

/// A set: its type and flags, and its members (none for sets that packets fill).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) definition: String,
    pub(crate) members: BTreeSet<String>,
}

/// A verdict map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) definition: String,
    pub(crate) verdicts: BTreeMap<String, String>,
}

/// Everything in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) family: Family,
    pub(crate) chains: BTreeMap<String, Chain>,
    pub(crate) sets: BTreeMap<String, Set>,
    pub(crate) maps: BTreeMap<String, Map>,
}

impl Ruleset {
    /// An empty table.
    pub(crate) fn new(family: Family) -> Self {
        Self { family, chains: BTreeMap::new(), sets: BTreeMap::new(), maps: BTreeMap::new() }
    }

    /// Adds a rule to a chain, which is made if it does not exist.
    pub(crate) fn rule(&mut self, chain: &str, rule: impl Into<String>) {
        self.chains.entry(chain.to_owned()).or_default().rules.push(rule.into());
    }

    /// Adds a member to a set, which is made without definition if it does not exist.
    pub(crate) fn member(&mut self, set: &str, member: String) {
        self.sets.entry(set.to_owned()).or_default().members.insert(member);
    }

    /// Adds a verdict to a map. The first one of a key stays.
    pub(crate) fn verdict(&mut self, map: &str, key: String, verdict: String) {
        self.maps.entry(map.to_owned()).or_default().verdicts.entry(key).or_insert(verdict);
    }
}
