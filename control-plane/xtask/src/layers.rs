//! The layer check: which workspace crate may depend on which (ARCHITECTURE.md, "Layers").

use crate::workspace::{self, Packages};
use anyhow::{Context as _, bail};
use serde_json::Value;

/// A crate, and the workspace crates its normal dependencies may name.
const ALLOWED: &[(&str, &[&str])] = &[
    ("kubeplane-clock", &[]),
    ("kubeplane-core", &["kubeplane-clock"]),
    ("kubeplane-telemetry", &[]),
    ("kubeplane-streaming", &[]),
    ("kubeplane-cel", &["kubeplane-core"]),
    ("kubeplane-pki", &[]),
    ("kubeplane-store-trait", &["kubeplane-clock"]),
    ("kubeplane-runtime-cri", &["kubeplane-clock"]),
    ("kubeplane-client", &["kubeplane-clock", "kubeplane-core", "kubeplane-telemetry"]),
    ("kubeplane-workload", &["kubeplane-core"]),
    ("kubeplane-store-memory", &["kubeplane-clock", "kubeplane-store-trait"]),
    ("kubeplane-store-etcd", &["kubeplane-clock", "kubeplane-store-trait"]),
    ("kubeplane-scheduler-framework", CORE),
    ("kubeplane-controllers", CORE),
    ("kubeplane-proxy", CORE),
    ("kubeplane-builtin", CORE),
    ("kubeplane-auth", CORE),
    ("kubeplane-outbound", &["kubeplane-clock", "kubeplane-core", "kubeplane-pki"]),
    ("kubeplane-apiserver", WITH_STORE),
    ("kubeplane-aggregation", ON_APISERVER),
    ("kubeplane-extensions", ON_APISERVER),
    ("kubeplane-handlers", ON_APISERVER),
    ("kubeplane-openapi", ON_APISERVER),
    ("kubeplane-webhooks", ON_APISERVER),
    ("kubeplane-kubelet", WITH_RUNTIME),
    ("kubeplane-simulated", CORE),
];

const CORE: &[&str] = &[
    "kubeplane-clock",
    "kubeplane-core",
    "kubeplane-client",
    "kubeplane-workload",
    "kubeplane-streaming",
    "kubeplane-cel",
    "kubeplane-pki",
    "kubeplane-telemetry",
];
const WITH_STORE: &[&str] = &[
    "kubeplane-clock",
    "kubeplane-core",
    "kubeplane-client",
    "kubeplane-workload",
    "kubeplane-streaming",
    "kubeplane-cel",
    "kubeplane-pki",
    "kubeplane-telemetry",
    "kubeplane-store-trait",
];
/// Packages of the apiserver folder that plug into the server.
const ON_APISERVER: &[&str] = &[
    "kubeplane-clock",
    "kubeplane-core",
    "kubeplane-workload",
    "kubeplane-streaming",
    "kubeplane-cel",
    "kubeplane-pki",
    "kubeplane-telemetry",
    "kubeplane-store-trait",
    "kubeplane-apiserver",
    "kubeplane-auth",
    "kubeplane-outbound",
];
const WITH_RUNTIME: &[&str] = &[
    "kubeplane-clock",
    "kubeplane-core",
    "kubeplane-client",
    "kubeplane-workload",
    "kubeplane-streaming",
    "kubeplane-pki",
    "kubeplane-telemetry",
    "kubeplane-runtime-cri",
];

/// Crates at the top, which may use everything.
const TOP: &[&str] = &["kubeplane", "kubeplane-macros", "kubeplane-examples", "xtask"];

/// Crates that must not know the Kubernetes types.
const WITHOUT_TYPES: &[&str] = &[
    "kubeplane-clock",
    "kubeplane-store-trait",
    "kubeplane-store-memory",
    "kubeplane-store-etcd",
    "kubeplane-runtime-cri",
];

/// Fails when a crate depends on one it must not know.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = workspace::metadata(Packages::Own)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let broken: Vec<_> = packages.iter().flat_map(forbidden_edges).collect();
    if broken.is_empty() {
        return Ok(());
    }
    bail!("layer check:\n  {}", broken.join("\n  "))
}

fn forbidden_edges(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    if TOP.contains(&name) {
        return Vec::new();
    }
    let Some((_, allowed)) = ALLOWED.iter().find(|(own, _)| *own == name) else {
        return vec![format!("{name} stands in no layer; give it one in {}", file!())];
    };
    let normal = package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|edge| edge["kind"].is_null());
    normal
        .filter_map(|edge| edge["name"].as_str())
        .filter(|other| {
            let inside = *other == "kubeplane" || other.starts_with("kubeplane-");
            (inside && !allowed.contains(other))
                || (*other == "k8s-openapi" && WITHOUT_TYPES.contains(&name))
        })
        .map(|other| format!("{name} must not depend on {other}"))
        .collect()
}
