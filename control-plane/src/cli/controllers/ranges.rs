//! Flags of the ranges that nodes get for their pods, with the original's names.

use clap::{ArgAction, Args};
use ipnet::IpNet;
use kubeplane::controllers::Settings;

/// Which part of which range a node gets for its pods.
#[derive(Debug, Clone, Args)]
pub(crate) struct RangeArgs {
    /// The ranges, one or one of each family, from which each node gets a part for its pods; without any the nodes'
    /// kubelets say theirs.
    #[arg(long, value_delimiter = ',')]
    cluster_cidr: Vec<IpNet>,
    /// Whether nodes get parts of these ranges, as they do by default where there are any.
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1,
        default_missing_value = "true")]
    allocate_node_cidrs: Option<bool>,
    /// How nodes get them; only RangeAllocator needs no cloud.
    #[arg(long, value_name = "NAME", default_value = "RangeAllocator")]
    cidr_allocator_type: String,
    /// How many bits of an address are those of a node's range, where there is one range: 24 of IPv4 and 64 of IPv6 by default.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(..=128))]
    node_cidr_mask_size: Option<u8>,
    /// How many bits of an IPv4 address are; 24 by default.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(..=32))]
    node_cidr_mask_size_ipv4: Option<u8>,
    /// How many bits of an IPv6 address are; 64 by default.
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(..=128))]
    node_cidr_mask_size_ipv6: Option<u8>,
    /// Ranges, two at most, of which no node gets a part, beside those of ServiceCIDRs.
    #[arg(long, value_name = "RANGES", value_delimiter = ',')]
    service_cluster_ip_range: Vec<IpNet>,
}

impl RangeArgs {
    /// From which nodes get parts.
    pub(super) fn given(&self) -> &[IpNet] {
        if self.allocate_node_cidrs == Some(false) { &[] } else { &self.cluster_cidr }
    }

    pub(super) fn problem_of_services(&self) -> Option<String> {
        let text = "--service-cluster-ip-range can not contain more than two entries";
        (self.service_cluster_ip_range.len() > 2).then(|| text.to_owned())
    }

    pub(super) fn problem_of_allocator(&self) -> Option<String> {
        let own = self.cidr_allocator_type.as_str();
        let text = "built-in cloud providers are disabled. The ipam";
        (!matches!(own, "" | "RangeAllocator")).then(|| format!("{text} {own} is not available"))
    }

    /// Notes what is said, or tells what is wrong with it where nodes get parts.
    pub(super) fn note(&self, settings: &mut Settings) -> Result<(), String> {
        let ranges = self.given();
        let said = |own: Option<u8>| own.filter(|bits| *bits != 0);
        let one = said(self.node_cidr_mask_size);
        let (v4, v6) = (said(self.node_cidr_mask_size_ipv4), said(self.node_cidr_mask_size_ipv6));
        match ranges {
            [] if self.allocate_node_cidrs == Some(true) => {
                return Err("--allocate-node-cidrs requires --cluster-cidr".to_owned());
            }
            [] => {}
            [own] => single(is_six(own), one.is_some(), (v4.is_some(), v6.is_some()))?,
            all => several(all.len(), all.iter().filter(|own| is_six(own)).count(), one.is_some())?,
        }
        settings.node_cidr_mask_size_ipv4 = one.or(v4).unwrap_or(24).min(32);
        settings.node_cidr_mask_size_ipv6 = one.or(v6).unwrap_or(64);
        let (v4, v6) = (settings.node_cidr_mask_size_ipv4, settings.node_cidr_mask_size_ipv6);
        if ranges.iter().any(|own| own.prefix_len() > if is_six(own) { v6 } else { v4 }) {
            return Err(
                "Controller: Invalid --cluster-cidr, mask size of cluster CIDR must be less \
                than or equal to --node-cidr-mask-size configured for CIDR family"
                    .to_owned(),
            );
        }
        settings.service_cluster_ip_ranges.clone_from(&self.service_cluster_ip_range);
        Ok(())
    }
}

fn is_six(range: &IpNet) -> bool {
    matches!(range, IpNet::V6(_))
}

/// Whether the sizes fit one range.
fn single(is_six: bool, one: bool, (v4, v6): (bool, bool)) -> Result<(), String> {
    let wrong = if one && (v4 || v6) {
        "usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if \
         --node-cidr-mask-size is set. For dual-stack clusters please unset it and use IPFamily \
         specific flags"
    } else if v4 && is_six {
        "usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster"
    } else if v6 && !is_six {
        "usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster"
    } else {
        return Ok(());
    };
    Err(wrong.to_owned())
}

/// Whether the size fits several ranges, of which so many are of IPv6.
fn several(count: usize, six: usize, one: bool) -> Result<(), String> {
    if six == 0 || six == count {
        return Err(format!(
            "len of ClusterCIDRs=={count} and they are not configured as dual stack (at least one \
             from each IPFamily"
        ));
    }
    if count > 2 {
        return Err(format!("length of clusterCIDRs is:{count} more than max allowed of 2"));
    }
    if one {
        return Err("usage of --node-cidr-mask-size is not allowed with dual-stack clusters".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        ranges: RangeArgs,
    }

    fn noted(flags: &str) -> Result<(Settings, Vec<IpNet>), String> {
        let line = Line::try_parse_from(["kubeplane"].into_iter().chain(flags.split_whitespace()));
        let ranges = line.map_err(|error| error.to_string())?.ranges;
        let mut settings = Settings::default();
        ranges.note(&mut settings)?;
        Ok((settings, ranges.given().to_vec()))
    }

    #[test]
    fn sizes_are_those_of_the_ranges() {
        for (flags, sizes, count) in [
            ("", (24, 64), 0),
            ("--cluster-cidr=10.8.0.0/16 --node-cidr-mask-size=26", (26, 26), 1),
            ("--cluster-cidr=10.8.0.0/16 --node-cidr-mask-size-ipv4=0", (24, 64), 1),
            ("--cluster-cidr=fd00::/100 --node-cidr-mask-size=112", (32, 112), 1),
            ("--cluster-cidr=10.8.0.0/16,fd00::/48 --node-cidr-mask-size-ipv6=80", (24, 80), 2),
            ("--cluster-cidr=10.8.0.0/16 --allocate-node-cidrs=false", (24, 64), 0),
            ("--allocate-node-cidrs --cluster-cidr=10.8.0.0/16", (24, 64), 1),
        ] {
            let (settings, ranges) = noted(flags).unwrap();
            let found = (settings.node_cidr_mask_size_ipv4, settings.node_cidr_mask_size_ipv6);
            assert_eq!((found, ranges.len()), (sizes, count), "{flags}");
        }
        let (settings, _) = noted("--service-cluster-ip-range=10.96.0.0/12,fd01::/112").unwrap();
        assert_eq!(settings.service_cluster_ip_ranges.len(), 2);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        for (flags, error) in [
            ("--allocate-node-cidrs=true", "--allocate-node-cidrs requires --cluster-cidr"),
            (
                "--cluster-cidr=10.8.0.0/16,fd00::/48 --node-cidr-mask-size=26",
                "usage of --node-cidr-mask-size is not allowed with dual-stack clusters",
            ),
            (
                "--cluster-cidr=10.8.0.0/16 --node-cidr-mask-size-ipv6=80",
                "usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster",
            ),
            (
                "--cluster-cidr=fd00::/48 --node-cidr-mask-size-ipv4=26",
                "usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster",
            ),
            (
                "--cluster-cidr=10.8.0.0/16,10.9.0.0/16",
                "len of ClusterCIDRs==2 and they are not configured as dual stack",
            ),
            ("--cluster-cidr=10.8.0.0/26", "Controller: Invalid --cluster-cidr, mask size"),
        ] {
            let told = noted(flags).unwrap_err();
            assert!(told.starts_with(error), "{told}");
        }
    }
}
