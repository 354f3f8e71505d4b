use super::security;
use crate::spec;
use k8s_openapi::{
    api::core::v1::{Container, Pod},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::Quantity;
use kubeplane_runtime_cri::v1;
use std::collections::BTreeMap;

const SHARES_PER_CPU: i64 = 1024;
const MIN_SHARES: i64 = 2;
const PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1000;

type Amounts = Option<BTreeMap<String, ApiQuantity>>;

fn amount(amounts: &Amounts, name: &str) -> Option<Quantity> {
    amounts.as_ref()?.get(name).map(Quantity::from_api)
}

/// The limits of a container on a machine with this much memory (bytes).
pub(crate) fn linux(pod: &Pod, container: &Container, memory: u64) -> v1::LinuxContainerResources {
    let resources = container.resources.clone().unwrap_or_default();
    let cpu_limit = amount(&resources.limits, "cpu").map(|cpu| cpu.milli_value());
    let cpu_request = amount(&resources.requests, "cpu").map(|cpu| cpu.milli_value());
    let memory_limit = amount(&resources.limits, "memory").map(|memory| memory.value());
    let memory_request = amount(&resources.requests, "memory").map(|memory| memory.value());
    let cpu = cpu_request.filter(|request| *request > 0).or(cpu_limit).unwrap_or(0);
    let quota = cpu_limit.filter(|limit| *limit > 0);
    v1::LinuxContainerResources {
        cpu_shares: (cpu * SHARES_PER_CPU / 1000).clamp(MIN_SHARES, 262_144),
        cpu_period: quota.map_or(0, |_| PERIOD),
        cpu_quota: quota.map_or(0, |milli| (milli * PERIOD / 1000).max(MIN_QUOTA)),
        memory_limit_in_bytes: memory_limit.unwrap_or(0),
        oom_score_adj: oom_score_adj(pod, memory_request.unwrap_or(0), memory),
        ..Default::default()
    }
}

/// How readily the kernel ends a container when memory runs out: the more it uses beyond what it asked
/// for, the sooner.
fn oom_score_adj(pod: &Pod, request: i64, memory: u64) -> i64 {
    let critical = spec::spec(pod).priority.is_some_and(|priority| priority >= 2_000_000_000);
    match security::qos(pod) {
        _ if critical => -997,
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let memory = i64::try_from(memory).unwrap_or(i64::MAX).max(1);
            let share = i128::from(request) * 1000 / i128::from(memory);
            (1000 - i64::try_from(share).unwrap_or(1000)).clamp(3, 999)
        }
    }
}
