use super::{
    connection::{Call, Connection},
    meter::each,
    server::Server,
};
use anyhow::Result;
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "load";

/// The path of a collection in the namespace of the load.
pub(crate) fn path(group: &str, plural: &str) -> String {
    format!("/{group}/namespaces/{NAMESPACE}/{plural}")
}

pub(crate) fn pods() -> String {
    path("api/v1", "pods")
}

pub(crate) fn pod_path(index: usize) -> String {
    format!("{}/pod-{index}", pods())
}

pub(crate) fn leases() -> String {
    path("apis/coordination.k8s.io/v1", "leases")
}

pub(crate) fn configmaps() -> String {
    path("api/v1", "configmaps")
}

/// The namespace, and the service account without which no pod is admitted.
pub(crate) async fn prepare(server: &Server) -> Result<()> {
    let connection = server.connection();
    let namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    connection.send(Call::post("/api/v1/namespaces", namespace.to_string())).await?;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    connection.send(Call::post(path("api/v1", "serviceaccounts"), account.to_string())).await?;
    empty(server).await
}

/// Removes all that phases leave.
pub(crate) async fn empty(server: &Server) -> Result<()> {
    for collection in [pods(), leases(), configmaps()] {
        // Servers may bound the time of one request: again until nothing is left.
        loop {
            let options = format!("{collection}?gracePeriodSeconds=0");
            let answer = server.connection().send(Call::delete(options)).await?;
            if answer.status < 300 {
                break;
            }
        }
    }
    Ok(())
}

/// Creates pods with these indices.
pub(crate) async fn create_pod(connection: Connection, index: usize) -> Result<()> {
    connection.succeed(Call::post(pods(), pod(index).to_string())).await.map(drop)
}

/// Fills the namespace with `count` pods.
pub(crate) async fn fill(server: &Server, count: usize, concurrency: usize) -> Result<()> {
    each(server, count, concurrency, create_pod).await.map(drop)
}

/// A pod as a service mesh and a metrics operator leave it: three containers, forty variables, probes, volumes, long
/// annotations; about 10 KiB when stored.
pub(crate) fn pod(index: usize) -> Value {
    let containers: Vec<Value> =
        ["app", "proxy", "exporter"].iter().map(|name| container(name)).collect();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("pod-{index}"),
            "labels": {"app": format!("app-{}", index % 100), "tier": "backend", "pod-template-hash": "5d4f8c7b9"},
            "annotations": {
                "prometheus.io/scrape": "true", "prometheus.io/port": "9102",
                "checksum/config": "3f2a9c".repeat(10),
                "sidecar.example.com/status": json!({"revision": "1-22-3", "containers": ["proxy"],
                    "volumes": ["workload-socket", "credential-socket", "data", "envoy", "podinfo", "token"]}).to_string(),
                "config.example.com/rendered": "listeners: [{address: 0.0.0.0, port: 8080, filters: [http, rbac]}]\n".repeat(12),
            },
        },
        "spec": {
            "nodeName": format!("node-{}", index % 500),
            "automountServiceAccountToken": false,
            "containers": containers,
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "web", "effect": "NoSchedule"}],
            "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100,
                "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {"app": format!("app-{}", index % 100)}}}}]}},
            "volumes": [
                {"name": "config", "configMap": {"name": "app-config", "optional": true}},
                {"name": "data", "emptyDir": {}},
                {"name": "podinfo", "downwardAPI": {"items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            ],
        },
    })
}

fn container(name: &str) -> Value {
    let variables: Vec<Value> = (0..14)
        .map(|n| match n % 7 {
            0 => json!({"name": format!("POD_FIELD_{n}"), "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
            1 => json!({"name": format!("LIMIT_{n}"), "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}),
            _ => json!({"name": format!("SETTING_{n}"), "value": format!("https://backend-{n}.example.com:8443/v1/{name}")}),
        })
        .collect();
    json!({
        "name": name,
        "image": format!("registry.example.com/team/{name}:v1.22.3-distroless"),
        "args": ["--config=/etc/config/app.yaml", "--log-level=info", "--listen=:8080", "--admin=:15000"],
        "env": variables,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/live", "port": 8080}, "initialDelaySeconds": 10},
        "securityContext": {"runAsUser": 1337, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/config"},
            {"name": "data", "mountPath": "/var/lib/data"},
            {"name": "podinfo", "mountPath": "/etc/podinfo"},
        ],
    })
}
