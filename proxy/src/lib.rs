//! Services and EndpointSlices to nftables rules
