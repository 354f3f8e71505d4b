use super::{
    Serving,
    answer::{Answer, json, text},
    connection::Afterwards,
    containers::At,
    logs, query, stats, streams,
};
use axum::body::Body;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use std::sync::Arc;
use tower::ServiceExt;

/// Answers one request of someone who may make it.
pub(super) async fn route(
    serving: &Arc<Serving>,
    request: Request<Incoming>,
    afterwards: &Afterwards,
) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<String> = path
        .split('/')
        .filter(|part| !part.is_empty())
        .map(|part| query::decoded(part, false))
        .collect();
    let names: Vec<&str> = parts.iter().map(String::as_str).collect();
    let query = query::pairs(request.uri().query().unwrap_or_default());
    let host = &serving.host;
    let reads = request.method() == Method::GET;
    match names.as_slice() {
        ["metrics", "resource"] if reads => stats::resource(host).await,
        ["healthz" | "livez" | "readyz" | "metrics", ..] if reads => {
            telemetry(serving, request).await
        }
        ["pods" | "runningpods"] if reads => json(&json!({
            "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": host.pods.list()
        })),
        ["configz"] if reads => json(&configuration(serving)),
        ["stats", "summary"] if reads => {
            let only = query.iter().any(|(name, value)| {
                name == "only_cpu_and_memory" && matches!(value.as_str(), "true" | "1")
            });
            stats::summary(host, only).await
        }
        ["containerLogs", namespace, pod, container] if reads => {
            logs::answer(host, &At::new(namespace, pod, None, container), &query).await
        }
        ["run", namespace, pod, container] if !reads => {
            streams::run(host, &At::new(namespace, pod, None, container), &query).await
        }
        ["run", namespace, pod, uid, container] if !reads => {
            streams::run(host, &At::new(namespace, pod, Some(uid), container), &query).await
        }
        [kind @ ("exec" | "attach"), namespace, pod, container] => {
            let at = At::new(namespace, pod, None, container);
            streams::command(host, kind, &at, &query, request, afterwards).await
        }
        [kind @ ("exec" | "attach"), namespace, pod, uid, container] => {
            let at = At::new(namespace, pod, Some(uid), container);
            streams::command(host, kind, &at, &query, request, afterwards).await
        }
        ["portForward", namespace, pod] => {
            let at = At::new(namespace, pod, None, "");
            streams::port_forward(host, &at, request, afterwards).await
        }
        ["portForward", namespace, pod, uid] => {
            let at = At::new(namespace, pod, Some(uid), "");
            streams::port_forward(host, &at, request, afterwards).await
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

async fn telemetry(serving: &Arc<Serving>, request: Request<Incoming>) -> Answer {
    match serving.telemetry.clone().oneshot(request.map(Body::new)).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

fn configuration(serving: &Serving) -> serde_json::Value {
    let config = &serving.host.config;
    let seconds = |time: std::time::Duration| format!("{}s", time.as_secs());
    json!({"kubeletconfig": {
        "port": config.listen.port(),
        "address": config.listen.ip(),
        "maxPods": config.max_pods,
        "clusterDomain": config.cluster_domain,
        "clusterDNS": config.cluster_dns,
        "podCIDR": config.pod_cidr.map(|range| range.to_string()),
        "nodeStatusReportFrequency": seconds(config.status_period),
        "syncFrequency": seconds(config.sync_period),
        "podLogsDir": config.log_dir,
        "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}},
        "authorization": {"mode": "Webhook"},
    }})
}
