//! The quality of service of a pod: how it is treated when a node runs out of memory.

use k8s_openapi::{
    api::core::v1::{PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::Quantity;
use std::{collections::BTreeMap, fmt};

/// The classes, from the last to be killed to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QosClass {
    /// Every container has limits for CPU and memory, and requests exactly them.
    Guaranteed,
    /// Something is requested or limited.
    Burstable,
    /// Nothing is.
    BestEffort,
}

impl QosClass {
    /// As in `status.qosClass`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// The class of a pod. Resources of the pod as a whole, where they are set, decide alone.
#[must_use]
pub fn qos_class(spec: &PodSpec) -> QosClass {
    let mut sums = Sums::default();
    match &spec.resources {
        Some(resources) => {
            sums.add(resources.requests.as_ref(), resources.limits.as_ref());
        }
        None => {
            let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            for container in containers {
                let none = ResourceRequirements::default();
                let resources = container.resources.as_ref().unwrap_or(&none);
                if !sums.add(resources.requests.as_ref(), resources.limits.as_ref()) {
                    sums.unlimited = true;
                }
            }
        }
    }
    sums.class()
}

#[derive(Default)]
struct Sums {
    requests: [Quantity; 2],
    limits: [Quantity; 2],
    unlimited: bool,
}

impl Sums {
    /// Whether both resources have a limit.
    fn add(&mut self, requests: Option<&List>, limits: Option<&List>) -> bool {
        let mut limited = true;
        for (index, name) in COUNTED.into_iter().enumerate() {
            if let Some(amount) = positive(requests, name) {
                self.requests[index].add(&amount);
            }
            match positive(limits, name) {
                Some(amount) => self.limits[index].add(&amount),
                None => limited = false,
            }
        }
        limited
    }

    fn class(&self) -> QosClass {
        let all = || self.requests.iter().chain(&self.limits);
        if all().all(Quantity::is_zero) {
            QosClass::BestEffort
        } else if !self.unlimited
            && !self.limits.iter().any(Quantity::is_zero)
            && self.requests == self.limits
        {
            QosClass::Guaranteed
        } else {
            QosClass::Burstable
        }
    }
}

type List = BTreeMap<String, ApiQuantity>;

fn positive(list: Option<&List>, name: &str) -> Option<Quantity> {
    let amount = Quantity::from_api(list?.get(name)?);
    (amount.sign() > 0).then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn class(resources: &[Value]) -> QosClass {
        let containers: Vec<_> = resources
            .iter()
            .map(|resources| json!({"name": "c", "resources": resources}))
            .collect();
        qos_class(&serde_json::from_value(json!({"containers": containers})).unwrap())
    }

    #[test]
    fn classes() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let guaranteed = json!({"requests": both, "limits": both});
        assert_eq!(class(&[json!({})]), QosClass::BestEffort);
        assert_eq!(class(&[json!({"requests": {"example.com/gpu": "1"}})]), QosClass::BestEffort);
        assert_eq!(class(&[guaranteed.clone(), guaranteed.clone()]), QosClass::Guaranteed);
        assert_eq!(class(&[guaranteed, json!({})]), QosClass::Burstable);
        assert_eq!(class(&[json!({"limits": both})]), QosClass::Burstable);
        assert_eq!(class(&[json!({"requests": {"cpu": "1"}})]), QosClass::Burstable);
    }
}
