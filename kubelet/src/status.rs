//! The status of a pod, computed from what the runtime has; and how it reaches the API.

pub(crate) mod conditions;
pub(crate) mod containers;
pub(crate) mod phase;
mod resources;
pub(crate) mod writer;

use crate::{observed::ObservedPod, probes::Results, spec};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::{collections::HashMap, net::IpAddr};

/// Why a container does not run, in the API's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// Why a pod as a whole ended, when it is not by its containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// Everything a status is computed from.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) observed: &'a ObservedPod,
    /// The status computed last, or the API's when there is none yet.
    pub(crate) previous: &'a PodStatus,
    pub(crate) reasons: &'a HashMap<String, Reason>,
    pub(crate) results: &'a Results,
    pub(crate) host_ips: &'a [IpAddr],
    /// `containerd` in `containerd://…`.
    pub(crate) runtime_name: &'a str,
    /// No container of the pod will be started any more.
    pub(crate) terminal: bool,
    pub(crate) verdict: Option<&'a Verdict>,
    /// The conditions that tell of a resize.
    pub(crate) resizes: &'a [PodCondition],
    pub(crate) now: Timestamp,
}

/// The status of the pod.
pub(crate) fn compute(input: &Input<'_>) -> PodStatus {
    let Input { pod, previous, .. } = *input;
    let api = spec::status(pod);
    let mut status = PodStatus {
        observed_generation: pod.metadata.generation.max(previous.observed_generation),
        qos_class: api.qos_class.clone().or_else(|| previous.qos_class.clone()),
        nominated_node_name: api.nominated_node_name.clone(),
        resource_claim_statuses: api.resource_claim_statuses.clone(),
        start_time: previous.start_time.clone().or_else(|| Some(Time(whole_seconds(input.now)))),
        ..PodStatus::default()
    };
    addresses(input, &mut status);
    containers::compute(input, &mut status);
    settle_phase(input, &api, &mut status);
    conditions::compute(input, &mut status);
    status
}

fn addresses(input: &Input<'_>, status: &mut PodStatus) {
    let mut ips: Vec<String> = input.observed.ips().to_vec();
    if spec::is_host_network(input.pod) {
        ips = input.host_ips.iter().map(ToString::to_string).collect();
    } else if ips.is_empty() && input.terminal {
        // The sandbox is gone with its address; the last one stays visible.
        ips = input.previous.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    }
    status.pod_ip = ips.first().cloned();
    status.pod_ips = (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect());
    status.host_ip = input.host_ips.first().map(ToString::to_string);
    let host_ips: Vec<HostIP> =
        input.host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect();
    status.host_ips = (!host_ips.is_empty()).then_some(host_ips);
}

fn settle_phase(input: &Input<'_>, api: &PodStatus, status: &mut PodStatus) {
    let started = spec::containers(input.pod).iter().any(|container| {
        input.observed.container(&container.name).is_some_and(|found| found.started_at > 0)
    });
    let all: Vec<&ContainerStatus> =
        status.container_statuses.iter().chain(&status.init_container_statuses).flatten().collect();
    let mut phase = phase::compute(input.pod, &all, input.terminal, started).to_owned();
    if let Some(verdict) = input.verdict {
        status.phase = Some("Failed".to_owned());
        status.reason = Some(verdict.reason.clone());
        status.message = Some(verdict.message.clone());
        phase = "Failed".to_owned();
    }
    for known in [input.previous, api] {
        if spec::is_terminal(known) {
            phase = spec::phase(known).to_owned();
        }
    }
    if input.verdict.is_none() && spec::phase(input.previous) == phase {
        status.reason = input.previous.reason.clone().or_else(|| api.reason.clone());
        status.message = input.previous.message.clone().or_else(|| api.message.clone());
    }
    status.phase = Some(phase);
}

/// Makes a status final: nothing of the pod runs any more, so every container that did has ended.
pub(crate) fn settle(status: &mut PodStatus, now: Timestamp) {
    containers::end_all(status);
    if !spec::is_terminal(status) {
        status.phase = Some("Failed".to_owned());
        conditions::fail(status, now);
    }
}

/// Times in the API have whole seconds; keeping them so makes comparisons exact.
pub(crate) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

pub(crate) fn time_of_nanos(nanos: i64) -> Option<Time> {
    let at = Timestamp::from_nanosecond(i128::from(nanos)).ok()?;
    (nanos > 0).then(|| Time(whole_seconds(at)))
}

#[cfg(test)]
mod tests;
