//! What each kind of figure asks for.

use super::{
    calculator::{self, Target},
    metrics,
};
use crate::{Context, Error, builtin::discovery::Resources};
use k8s_openapi::{
    api::{
        autoscaling::v2::{
            ContainerResourceMetricStatus, ExternalMetricSource, ExternalMetricStatus,
            MetricIdentifier, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
            ObjectMetricSource, ObjectMetricStatus, PodsMetricSource, PodsMetricStatus,
            ResourceMetricStatus,
        },
        core::v1::Pod,
    },
    apimachinery::pkg::{api::resource::Quantity as ApiQuantity, apis::meta::v1},
};
use kube::{Api, api::ListParams};
use kubeplane_core::{
    quantity::{Format, Quantity},
    selector::LabelSelector,
};
use std::{collections::HashMap, sync::Arc};

/// What all figures together ask for.
pub(super) struct Computed {
    /// `None` when nothing may be done.
    pub(super) replicas: Option<i32>,
    /// The figure that asks for it.
    pub(super) metric: String,
    pub(super) statuses: Option<Vec<MetricStatus>>,
    pub(super) error: Option<String>,
}

impl Computed {
    pub(super) fn refused(why: String) -> Self {
        Self { replicas: None, metric: String::new(), statuses: None, error: Some(why) }
    }
}

/// What one figure asks for.
pub(super) struct Found {
    pub(super) replicas: i32,
    pub(super) metric: String,
    pub(super) status: MetricStatus,
}

/// Why a figure asks for nothing.
pub(super) struct Failure {
    pub(super) reason: &'static str,
    /// What users are told, where it differs from the whole error.
    pub(super) told: Option<String>,
    pub(super) error: String,
}

/// Where figures are looked for.
pub(super) struct Source<'a> {
    pub(super) context: &'a Context,
    pub(super) namespace: &'a str,
    /// Of the target's pods.
    pub(super) selector: &'a str,
    pub(super) resources: Option<&'a Resources>,
}

type Outcome = Result<(i32, String, MetricValueStatus), String>;

fn milli(amount: &ApiQuantity) -> i64 {
    Quantity::from_api(amount).milli_value()
}

fn shown(value: i64, format: Format) -> Option<ApiQuantity> {
    Some(Quantity::from_milli(value, format).to_api())
}

fn average_of(value: i64) -> MetricValueStatus {
    MetricValueStatus {
        average_value: shown(value, Format::DecimalSi),
        ..MetricValueStatus::default()
    }
}

fn value_of(value: i64) -> MetricValueStatus {
    MetricValueStatus { value: shown(value, Format::DecimalSi), ..MetricValueStatus::default() }
}

/// A selector of figures as a query has it; the one that is not there selects everything.
fn text(selector: Option<&v1::LabelSelector>) -> Result<String, String> {
    let Some(selector) = selector else { return Ok(String::new()) };
    let parsed = LabelSelector::from_typed(Some(selector)).map_err(|error| error.to_string())?;
    Ok(parsed.to_string())
}

/// A selector as Go prints it.
pub(in crate::builtin) fn printed(selector: Option<&v1::LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels.map(|(name, value)| format!("{name}: {value},")).collect();
    let rules = selector.match_expressions.iter().flatten().map(|rule| {
        let values = rule.values.as_deref().unwrap_or_default().join(" ");
        let (key, operator) = (&rule.key, &rule.operator);
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    });
    let rules: String = rules.collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},\
         MatchExpressions:[]LabelSelectorRequirement{{{rules}}},}}"
    )
}

impl Source<'_> {
    pub(super) async fn compute(
        &self,
        spec: &MetricSpec,
        target: &Target<'_>,
    ) -> Result<Found, Failure> {
        let mut status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
        let (reason, prefix, outcome) = if let Some(source) = &spec.resource {
            let outcome = self.resource(&source.name, "", &source.target, target).await;
            let outcome = outcome.map(|(replicas, metric, current)| {
                let name = source.name.clone();
                status.resource = Some(ResourceMetricStatus { current, name });
                (replicas, metric)
            });
            let prefix = format!("failed to get {} resource metric value", source.name);
            ("FailedGetResourceMetric", prefix, outcome)
        } else if let Some(source) = &spec.container_resource {
            let own = &source.container;
            let outcome = self.resource(&source.name, own, &source.target, target).await;
            let outcome = outcome.map(|(replicas, metric, current)| {
                let (name, container) = (source.name.clone(), own.clone());
                status.container_resource =
                    Some(ContainerResourceMetricStatus { container, current, name });
                (replicas, metric)
            });
            let prefix = format!("failed to get {own} container metric value");
            ("FailedGetContainerResourceMetric", prefix, outcome)
        } else if let Some(source) = &spec.pods {
            let outcome = self.pods(source, target).await;
            let outcome = outcome.map(|(replicas, metric, current)| {
                status.pods = Some(PodsMetricStatus { current, metric: source.metric.clone() });
                (replicas, metric)
            });
            ("FailedGetPodsMetric", "failed to get pods metric value".to_owned(), outcome)
        } else if let Some(source) = &spec.object {
            let outcome = self.object(source, target).await;
            let outcome = outcome.map(|(replicas, metric, current)| {
                let described_object = source.described_object.clone();
                let identifier = source.metric.clone();
                status.object =
                    Some(ObjectMetricStatus { current, described_object, metric: identifier });
                (replicas, metric)
            });
            ("FailedGetObjectMetric", of_object(source), outcome)
        } else if let Some(source) = &spec.external {
            let outcome = self.external(source, target).await;
            let outcome = outcome.map(|(replicas, metric, current)| {
                let identifier = source.metric.clone();
                status.external = Some(ExternalMetricStatus { current, metric: identifier });
                (replicas, metric)
            });
            ("FailedGetExternalMetric", of_external(source), outcome)
        } else {
            let error = format!("unknown metric source type {:?}", spec.type_);
            let told = Some(error.clone());
            return Err(Failure { reason: "InvalidMetricSourceType", told, error });
        };
        match outcome {
            Ok((replicas, metric)) => Ok(Found { replicas, metric, status }),
            Err(why) => Err(Failure { reason, error: format!("{prefix}: {why}"), told: Some(why) }),
        }
    }

    async fn resource(
        &self,
        name: &str,
        container: &str,
        wanted: &MetricTarget,
        target: &Target<'_>,
    ) -> Outcome {
        let fetched = || async {
            let fetched =
                metrics::resource(self.context, self.namespace, self.selector, name, container);
            let fetched = fetched.await;
            fetched.map_err(|why| format!("unable to get metrics for resource {name}: {why}"))
        };
        let format = if name == "memory" { Format::BinarySi } else { Format::DecimalSi };
        if let Some(average) = &wanted.average_value {
            let found = fetched()
                .await
                .and_then(|metrics| calculator::average(target, metrics, milli(average), name));
            let found = found.map_err(|why| format!("failed to get {name} usage: {why}"));
            let (replicas, used) = found?;
            let current = MetricValueStatus {
                average_value: shown(used, format),
                ..MetricValueStatus::default()
            };
            return Ok((replicas, format!("{name} resource"), current));
        }
        let Some(percent) = wanted.average_utilization else {
            return Err("invalid resource metric source: neither an average utilization target \
                        nor an average value (usage) target was set"
                .to_owned());
        };
        let failed = |why: String| format!("failed to get {name} utilization: {why}");
        let metrics = fetched().await.map_err(failed)?;
        let pods = self.with_containers(target.pods).await.map_err(failed)?;
        let target = Target { pods: &pods, ..*target };
        let found = calculator::utilization(&target, metrics, percent, name, container);
        let found = found.map_err(failed)?;
        let kind = if container.is_empty() { "resource" } else { "container resource" };
        let metric = format!("{name} {kind} utilization (percentage of request)");
        let current = MetricValueStatus {
            average_utilization: Some(found.percent),
            average_value: shown(found.average, format),
            ..MetricValueStatus::default()
        };
        Ok((found.replicas, metric, current))
    }

    /// The pods with their containers. Where a cache has left out those that ask for nothing
    /// ([`trim_pod`](crate::trim_pod)) they are asked for, as what they lack is told under their names.
    async fn with_containers(&self, pods: &[Arc<Pod>]) -> Result<Vec<Arc<Pod>>, String> {
        let has = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| !spec.containers.is_empty());
        if pods.iter().all(|pod| has(pod)) {
            return Ok(pods.to_vec());
        }
        let api: Api<Pod> = Api::namespaced(self.context.client(), self.namespace);
        let live = api.list(&ListParams::default().labels(self.selector)).await;
        let live = live.map_err(|error| {
            format!(
                "unable to get pods while calculating replica count: {}",
                Error::from(error).text()
            )
        })?;
        let live = live.items.into_iter().map(|pod| (pod.metadata.uid.clone(), pod));
        let mut live: HashMap<_, _> = live.collect();
        let whole = pods.iter().filter_map(|pod| {
            if has(pod) { Some(pod.clone()) } else { live.remove(&pod.metadata.uid).map(Arc::new) }
        });
        Ok(whole.collect())
    }

    async fn pods(&self, source: &PodsMetricSource, target: &Target<'_>) -> Outcome {
        let name = &source.metric.name;
        let selector = text(source.metric.selector.as_ref())?;
        let wanted = source.target.average_value.as_ref().map(milli).unwrap_or_default();
        let custom = metrics::Custom { version: self.custom_version(), name, selector: &selector };
        let fetched = metrics::of_pods(self.context, self.namespace, self.selector, &custom).await;
        let fetched = fetched.map_err(|why| format!("unable to get metric {name}: {why}"))?;
        let (replicas, used) = calculator::average(target, fetched, wanted, "")?;
        Ok((replicas, format!("pods metric {name}"), average_of(used)))
    }

    async fn object(&self, source: &ObjectMetricSource, target: &Target<'_>) -> Outcome {
        let (name, object) = (&source.metric.name, &source.described_object);
        let selector = text(source.metric.selector.as_ref())?;
        let usage = || async {
            let resource = self.resource_of(object.api_version.as_deref(), &object.kind);
            let (context, namespace) = (self.context, self.namespace);
            let version = self.custom_version();
            let custom = metrics::Custom { version, name, selector: &selector };
            let found = metrics::of_object(context, namespace, object, resource, &custom);
            found.await.map_err(|why| {
                let (kind, object) = (&object.kind, &object.name);
                format!("unable to get metric {name}: {kind} on {namespace} {object}/{why}")
            })
        };
        match (&source.target.value, &source.target.average_value) {
            (Some(value), _) if source.target.type_ == "Value" => {
                let usage = usage().await?;
                let replicas = calculator::value(target, usage, milli(value))?;
                let metric = format!("{} metric {name}", object.kind);
                Ok((replicas, metric, value_of(usage)))
            }
            (_, Some(average)) if source.target.type_ == "AverageValue" => {
                let usage = usage().await?;
                let (replicas, each) = calculator::value_per_pod(target, usage, milli(average));
                let metric = external_name(&source.metric);
                Ok((replicas, metric, average_of(each)))
            }
            _ => Err("invalid object metric source: neither a value target nor an average \
                      value target was set"
                .to_owned()),
        }
    }

    async fn external(&self, source: &ExternalMetricSource, target: &Target<'_>) -> Outcome {
        let metric = &source.metric;
        let name = &metric.name;
        let usage = || async {
            let selector = text(metric.selector.as_ref())?;
            let found = metrics::external(self.context, self.namespace, name, &selector).await;
            found.map_err(|why| {
                let (namespace, selector) = (self.namespace, printed(metric.selector.as_ref()));
                format!("unable to get external metric {namespace}/{name}/{selector}: {why}")
            })
        };
        let what = external_name(metric);
        if let Some(average) = &source.target.average_value {
            let usage = usage().await?;
            let (replicas, each) = calculator::value_per_pod(target, usage, milli(average));
            return Ok((replicas, what, average_of(each)));
        }
        if let Some(value) = &source.target.value {
            let usage = usage().await?;
            let replicas = calculator::value(target, usage, milli(value))?;
            return Ok((replicas, what, value_of(usage)));
        }
        Err("invalid external metric source: neither a value target nor an average value target \
             was set"
            .to_owned())
    }

    /// The version of the API of custom figures that is asked: the preferred one of those that are understood.
    fn custom_version(&self) -> Result<&'static str, &'static str> {
        let groups = self.resources.map(|resources| &resources.versions);
        let Some(served) = groups.and_then(|groups| groups.get(metrics::CUSTOM)) else {
            return Err("no custom metrics API (custom.metrics.k8s.io) registered");
        };
        let known =
            |version: &String| metrics::CUSTOM_VERSIONS.into_iter().find(|own| version == own);
        served.iter().find_map(known).ok_or("no known available metric versions found")
    }

    /// The resource and group of a kind, as in `ingresses.networking.k8s.io`.
    fn resource_of(&self, version: Option<&str>, kind: &str) -> Result<String, String> {
        let group =
            version.and_then(|version| version.split_once('/')).map_or("", |(group, _)| group);
        let served = self.resources.into_iter().flat_map(|resources| &resources.preferred);
        let found = served
            .map(|served| &served.resource)
            .find(|served| served.group == group && served.kind == kind);
        let found = found.ok_or_else(|| {
            let whole = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
            format!(
                "unable to map kind {whole} to resource: no matches for kind {kind:?} in group {group:?}"
            )
        })?;
        Ok(match group {
            "" => found.plural.clone(),
            _ => format!("{}.{group}", found.plural),
        })
    }
}

/// What comes before the cause in the whole error of an object's figure.
fn of_object(source: &ObjectMetricSource) -> String {
    let (name, target) = (&source.metric.name, &source.target);
    let each = target.type_ == "AverageValue" && target.average_value.is_some();
    let part = if each { format!(": failed to get {name} object metric") } else { String::new() };
    format!("failed to get object metric value{part}")
}

/// What comes before the cause in the whole error of a figure from elsewhere.
fn of_external(source: &ExternalMetricSource) -> String {
    let (name, target) = (&source.metric.name, &source.target);
    let part = match (&target.average_value, &target.value) {
        (Some(_), _) => format!(": failed to get {name} external metric"),
        (None, Some(_)) => format!(": failed to get external metric {name}"),
        (None, None) => String::new(),
    };
    format!("failed to get {name} external metric value{part}")
}

fn external_name(metric: &MetricIdentifier) -> String {
    format!("external metric {}({})", metric.name, printed(metric.selector.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_are_printed_as_users_know_them() {
        let selector: v1::LabelSelector = serde_json::from_value(json!({
            "matchLabels": {"a": "b"},
            "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]}))
        .unwrap();
        assert_eq!(
            printed(Some(&selector)),
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]\
             LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},}"
        );
        assert_eq!(printed(None), "nil");
        assert_eq!(text(Some(&selector)).unwrap(), "a=b,c in (d,e)");
    }
}
