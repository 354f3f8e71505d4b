mod calculator;
mod compute;
mod metrics;
mod monitor;
mod normal;
mod scale;

pub(super) use compute::printed;

use super::{
    Settings,
    discovery::{self, Resources},
};
use crate::{Action, Context, Controller, Error, Retry, Sources, error::unless_gone};
use async_trait::async_trait;
use calculator::{Starting, Target, Tolerances};
use compute::Computed;
use k8s_openapi::{
    api::{
        autoscaling::v2::{
            HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerSpec,
            MetricStatus,
        },
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, api::PostParams};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_core::{features::Features, selector::LabelSelector};
use kubeplane_telemetry::Metrics;
use monitor::{Done, Failed, Monitor};
use normal::{Bounds, Memory};
use parking_lot::Mutex;
use scale::Scale;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The condition that says that there is no replica because the figures wanted none.
const SCALED_TO_ZERO: &str = "ScaledToZero";
/// How long what the API server serves is believed to be the same.
const KNOWN: Duration = Duration::from_secs(30);

/// Makes workloads as large as their figures ask for.
pub(super) struct Autoscaler {
    memories: Mutex<HashMap<ObjectKey, Memory>>,
    /// Which pods each autoscaler was last seen to count.
    selectors: Mutex<HashMap<ObjectKey, LabelSelector>>,
    resources: Mutex<Option<(Duration, Arc<Resources>)>>,
    /// Whether workloads may be scaled to zero, and from there.
    to_zero: bool,
    /// Whether autoscalers have tolerances of their own.
    tolerant: bool,
    /// How often each autoscaler is looked at.
    period: Duration,
    /// What counts where they have none, or may not.
    tolerance: f64,
    stabilization: Duration,
    starting: Starting,
    monitor: Monitor,
}

impl Autoscaler {
    pub(super) fn new(features: &Features, settings: &Settings, metrics: Option<&Metrics>) -> Self {
        Self {
            memories: Mutex::default(),
            selectors: Mutex::default(),
            resources: Mutex::default(),
            to_zero: features.is_on("HPAScaleToZero"),
            tolerant: features.is_on("HPAConfigurableTolerance"),
            period: settings.horizontal_pod_autoscaler_sync_period,
            tolerance: settings.horizontal_pod_autoscaler_tolerance,
            stabilization: settings.horizontal_pod_autoscaler_downscale_stabilization,
            starting: Starting::of(settings),
            monitor: Monitor::registered(metrics),
        }
    }

    /// What is served: as known, or as it is now when `again` or the last look was long ago.
    async fn resources(&self, context: &Context, again: bool) -> Result<Arc<Resources>, Error> {
        let now = context.clock().elapsed();
        if let Some((at, known)) = &*self.resources.lock()
            && !again
            && now.saturating_sub(*at) < KNOWN
        {
            return Ok(known.clone());
        }
        let fresh = Arc::new(discovery::discover(context.client()).await?);
        *self.resources.lock() = Some((now, fresh.clone()));
        Ok(fresh)
    }

    fn remember<T>(&self, key: &ObjectKey, what: impl FnOnce(&mut Memory) -> T) -> T {
        what(self.memories.lock().entry(key.clone()).or_default())
    }
}

#[async_trait]
impl Controller for Autoscaler {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler-controller"
    }

    fn identity(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.informer::<Pod>();
        let monitor = self.monitor.clone();
        sources.watch::<HorizontalPodAutoscaler>(move |change| {
            monitor.changed(change);
            let object = change.object();
            // Its own writes of the status must not make it look more often.
            let same = change.old().is_some_and(|old| old.spec == object.spec);
            if same { Vec::new() } else { vec![ObjectKey::of(&**object)] }
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let all = context.informers().of::<HorizontalPodAutoscaler>();
        let Some(cached) = all.get(&key.namespace, &key.name) else {
            self.memories.lock().remove(key);
            self.selectors.lock().remove(key);
            return Ok(Action::Done);
        };
        let mut run = Run {
            autoscaler: self,
            context,
            key,
            cached: cached.clone(),
            object: (*cached).clone(),
            done: Done::None,
        };
        let started = context.clock().elapsed();
        let mut outcome = run.scale().await;
        if let Err(error) = run.write().await {
            outcome = Err(error);
        }
        let (done, failed) = (run.done, Failed::of(outcome.as_ref().err()));
        self.monitor.reconciled(done, failed, context.clock().elapsed() - started);
        outcome.map(|()| Action::RequeueAfter(self.period))
    }

    fn on_error(&self, _: &ObjectKey, _: &Error, _: u32) -> Retry {
        Retry::After(self.period)
    }
}

/// One look at one autoscaler.
struct Run<'a> {
    autoscaler: &'a Autoscaler,
    context: &'a Context,
    key: &'a ObjectKey,
    cached: Arc<HorizontalPodAutoscaler>,
    /// With the status as it becomes.
    object: HorizontalPodAutoscaler,
    done: Done,
}

impl Run<'_> {
    fn spec(&self) -> HorizontalPodAutoscalerSpec {
        self.cached.spec.clone()
    }

    fn event(&self, kind: EventType, reason: &str, message: &str) {
        self.context.recorder().event_for(&*self.cached, kind, reason, message);
    }

    fn condition(&mut self, kind: &str, status: bool, reason: &str, message: &str) {
        let now = self.context.now();
        let list = self.object.status.get_or_insert_default().conditions.get_or_insert_default();
        let at = list.iter().position(|known| known.type_ == kind).unwrap_or_else(|| {
            list.push(HorizontalPodAutoscalerCondition {
                type_: kind.to_owned(),
                ..HorizontalPodAutoscalerCondition::default()
            });
            list.len() - 1
        });
        let status = if status { "True" } else { "False" };
        let Some(known) = list.get_mut(at) else { return };
        if known.status != status {
            known.last_transition_time = Some(Time(now));
        }
        known.status = status.to_owned();
        known.reason = Some(reason.to_owned());
        known.message = Some(message.to_owned());
    }

    /// Says what is and what was measured; the rest stays as it was.
    fn state(&mut self, current: i32, metrics: Option<Vec<MetricStatus>>) {
        let status = self.object.status.get_or_insert_default();
        status.current_replicas = Some(current);
        status.current_metrics = metrics;
    }

    async fn write(&mut self) -> Result<(), Error> {
        if self.object.status == self.cached.status {
            return Ok(());
        }
        let api: Api<HorizontalPodAutoscaler> =
            Api::namespaced(self.context.client(), &self.key.namespace);
        let written =
            api.replace_status(&self.key.name, &PostParams::default(), &self.object).await;
        unless_gone(written).inspect_err(|error| {
            self.event(EventType::Warning, "FailedUpdateStatus", &error.text());
        })
    }

    fn cannot_scale(&mut self, error: &str) {
        self.event(EventType::Warning, "FailedGetScale", error);
        let message =
            format!("the HPA controller was unable to get the target's current scale: {error}");
        self.condition("AbleToScale", false, "FailedGetScale", &message);
    }

    async fn scale(&mut self) -> Result<(), Error> {
        let spec = self.spec();
        let target = &spec.scale_target_ref;
        let found =
            match Scale::find(self.autoscaler, self.context, &self.key.namespace, target).await {
                Ok(found) => found,
                Err(error) => {
                    self.cannot_scale(&error);
                    return Err(Error::Incomplete(error));
                }
            };
        let message = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", true, "SucceededGetScale", message);
        let current = found.wanted;
        let now = self.context.clock().elapsed();
        self.autoscaler.remember(self.key, |memory| memory.begin(current, now));
        let bounds = Bounds {
            min: spec.min_replicas.unwrap_or(1),
            max: spec.max_replicas,
            current,
            stabilization: self.autoscaler.stabilization,
        };
        let was_scaled_to_zero = self.to_zero() && self.is_scaled_to_zero();
        let wakes = was_scaled_to_zero && (bounds.min != 0 || has_figure_without_pods(&spec));
        if current == 0 && !wakes {
            let message = "scaling is disabled since the replica count of the target is zero";
            self.condition("ScalingActive", false, "ScalingDisabled", message);
            if !self.to_zero() {
                self.forget_zero();
            }
            self.finish(current, current, None);
            return Ok(());
        }
        let over = "Current number of replicas above Spec.MaxReplicas";
        let under = "Current number of replicas below Spec.MinReplicas";
        if current > bounds.max {
            return self.rescale(found, bounds.max, over, None).await;
        }
        if current < bounds.min && current != 0 {
            return self.rescale(found, bounds.min, under, None).await;
        }
        let computed = self.compute(&spec, &found).await;
        let Some(wanted) = computed.replicas else {
            self.state(current, computed.statuses);
            let error = computed.error.unwrap_or_default();
            self.event(EventType::Warning, "FailedComputeMetricsReplicas", &error);
            return Err(Error::Incomplete(format!(
                "failed to compute desired number of replicas based on listed metrics for {}/{}/{}: {error}",
                target.kind, self.key.namespace, target.name
            )));
        };
        let wanted = wanted.max(0);
        let mut reason = match wanted.cmp(&current) {
            std::cmp::Ordering::Greater => format!("{} above target", computed.metric),
            std::cmp::Ordering::Less => "All metrics below target".to_owned(),
            std::cmp::Ordering::Equal => String::new(),
        };
        let mut decision = self.autoscaler.remember(self.key, |memory| match &spec.behavior {
            None => memory.decide(wanted, bounds, now),
            Some(behavior) => memory.decide_by(behavior, wanted, bounds, now),
        });
        let (stable, limit) = (decision.stable, decision.limit);
        self.condition("AbleToScale", true, stable.0, stable.1);
        self.condition("ScalingLimited", decision.limited, limit.0, limit.1);
        if current == 0 && decision.replicas < bounds.min {
            decision.replicas = bounds.min;
            if reason.is_empty() {
                reason = under.to_owned();
            }
        }
        if decision.replicas == current {
            self.finish(current, current, computed.statuses);
        } else {
            self.rescale(found, decision.replicas, &reason, computed.statuses).await?;
        }
        computed.error.map_or(Ok(()), |error| Err(Error::Incomplete(error)))
    }

    fn to_zero(&self) -> bool {
        self.autoscaler.to_zero
    }

    /// Whether it was this controller that left no replica.
    fn is_scaled_to_zero(&self) -> bool {
        let status = self.object.status.as_ref();
        let mut conditions =
            status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        conditions.any(|known| known.type_ == SCALED_TO_ZERO && known.status == "True")
    }

    fn forget_zero(&mut self) {
        let status = self.object.status.as_mut();
        if let Some(list) = status.and_then(|status| status.conditions.as_mut()) {
            list.retain(|known| known.type_ != SCALED_TO_ZERO);
        }
    }

    /// Tells after every change of size whether it led to zero.
    fn note_zero(&mut self, current: i32, wanted: i32) {
        let spec = self.spec();
        if !self.to_zero() {
            self.forget_zero();
        } else if current > 0
            && wanted == 0
            && spec.min_replicas == Some(0)
            && has_figure_without_pods(&spec)
        {
            let message = "the HPA controller scaled the workload to zero";
            self.condition(SCALED_TO_ZERO, true, "ScaledToZero", message);
        } else {
            let message = "the HPA controller did not scale the workload to zero";
            self.condition(SCALED_TO_ZERO, false, "NotScaledToZero", message);
        }
    }

    fn finish(&mut self, current: i32, wanted: i32, metrics: Option<Vec<MetricStatus>>) {
        self.autoscaler.monitor.wants(self.key, wanted);
        self.state(current, metrics);
        self.object.status.get_or_insert_default().desired_replicas = wanted;
    }

    async fn rescale(
        &mut self,
        scale: Scale,
        wanted: i32,
        reason: &str,
        metrics: Option<Vec<MetricStatus>>,
    ) -> Result<(), Error> {
        let current = scale.wanted;
        if let Err(error) = scale.set(self.context, wanted).await {
            let message = format!("New size: {wanted}; reason: {reason}; error: {error}");
            self.event(EventType::Warning, "FailedRescale", &message);
            let message =
                format!("the HPA controller was unable to update the target scale: {error}");
            self.condition("AbleToScale", false, "FailedUpdateScale", &message);
            self.state(current, metrics);
            return Err(Error::Incomplete(format!("failed to rescale: {error}")));
        }
        let message = format!("the HPA controller was able to update the target scale to {wanted}");
        self.condition("AbleToScale", true, "SucceededRescale", &message);
        let message = format!("New size: {wanted}; reason: {reason}");
        self.event(EventType::Normal, "SuccessfulRescale", &message);
        self.note_zero(current, wanted);
        self.done = Done::of(current, wanted);
        let behavior = self.spec().behavior;
        if let Some(behavior) = &behavior {
            let now = self.context.clock().elapsed();
            self.autoscaler
                .remember(self.key, |memory| memory.scaled(behavior, current, wanted, now));
        }
        self.finish(current, wanted, metrics);
        let now = Time(self.context.now());
        self.object.status.get_or_insert_default().last_scale_time = Some(now);
        Ok(())
    }

    /// The pods the target selects, if nobody else scales them.
    fn pods(&mut self, selector: &str) -> Result<Vec<Arc<Pod>>, String> {
        let refuse = |run: &mut Self, event: &str, condition: &str, why: String, shown: &str| {
            run.event(EventType::Warning, event, &why);
            run.condition("ScalingActive", false, condition, shown);
            why
        };
        if selector.is_empty() {
            let (why, shown) =
                ("selector is required", "the HPA target's scale is missing a selector");
            return Err(refuse(self, "SelectorRequired", "InvalidSelector", why.into(), shown));
        }
        let parsed = match LabelSelector::parse(selector) {
            Ok(parsed) => parsed,
            Err(error) => {
                let why = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                return Err(refuse(self, "InvalidSelector", "InvalidSelector", why.clone(), &why));
            }
        };
        let label = |pod: &Pod, selector: &LabelSelector| {
            let labels = pod.metadata.labels.as_ref();
            selector.matches(|name| labels?.get(name).map(String::as_str))
        };
        let pods = self.context.informers().of::<Pod>().list_in(&self.key.namespace);
        let pods: Vec<_> = pods.into_iter().filter(|pod| label(pod, &parsed)).collect();
        let others = {
            let mut selectors = self.autoscaler.selectors.lock();
            selectors.insert(self.key.clone(), parsed);
            let mut same: Vec<_> = selectors
                .iter()
                .filter(|(key, _)| key.namespace == self.key.namespace)
                .filter(|(_, selector)| pods.iter().any(|pod| label(pod, selector)))
                .map(|(key, _)| format!("{}/{}", key.namespace, key.name))
                .collect();
            same.sort();
            same
        };
        if others.len() > 1 {
            let why = format!(
                "pods by selector {selector} are controlled by multiple HPAs: [{}]",
                others.join(" ")
            );
            return Err(refuse(self, "AmbiguousSelector", "AmbiguousSelector", why.clone(), &why));
        }
        Ok(pods)
    }

    /// What each figure asks for; the most of them counts.
    async fn compute(&mut self, spec: &HorizontalPodAutoscalerSpec, scale: &Scale) -> Computed {
        let pods = match self.pods(&scale.selector) {
            Ok(pods) => pods,
            Err(why) => return Computed::refused(why),
        };
        let target = Target {
            pods: &pods,
            wanted: scale.wanted,
            present: scale.present,
            tolerances: Tolerances::of(
                spec.behavior.as_ref().filter(|_| self.autoscaler.tolerant),
                self.autoscaler.tolerance,
            ),
            starting: self.autoscaler.starting,
            now: self.context.now(),
        };
        let specs = spec.metrics.clone().unwrap_or_default();
        let resources = self.autoscaler.resources(self.context, false).await.ok();
        let source = compute::Source {
            context: self.context,
            namespace: &self.key.namespace,
            selector: &scale.selector,
            resources: resources.as_deref(),
        };
        let mut statuses = Vec::new();
        let mut best: Option<(i32, String)> = None;
        let mut failed = Vec::new();
        for metric in &specs {
            let started = self.context.clock().elapsed();
            let outcome = source.compute(metric, &target).await;
            let took = self.context.clock().elapsed() - started;
            self.autoscaler.monitor.computed(&metric.type_, &outcome, scale.wanted, took);
            match outcome {
                Ok(found) => {
                    statuses.push(found.status);
                    if best.as_ref().is_none_or(|(most, _)| *most == 0 || found.replicas > *most) {
                        best = Some((found.replicas, found.metric));
                    }
                }
                Err(failure) => {
                    statuses.push(MetricStatus::default());
                    if let Some(why) = &failure.told {
                        self.event(EventType::Warning, failure.reason, why);
                    }
                    failed.push(failure);
                }
            }
        }
        let error = failed.first().map(|first| {
            let (bad, all) = (failed.len(), specs.len());
            format!("invalid metrics ({bad} invalid out of {all}), first error is: {}", first.error)
        });
        let statuses = Some(statuses);
        let down = best.as_ref().is_none_or(|(most, _)| *most < scale.wanted);
        if let Some(first) = failed.first().filter(|_| best.is_none() || down) {
            let why = first.told.as_ref().unwrap_or(&first.error);
            let message = format!("the HPA was unable to compute the replica count: {why}");
            self.condition("ScalingActive", false, first.reason, &message);
            return Computed { replicas: None, metric: String::new(), statuses, error };
        }
        let (replicas, metric) = best.unwrap_or_default();
        let message =
            format!("the HPA was able to successfully calculate a replica count from {metric}");
        self.condition("ScalingActive", true, "ValidMetricFound", &message);
        Computed { replicas: Some(replicas), metric, statuses, error }
    }
}

/// Whether a figure can be known though there are no pods.
fn has_figure_without_pods(spec: &HorizontalPodAutoscalerSpec) -> bool {
    let mut metrics = spec.metrics.iter().flatten();
    metrics.any(|metric| matches!(metric.type_.as_str(), "Object" | "External"))
}
