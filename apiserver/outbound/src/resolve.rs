//! What stands behind a Service: one of its ready endpoints, else its cluster address.
//!
//! The API server may run where no proxy makes cluster addresses work, so that endpoints come first.

use kubeplane_clock::Seed;
use kubeplane_core::{GroupResource, Object, reader::ObjectReader};
use serde_json::Value;
use std::sync::Arc;

/// Host and port of a Service's port.
///
/// # Errors
/// In the original's words, when there is none.
pub(crate) async fn service(
    reader: &Arc<dyn ObjectReader>,
    seed: &Seed,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<(String, u16), String> {
    let services = GroupResource::new("", "services");
    let found = reader.get(&services, namespace, name).await.map_err(|error| error.to_string())?;
    let service = found.ok_or_else(|| format!("service {name:?} not found"))?;
    if service.text(&["spec", "type"]) == "ExternalName" {
        return Ok((service.text(&["spec", "externalName"]).to_owned(), port));
    }
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array).into_iter().flatten();
    let mut ports = ports.filter(|one| one["port"].as_u64() == Some(port.into()));
    let declared =
        ports.next().ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let named = declared["name"].as_str().unwrap_or_default();
    let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
    let slices = reader.list(&slices, namespace).await.map(|list| list.items).unwrap_or_default();
    let own = slices.iter().filter(|slice| slice.label("kubernetes.io/service-name") == Some(name));
    let all: Vec<_> = own.flat_map(|slice| addresses(slice, named)).collect();
    let count = u64::try_from(all.len()).unwrap_or(u64::MAX);
    let pick = usize::try_from(seed.below(count)).unwrap_or_default();
    if let Some(chosen) = all.into_iter().nth(pick) {
        return Ok(chosen);
    }
    match service.text(&["spec", "clusterIP"]) {
        "" | "None" => Err(format!("no endpoints available for service {name:?}")),
        address => Ok((address.to_owned(), port)),
    }
}

/// The ready addresses of a slice, with the number of the port of this name.
fn addresses(slice: &Object, named: &str) -> Vec<(String, u16)> {
    let list = |key: &str| slice.at(&[key]).and_then(Value::as_array).into_iter().flatten();
    let mut ports = list("ports").filter(|port| port["name"].as_str().unwrap_or_default() == named);
    let number = ports.next().and_then(|port| port["port"].as_u64());
    let Some(port) = number.and_then(|port| u16::try_from(port).ok()) else { return Vec::new() };
    list("endpoints")
        .filter(|endpoint| endpoint["conditions"]["ready"].as_bool().unwrap_or(true))
        .filter_map(|endpoint| endpoint["addresses"].get(0)?.as_str())
        .map(|address| (address.to_owned(), port))
        .collect()
}
