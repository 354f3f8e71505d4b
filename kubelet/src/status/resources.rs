//! What a container may use, as the runtime tells it.

use crate::observed::{Observed, State};
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::{Format, Quantity};
use kubeplane_runtime_cri::v1;
use std::collections::BTreeMap;

/// The least thousandths of a processor that a runtime can be told, as a request and as a limit: what is less is shown as
/// it was given.
const LEAST_REQUEST: i64 = 2;
const LEAST_LIMIT: i64 = 10;

type Amounts = BTreeMap<String, ApiQuantity>;

/// What the runtime, or else what it was told, says; thousandths of a processor, and bytes.
#[derive(Debug, Default)]
struct Told {
    cpu_request: Option<i64>,
    cpu_limit: Option<i64>,
    memory_request: Option<i64>,
    memory_limit: Option<i64>,
}

impl Told {
    fn by(observed: &Observed) -> Self {
        let said = |value: i64| (value > 0).then_some(value);
        let runtime = observed.resources.as_ref().map(Self::by_runtime).unwrap_or_default();
        let actuated = observed.actuated;
        let memory_request = actuated.and_then(|own| said(own.memory_request));
        if runtime.is_empty() {
            let Some(own) = actuated else { return runtime };
            let (cpu_request, cpu_limit) = (said(own.cpu_request), said(own.cpu_limit));
            let memory_limit = said(own.memory_limit);
            return Self { cpu_request, cpu_limit, memory_request, memory_limit };
        }
        Self { memory_request, ..runtime }
    }

    fn by_runtime(own: &v1::LinuxContainerResources) -> Self {
        let said = |value: i64| (value > 0).then_some(value);
        let shares = Some(own.cpu_shares).filter(|shares| *shares >= LEAST_REQUEST);
        let quota = Some(own.cpu_quota).filter(|quota| *quota > 0 && own.cpu_period > 0);
        Self {
            cpu_request: shares
                .map(|shares| shares.saturating_mul(1000).saturating_add(1023) / 1024),
            cpu_limit: quota.map(|quota| quota.saturating_mul(1000) / own.cpu_period),
            memory_request: None,
            memory_limit: said(own.memory_limit_in_bytes),
        }
    }

    fn is_empty(&self) -> bool {
        self.cpu_request.is_none() && self.cpu_limit.is_none() && self.memory_limit.is_none()
    }
}

/// What the container has: of one that runs what the runtime tells, or else what was known of it before; of others, and
/// of what cannot be changed, what was given. `status` says which run of the container it is.
pub(super) fn of(
    container: &Container,
    observed: &Observed,
    old: Option<&ContainerStatus>,
    status: &ContainerStatus,
) -> ResourceRequirements {
    let mut own = container.resources.clone().unwrap_or_default();
    if observed.state != State::Running {
        return own;
    }
    let ran = |old: &&ContainerStatus| {
        let running = old.state.as_ref().is_some_and(|state| state.running.is_some());
        running && old.container_id == status.container_id
    };
    let before = old.filter(ran).and_then(|old| old.resources.as_ref());
    let told = Told::by(observed);
    if let Some(limits) = &mut own.limits {
        let before = before.and_then(|own| own.limits.as_ref());
        set_cpu(limits, told.cpu_limit, LEAST_LIMIT, before);
        set_memory(limits, told.memory_limit, before);
    }
    if let Some(requests) = &mut own.requests {
        let before = before.and_then(|own| own.requests.as_ref());
        set_cpu(requests, told.cpu_request, LEAST_REQUEST, before);
        set_memory(requests, told.memory_request, before);
    }
    own
}

fn set_cpu(list: &mut Amounts, told: Option<i64>, least: i64, before: Option<&Amounts>) {
    let Some(milli) = told else { return keep(list, "cpu", before) };
    let given = list.get("cpu").map_or(0, |given| Quantity::from_api(given).milli_value());
    if (milli > least || given > least) && milli != given {
        let amount = Quantity::from_milli(milli, Format::DecimalSi);
        list.insert("cpu".to_owned(), amount.to_api());
    }
}

fn set_memory(list: &mut Amounts, told: Option<i64>, before: Option<&Amounts>) {
    let Some(bytes) = told else { return keep(list, "memory", before) };
    let given = list.get("memory").map_or(0, |given| Quantity::from_api(given).value());
    if bytes != given {
        list.insert("memory".to_owned(), Quantity::new(bytes, Format::BinarySi).to_api());
    }
}

fn keep(list: &mut Amounts, name: &str, before: Option<&Amounts>) {
    if let Some(amount) = before.and_then(|list| list.get(name)) {
        list.insert(name.to_owned(), amount.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::Figures;
    use serde_json::{Value, json};

    fn observed(resources: v1::LinuxContainerResources, actuated: Value) -> Observed {
        let status = v1::ContainerStatus {
            id: "a".to_owned(),
            state: v1::ContainerState::ContainerRunning.into(),
            resources: Some(v1::ContainerResources { linux: Some(resources) }),
            ..v1::ContainerStatus::default()
        };
        let requirements: Option<ResourceRequirements> = serde_json::from_value(actuated).unwrap();
        let actuated = requirements.map(|own| Figures::of(Some(&own)));
        Observed { actuated, ..crate::observed::container_of(status) }
    }

    fn shown(given: Value, observed: &Observed) -> Value {
        let container = json!({"name": "a", "resources": given});
        let container: Container = serde_json::from_value(container).unwrap();
        let status = ContainerStatus::default();
        serde_json::to_value(of(&container, observed, None, &status)).unwrap()
    }

    #[test]
    fn a_running_container_tells_what_it_has_and_not_what_it_is_to_get() {
        let has = json!({"requests": {"cpu": "100m", "memory": "30Mi"}, "limits": {"cpu": "250m", "memory": "64Mi"}});
        let runtime = v1::LinuxContainerResources {
            cpu_shares: 102,
            cpu_period: 100_000,
            cpu_quota: 25_000,
            memory_limit_in_bytes: 64 << 20,
            ..v1::LinuxContainerResources::default()
        };
        let observed = observed(runtime, has.clone());
        let given = json!({"requests": {"cpu": "200m", "memory": "60Mi"}, "limits": {"cpu": "1", "memory": "1Gi"}});
        assert_eq!(shown(given, &observed), has);
        let ended = Observed { state: State::Exited, ..observed };
        let given = json!({"limits": {"cpu": "1"}});
        assert_eq!(shown(given.clone(), &ended), given);
    }

    #[test]
    fn what_is_too_little_to_be_told_is_as_it_was_given() {
        let runtime = v1::LinuxContainerResources {
            cpu_shares: 2,
            cpu_period: 100_000,
            cpu_quota: 1000,
            ..v1::LinuxContainerResources::default()
        };
        let given = json!({"requests": {"cpu": "1m"}, "limits": {"cpu": "5m"}});
        assert_eq!(shown(given.clone(), &observed(runtime, Value::Null)), given);
    }

    #[test]
    fn a_runtime_that_tells_nothing_has_what_it_was_told() {
        let has = json!({"requests": {"cpu": "100m"}, "limits": {"memory": "64Mi"}});
        let given = json!({"requests": {"cpu": "300m"}, "limits": {"memory": "1Gi"}});
        let silent = observed(v1::LinuxContainerResources::default(), has.clone());
        assert_eq!(shown(given, &silent), has);
    }
}
