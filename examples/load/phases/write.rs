use super::super::{
    connection::Call,
    fixture::{create_pod, leases, pod_path},
    meter::{Sample, each},
    server::Server,
};
use super::Plan;
use anyhow::Result;
use serde_json::{Value, json};
use std::collections::HashMap;

pub(crate) async fn create(server: &Server, plan: &Plan) -> Result<Sample> {
    each(server, plan.objects, plan.concurrency, create_pod).await
}

pub(crate) async fn get(server: &Server, plan: &Plan) -> Result<Sample> {
    every(server, plan, |index| Call::get(pod_path(index))).await
}

pub(crate) async fn strategic(server: &Server, plan: &Plan) -> Result<Sample> {
    every(server, plan, |index| {
        let patch = json!({"metadata": {"annotations": {"touched": stamp()}}});
        let kind = "application/strategic-merge-patch+json";
        Call::patch(pod_path(index), kind, patch.to_string())
    })
    .await
}

pub(crate) async fn apply(server: &Server, plan: &Plan) -> Result<Sample> {
    every(server, plan, |index| {
        let patch = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"annotations": {"applied": stamp()}, "labels": {"owner": "load"}}});
        let path = format!("{}?fieldManager=load&force=true", pod_path(index));
        Call::patch(path, "application/apply-patch+yaml", patch.to_string())
    })
    .await
}

pub(crate) async fn status(server: &Server, plan: &Plan) -> Result<Sample> {
    every(server, plan, |index| {
        let patch = json!({"status": {"phase": "Running", "podIP": "10.1.2.3", "conditions": [
            {"type": "Ready", "status": "True", "reason": stamp()},
            {"type": "ContainersReady", "status": "True"}]}});
        let path = format!("{}/status", pod_path(index));
        Call::patch(path, "application/strategic-merge-patch+json", patch.to_string())
    })
    .await
}

pub(crate) async fn delete(server: &Server, plan: &Plan) -> Result<Sample> {
    every(server, plan, |index| Call::delete(format!("{}?gracePeriodSeconds=0", pod_path(index))))
        .await
}

pub(crate) async fn lease_create(server: &Server, plan: &Plan) -> Result<Sample> {
    every(server, plan, |index| Call::post(leases(), lease(index, None))).await
}

pub(crate) async fn lease_update(server: &Server, plan: &Plan) -> Result<Sample> {
    let versions = versions(server).await?;
    every(server, plan, |index| {
        let name = format!("lease-{index}");
        let version = versions.get(&name).map(String::as_str);
        Call::put(format!("{}/{name}", leases()), lease(index, version))
    })
    .await
}

pub(crate) async fn lease_delete(server: &Server, plan: &Plan) -> Result<Sample> {
    every(server, plan, |index| Call::delete(format!("{}/lease-{index}", leases()))).await
}

async fn every(server: &Server, plan: &Plan, call: impl Fn(usize) -> Call) -> Result<Sample> {
    each(server, plan.objects, plan.concurrency, |connection, index| {
        let call = call(index);
        async move { connection.succeed(call).await.map(drop) }
    })
    .await
}

/// The resourceVersions of the leases by name, as a holder knows that of its own.
async fn versions(server: &Server) -> Result<HashMap<String, String>> {
    let answer = server.connection().read(Call::get(leases())).await?;
    let list: Value = serde_json::from_slice(&answer)?;
    let text = |lease: &Value, field: &str| {
        lease["metadata"][field].as_str().unwrap_or_default().to_owned()
    };
    let items = list["items"].as_array().into_iter().flatten();
    Ok(items.map(|lease| (text(lease, "name"), text(lease, "resourceVersion"))).collect())
}

fn lease(index: usize, version: Option<&str>) -> String {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": format!("lease-{index}"), "resourceVersion": version},
        "spec": {"holderIdentity": stamp(), "leaseDurationSeconds": 40, "renewTime": "2026-01-02T03:04:05.678901Z"}});
    lease.to_string()
}

/// Something that changes with every call.
fn stamp() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    format!("At{}", now.map_or(0, |now| now.as_nanos()))
}
