//! What the downward API shows of a pod.

use crate::{Error, Result, spec};
use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceFieldSelector},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::{Format, Quantity};
use std::{collections::BTreeMap, net::IpAddr};

/// The text of a field of a pod.
pub(crate) fn field(
    pod: &Pod,
    path: &str,
    pod_ips: &[String],
    host_ips: &[IpAddr],
) -> Result<String> {
    let meta = &pod.metadata;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let joined = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = match map {
            "metadata.annotations" => &meta.annotations,
            "metadata.labels" => &meta.labels,
            _ => {
                return Err(Error::pod(format!("fieldPath {path:?} does not support subscript")));
            }
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let spec = spec::spec(pod);
    Ok(match path {
        "metadata.name" => text(&meta.name),
        "metadata.namespace" => text(&meta.namespace),
        "metadata.uid" => text(&meta.uid),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => text(&spec.node_name),
        "spec.serviceAccountName" => text(&spec.service_account_name),
        "status.hostIP" => host_ips.first().map(ToString::to_string).unwrap_or_default(),
        "status.hostIPs" => joined(host_ips),
        "status.podIP" => pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => pod_ips.join(","),
        _ => return Err(Error::pod(format!("unsupported fieldPath: {path}"))),
    })
}

fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> =
        map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

/// The text in double quotes, escaped the way Go's `%q` does.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text of a resource of a container of the pod; limits that are not set are the node's.
pub(crate) fn resource(
    selector: &ResourceFieldSelector,
    pod: &Pod,
    own: Option<&Container>,
    allocatable: &BTreeMap<String, ApiQuantity>,
) -> Result<String> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => spec::container_named(pod, name)
            .map(|(_, container)| container.into_owned())
            .ok_or_else(|| Error::pod(format!("container {name:?} not found in pod")))?,
        None => own
            .cloned()
            .ok_or_else(|| Error::pod("a container name is required for a resource field"))?,
    };
    let wanted = selector.resource.as_str();
    let unsupported = || Error::pod(format!("unsupported container resource : {wanted}"));
    let (list, name) = wanted.split_once('.').ok_or_else(unsupported)?;
    let known =
        matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !known {
        return Err(unsupported());
    }
    let resources = container.resources.unwrap_or_default();
    let limit = || {
        let set = resources.limits.as_ref().and_then(|limits| limits.get(name));
        set.or_else(|| allocatable.get(name))
    };
    let quantity = match list {
        "limits" => limit(),
        "requests" => resources.requests.as_ref().and_then(|requests| requests.get(name)),
        _ => return Err(unsupported()),
    };
    let zero = Quantity::new(0, Format::DecimalSi);
    let quantity = quantity.map_or(zero, Quantity::from_api);
    let divisor = selector.divisor.as_ref().map(Quantity::from_api).filter(|d| !d.is_zero());
    let divisor = divisor.unwrap_or_else(|| Quantity::new(1, Format::DecimalSi));
    let (amount, by) = if name == "cpu" {
        (quantity.milli_value(), divisor.milli_value())
    } else {
        (quantity.value(), divisor.value())
    };
    let by = by.max(1);
    Ok((amount / by + i64::from(amount % by > 0)).to_string())
}
