//! Subsets of Endpoints, arranged as the original does before it copies them.

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset};
use std::collections::BTreeMap;

/// A port as what it is: name, number, protocol, application protocol; `None` stands for no port at all.
type Port = Option<(Option<String>, i32, Option<String>, Option<String>)>;

/// Who is at an address: the address itself and the uid of what it is of.
type Host = (String, String);

/// Whether each of some is ready.
type Ready = BTreeMap<Host, bool>;

fn key(address: &EndpointAddress) -> Host {
    let uid = address.target_ref.as_ref().and_then(|target| target.uid.clone());
    (address.ip.clone(), uid.unwrap_or_default())
}

/// Some ports, and the addresses that have all of them, with whether they are ready.
pub(super) struct Packed<'a> {
    pub(super) ports: Vec<&'a EndpointPort>,
    pub(super) addresses: Vec<(&'a EndpointAddress, bool)>,
}

/// Ports with exactly the same addresses belong together, whichever subsets name them. An address that is ready in one
/// subset and not in another, for the same port, is not.
pub(super) fn packed(subsets: &[EndpointSubset]) -> Vec<Packed<'_>> {
    let mut known: BTreeMap<Host, &EndpointAddress> = BTreeMap::new();
    let mut of_port: BTreeMap<Port, (Option<&EndpointPort>, Ready)> = BTreeMap::new();
    for subset in subsets {
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let unready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        let ports = subset.ports.as_deref().unwrap_or_default();
        let ports: Vec<_> = match ports {
            [] => vec![None],
            ports => ports.iter().map(Some).collect(),
        };
        for (address, ready) in ready.chain(unready) {
            known.entry(key(address)).or_insert(address);
            for port in &ports {
                let of = port.map(|port| {
                    let (name, protocol) = (port.name.clone(), port.protocol.clone());
                    (name, port.port, protocol, port.app_protocol.clone())
                });
                let (_, addresses) = of_port.entry(of).or_insert_with(|| (*port, BTreeMap::new()));
                let state = addresses.entry(key(address)).or_insert(ready);
                *state = *state && ready;
            }
        }
    }
    let mut packs: BTreeMap<Ready, Vec<&EndpointPort>> = BTreeMap::new();
    for (port, addresses) in of_port.into_values() {
        packs.entry(addresses).or_default().extend(port);
    }
    let of_pack = |(addresses, ports): (Ready, _)| {
        let found = addresses.iter().filter_map(|(key, ready)| Some((*known.get(key)?, *ready)));
        let mut addresses: Vec<_> = found.collect();
        addresses.sort_by_key(|(_, ready)| !*ready);
        Packed { ports, addresses }
    };
    packs.into_iter().map(of_pack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_of_the_same_addresses_are_one_pack_and_not_ready_wins() {
        let subset = |port: i32, ready: &[&str], not_ready: &[&str]| {
            let list = |ips: &[&str]| ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>();
            serde_json::from_value(json!({"ports": [{"port": port}], "addresses": list(ready),
                "notReadyAddresses": list(not_ready)}))
            .unwrap()
        };
        let subsets = [
            subset(80, &["10.0.0.1", "10.0.0.2"], &[]),
            subset(90, &["10.0.0.1"], &["10.0.0.2"]),
            subset(91, &["10.0.0.1", "10.0.0.2"], &[]),
            subset(80, &[], &["10.0.0.2"]),
        ];
        let shape: Vec<_> = packed(&subsets)
            .into_iter()
            .map(|pack| {
                let ports: Vec<_> = pack.ports.iter().map(|port| port.port).collect();
                let ips = pack.addresses.iter().map(|(own, ready)| (own.ip.as_str(), *ready));
                (ports, format!("{:?}", ips.collect::<Vec<_>>()))
            })
            .collect();
        let one_ready = "[(\"10.0.0.1\", true), (\"10.0.0.2\", false)]".to_owned();
        let both = "[(\"10.0.0.1\", true), (\"10.0.0.2\", true)]".to_owned();
        assert_eq!(shape, [(vec![80, 90], one_ready), (vec![91], both)]);
    }
}
