//! From figures to numbers of replicas.

use crate::builtin::Settings;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior},
    core::v1::{Container, Pod},
};
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::{condition, is_ready, is_sidecar, requests};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How long after its start a pod is not what it will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Starting {
    /// In which its use of the processor may be that of starting.
    initialization: SignedDuration,
    /// In which it may say for the first time that it is not ready.
    first_readiness: SignedDuration,
}

impl Starting {
    pub(super) fn of(settings: &Settings) -> Self {
        let signed = |time| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        Self {
            initialization: signed(settings.horizontal_pod_autoscaler_cpu_initialization_period),
            first_readiness: signed(settings.horizontal_pod_autoscaler_initial_readiness_delay),
        }
    }
}

/// A figure of one pod, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PodMetric {
    pub(super) value: i64,
    /// When it was measured.
    pub(super) at: Timestamp,
    /// Over which time.
    pub(super) window: SignedDuration,
}

/// Figures by the names of pods.
pub(super) type Metrics = BTreeMap<String, PodMetric>;

/// How far from its target a figure may be without consequences, as parts of the target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tolerances {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerances {
    /// Those of an autoscaler's rules, and `usual` where they say nothing.
    pub(super) fn of(behavior: Option<&HorizontalPodAutoscalerBehavior>, usual: f64) -> Self {
        let of = |rules: Option<&HPAScalingRules>| {
            let tolerance = rules.and_then(|rules| rules.tolerance.as_ref());
            tolerance.map_or(usual, |tolerance| Quantity::from_api(tolerance).as_f64())
        };
        Self {
            down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
            up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
        }
    }

    fn contain(self, ratio: f64) -> bool {
        (1.0 - self.down) <= ratio && ratio <= (1.0 + self.up)
    }
}

/// Whose replicas are counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// The pods that the target's selector selects.
    pub(super) pods: &'a [Arc<Pod>],
    /// The replicas it is to have.
    pub(super) wanted: i32,
    /// The replicas it has.
    pub(super) present: i32,
    pub(super) tolerances: Tolerances,
    pub(super) starting: Starting,
    pub(super) now: Timestamp,
}

/// Use of a resource in relation to what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Utilization {
    pub(super) replicas: i32,
    /// In per cent.
    pub(super) percent: i32,
    /// Of one pod on average, in thousandths.
    pub(super) average: i64,
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The number of replicas as the original has it: rounded up, and never more than there can be.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates, which is wanted")]
fn ceil(count: f64) -> i32 {
    count.ceil() as i32
}

#[expect(clippy::cast_precision_loss, reason = "the original computes with the same precision")]
fn float(value: i64) -> f64 {
    value as f64
}

fn count(pods: usize) -> i64 {
    i64::try_from(pods).unwrap_or(i64::MAX)
}

/// Pods by what their figures are worth.
#[derive(Debug, Default)]
struct Groups {
    ready: usize,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
    ignored: BTreeSet<String>,
}

impl Groups {
    fn of(target: &Target<'_>, metrics: &Metrics, resource: &str) -> Self {
        let mut groups = Self::default();
        for pod in target.pods {
            let name = name(pod).to_owned();
            if pod.metadata.deletion_timestamp.is_some() || phase(pod) == "Failed" {
                groups.ignored.insert(name);
            } else if phase(pod) == "Pending" {
                groups.unready.insert(name);
            } else if let Some(metric) = metrics.get(&name) {
                if resource == "cpu" && !tells_truth(pod, metric, target) {
                    groups.unready.insert(name);
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.insert(name);
            }
        }
        groups
    }
}

/// Whether what a pod used of the processor is what it needs when it works.
fn tells_truth(pod: &Pod, metric: &PodMetric, target: &Target<'_>) -> bool {
    let started = pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(started)) = (condition(pod, "Ready"), started) else { return false };
    let after = |at: Timestamp, time| at.saturating_add(time).unwrap_or(Timestamp::MAX);
    let changed = ready.last_transition_time.as_ref().map_or(Timestamp::MIN, |time| time.0);
    let unready = ready.status == "False";
    if after(started.0, target.starting.initialization) > target.now {
        !unready && metric.at >= after(changed, metric.window)
    } else {
        !(unready && after(started.0, target.starting.first_readiness) > changed)
    }
}

/// What a whole set of figures leads to.
struct Found {
    replicas: i32,
    /// What the figures that count say.
    figures: (i32, i64),
}

/// The rules for pods without figures and pods that are not ready, for any way to compare figures to the target.
///
/// `compare` gives the ratio of figures to target, and the figures as they are shown. Pods without figures
/// are taken to use `fallback` where that keeps from scaling down, and nothing where it keeps from scaling up.
fn calculate(
    target: &Target<'_>,
    mut metrics: Metrics,
    resource: &str,
    fallback: impl Fn(&str) -> i64,
    compare: impl Fn(&Metrics) -> Result<(f64, (i32, i64)), String>,
) -> Result<Found, String> {
    let groups = Groups::of(target, &metrics, resource);
    metrics.retain(|name, _| !groups.ignored.contains(name) && !groups.unready.contains(name));
    if metrics.is_empty() {
        let why = "did not receive metrics for targeted pods (pods might be unready)";
        return Err(why.to_owned());
    }
    let (ratio, figures) = compare(&metrics)?;
    let stay = Found { replicas: target.wanted, figures };
    let up_with_unready = !groups.unready.is_empty() && ratio > 1.0;
    if !up_with_unready && groups.missing.is_empty() {
        if target.tolerances.contain(ratio) {
            return Ok(stay);
        }
        return Ok(Found { replicas: ceil(ratio * float(count(groups.ready))), figures });
    }
    let assumed =
        |value| PodMetric { value, at: Timestamp::UNIX_EPOCH, window: SignedDuration::ZERO };
    if ratio != 1.0 {
        for name in &groups.missing {
            let value = if ratio < 1.0 { fallback(name) } else { 0 };
            metrics.insert(name.clone(), assumed(value));
        }
    }
    if up_with_unready {
        for name in &groups.unready {
            metrics.insert(name.clone(), assumed(0));
        }
    }
    let (again, _) = compare(&metrics)?;
    let turned = (ratio < 1.0 && again > 1.0) || (ratio > 1.0 && again < 1.0);
    if target.tolerances.contain(again) || turned {
        return Ok(stay);
    }
    let replicas = ceil(again * float(count(metrics.len())));
    let turned =
        (again < 1.0 && replicas > target.wanted) || (again > 1.0 && replicas < target.wanted);
    Ok(if turned { stay } else { Found { replicas, figures } })
}

fn some_pods(target: &Target<'_>) -> Result<(), String> {
    match target.pods {
        [] => Err("no pods returned by selector while calculating replica count".to_owned()),
        _ => Ok(()),
    }
}

/// Replicas so that pods use `percent` of what they ask for of a resource.
pub(super) fn utilization(
    target: &Target<'_>,
    metrics: Metrics,
    percent: i32,
    resource: &str,
    container: &str,
) -> Result<Utilization, String> {
    some_pods(target)?;
    let requests = requests_of(target.pods, container, resource);
    let fallback = |name: &str| {
        let request = requests.as_ref().ok().and_then(|all| all.get(name)).copied();
        request.unwrap_or_default().saturating_mul(i64::from(percent.max(100))) / 100
    };
    let found = calculate(target, metrics, resource, fallback, |metrics| {
        let requests = requests.as_ref().map_err(Clone::clone)?;
        let (mut used, mut asked, mut entries) = (0_i64, 0_i64, 0_i64);
        for (name, metric) in metrics {
            if let Some(request) = requests.get(name) {
                used = used.saturating_add(metric.value);
                asked = asked.saturating_add(*request);
                entries += 1;
            }
        }
        if asked == 0 {
            return Err("no metrics returned matched known pods".to_owned());
        }
        let now = i32::try_from(used.saturating_mul(100) / asked).unwrap_or(i32::MAX);
        Ok((f64::from(now) / f64::from(percent), (now, used / entries)))
    })?;
    let (percent, average) = found.figures;
    Ok(Utilization { replicas: found.replicas, percent, average })
}

/// Replicas so that pods have a figure of `average` (in thousandths) each; and what they have now.
pub(super) fn average(
    target: &Target<'_>,
    metrics: Metrics,
    average: i64,
    resource: &str,
) -> Result<(i32, i64), String> {
    some_pods(target)?;
    let found = calculate(
        target,
        metrics,
        resource,
        |_| average,
        |metrics| {
            let total = metrics.values().fold(0_i64, |sum, one| sum.saturating_add(one.value));
            let now = total / count(metrics.len()).max(1);
            Ok((float(now) / float(average), (0, now)))
        },
    )?;
    Ok((found.replicas, found.figures.1))
}

/// Replicas so that one figure, which they share, becomes `wanted`.
pub(super) fn value(target: &Target<'_>, usage: i64, wanted: i64) -> Result<i32, String> {
    let ratio = float(usage) / float(wanted);
    if target.wanted == 0 {
        return Ok(ceil(ratio));
    }
    if target.tolerances.contain(ratio) {
        return Ok(target.wanted);
    }
    some_pods(target).map_err(|why| format!("unable to calculate ready pods: {why}"))?;
    let working = target.pods.iter().filter(|pod| phase(pod) == "Running" && is_ready(pod));
    Ok(ceil(ratio * float(count(working.count()))))
}

/// Replicas so that each has `wanted` of one figure that they share; and what each has now.
pub(super) fn value_per_pod(target: &Target<'_>, usage: i64, wanted: i64) -> (i32, i64) {
    let present = f64::from(target.present);
    let ratio = float(usage) / (float(wanted) * present);
    let replicas = match target.tolerances.contain(ratio) {
        true => target.present,
        false => ceil(float(usage) / float(wanted)),
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the conversion saturates, which is wanted"
    )]
    let each = (float(usage) / present).ceil() as i64;
    (replicas, each)
}

/// What each pod asks for of a resource, in thousandths.
fn requests_of(
    pods: &[Arc<Pod>],
    container: &str,
    resource: &str,
) -> Result<BTreeMap<String, i64>, String> {
    let one = |pod: &Arc<Pod>| Ok((name(pod).to_owned(), request(pod, container, resource)?));
    pods.iter().map(one).collect()
}

fn request(pod: &Pod, container: &str, resource: &str) -> Result<i64, String> {
    let Some(spec) = &pod.spec else { return Ok(0) };
    let whole = spec.resources.as_ref().and_then(|own| own.requests.as_ref());
    if container.is_empty() && whole.is_some_and(|whole| !whole.is_empty()) {
        let amount = requests(spec).get(resource).map(Quantity::milli_value);
        return amount.ok_or_else(|| {
            format!("missing pod-level request for {resource} in Pod {}", name(pod))
        });
    }
    let sidecars = spec.init_containers.iter().flatten().filter(|other| is_sidecar(other));
    let mut total = 0_i64;
    for one in spec.containers.iter().chain(sidecars) {
        if container.is_empty() || one.name == container {
            let amount = asked(one, resource).ok_or_else(|| {
                let (pod, own) = (name(pod), &one.name);
                format!("missing request for {resource} in container {own} of Pod {pod}")
            })?;
            total = total.saturating_add(amount);
        }
        if one.name == container {
            return Ok(total);
        }
    }
    match container {
        "" => Ok(total),
        _ => Err(format!("container {container} not found in Pod {}", name(pod))),
    }
}

fn asked(container: &Container, resource: &str) -> Option<i64> {
    let requests = container.resources.as_ref()?.requests.as_ref()?;
    Some(Quantity::from_api(requests.get(resource)?).milli_value())
}

#[cfg(test)]
mod tests;
