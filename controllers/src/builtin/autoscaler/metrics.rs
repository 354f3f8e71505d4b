//! Where figures come from: the three APIs of metrics.

use super::calculator::{Metrics, PodMetric};
use crate::Context;
use http::Request;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use kubeplane_core::quantity::Quantity;
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Display};

/// Over which time figures of the custom API are measured when they do not say.
const WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// The group of the figures that others measure of objects.
pub(super) const CUSTOM: &str = "custom.metrics.k8s.io";
/// Its versions that are understood.
pub(super) const CUSTOM_VERSIONS: [&str; 2] = ["v1beta2", "v1beta1"];

/// A figure of objects.
pub(super) struct Custom<'a> {
    /// In which version of the API it is asked for, or why in none.
    pub(super) version: Result<&'static str, &'static str>,
    pub(super) name: &'a str,
    /// Which of the figures of that name; empty for all.
    pub(super) selector: &'a str,
}

impl Custom<'_> {
    fn version(&self) -> Result<&'static str, String> {
        self.version.map_err(|why| failed("custom", why))
    }

    /// Asks for it below a namespace.
    async fn list(
        &self,
        context: &Context,
        namespace: &str,
        path: &str,
        selector: &str,
    ) -> Result<Vec<MetricValue>, String> {
        let version = self.version()?;
        let path = format!("/apis/{CUSTOM}/{version}/namespaces/{namespace}/{path}/{}", self.name);
        let query = [("labelSelector", selector), ("metricLabelSelector", self.selector)];
        list(context, "custom", &path, &query).await
    }
}

#[derive(Deserialize)]
struct List<T> {
    items: Vec<T>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Meta {
    name: String,
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Meta,
    timestamp: Timestamp,
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    described_object: Meta,
    timestamp: Timestamp,
    /// The older version has a shorter name for it.
    #[serde(alias = "window")]
    window_seconds: Option<i64>,
    value: Value,
}

#[derive(Deserialize)]
struct ExternalValue {
    value: Value,
}

fn milli(value: &Value) -> Option<i64> {
    Quantity::from_json(value).ok().map(|quantity| quantity.milli_value())
}

fn failed(api: &str, why: impl Display) -> String {
    format!("unable to fetch metrics from {api} metrics API: {why}")
}

/// The figures, if there are any.
fn some<T>(api: &str, items: Vec<T>) -> Result<Vec<T>, String> {
    match items.is_empty() {
        true => Err(format!("no metrics returned from {api} metrics API")),
        false => Ok(items),
    }
}

async fn list<T: serde::de::DeserializeOwned>(
    context: &Context,
    api: &str,
    path: &str,
    query: &[(&str, &str)],
) -> Result<Vec<T>, String> {
    let query: Vec<_> = query
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    let uri =
        if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
    let request = Request::get(uri).body(Vec::new()).map_err(|error| failed(api, error))?;
    let list: Result<List<T>, _> = context.client().request(request).await;
    let list = list.map_err(|error| failed(api, crate::Error::from(error).text()))?;
    Ok(list.items)
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let one = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// What pods use of a resource; of one container, or of all where `container` is empty.
pub(super) async fn resource(
    context: &Context,
    namespace: &str,
    selector: &str,
    resource: &str,
    container: &str,
) -> Result<Metrics, String> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let query = [("labelSelector", selector)];
    let items: Vec<PodMetrics> = list(context, "resource", &path, &query).await?;
    let items = some("resource", items)?;
    let used = |pod: &PodMetrics| -> Option<i64> {
        let of = |one: &ContainerMetrics| milli(one.usage.get(resource)?);
        match container {
            "" if pod.containers.is_empty() => None,
            "" => pod.containers.iter().map(of).sum(),
            name => pod.containers.iter().find(|one| one.name == name).and_then(of),
        }
    };
    let metrics = items.iter().filter_map(|pod| {
        let metric =
            PodMetric { value: used(pod)?, at: pod.timestamp, window: duration(&pod.window) };
        Some((pod.metadata.name.clone(), metric))
    });
    Ok(metrics.collect())
}

/// A span of time as Go writes it, as in `1m0s`.
fn duration(text: &str) -> SignedDuration {
    text.parse().unwrap_or(SignedDuration::ZERO)
}

/// A figure of each of the selected pods.
pub(super) async fn of_pods(
    context: &Context,
    namespace: &str,
    selector: &str,
    custom: &Custom<'_>,
) -> Result<Metrics, String> {
    let items = some("custom", custom.list(context, namespace, "pods/*", selector).await?)?;
    let metrics = items.into_iter().filter_map(|one| {
        let metric = PodMetric {
            value: milli(&one.value)?,
            at: one.timestamp,
            window: one.window_seconds.map_or(WINDOW, SignedDuration::from_secs),
        };
        Some((one.described_object.name, metric))
    });
    Ok(metrics.collect())
}

/// A figure of one object; `resource` is its resource and group, as in `ingresses.networking.k8s.io`, or why it has none.
pub(super) async fn of_object(
    context: &Context,
    namespace: &str,
    object: &CrossVersionObjectReference,
    resource: Result<String, String>,
    custom: &Custom<'_>,
) -> Result<i64, String> {
    custom.version()?;
    let version = object.api_version.as_deref().unwrap_or_default();
    let path = match object.kind.as_str() {
        // Never another namespace than the autoscaler's.
        "Namespace" if !version.contains('/') => "metrics".to_owned(),
        _ => format!("{}/{}", resource.map_err(|why| failed("custom", why))?, object.name),
    };
    let items = custom.list(context, namespace, &path, "").await?;
    let [one] = items.as_slice() else {
        let count = items.len();
        let why = format!(
            "the custom metrics API server returned {count} results when we asked for exactly one"
        );
        return Err(failed("custom", why));
    };
    milli(&one.value).ok_or_else(|| failed("custom", "the value is no quantity"))
}

/// The sum of all values of a figure that comes from outside of the cluster.
pub(super) async fn external(
    context: &Context,
    namespace: &str,
    metric: &str,
    metric_selector: &str,
) -> Result<i64, String> {
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
    let query = [("labelSelector", metric_selector)];
    let items: Vec<ExternalValue> = list(context, "external", &path, &query).await?;
    let items = some("external", items)?;
    let values = items.iter().filter_map(|one| milli(&one.value));
    Ok(values.fold(0, i64::saturating_add))
}
