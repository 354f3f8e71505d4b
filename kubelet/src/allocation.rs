//! What the node has given to the containers of a pod, and what the runtime was told of it (KEP-1287).
//!
//! ```text
//!   asked for (spec) ── resize: has the node room? ──> allocated ── worker::resize: the runtime ──> actuated
//! ```
//! The pod's worker keeps both in a file of the pod's directory, so that a kubelet that comes back neither takes what was
//! only asked for as given nor changes containers that are as they should be.

use crate::{
    Error, Result,
    spec::{self, status_named},
    volumes::create_closed_dir,
};
use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use kubeplane_core::quantity::{Format, Quantity};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

/// Where it is kept, below the directory of the pod.
const FILE: &str = "resources.json";

type Amounts = Option<BTreeMap<String, ApiQuantity>>;

/// What of a container can be changed while it runs; zero where nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Thousandths of a processor, as the next.
    pub(crate) cpu_request: i64,
    pub(crate) cpu_limit: i64,
    /// Bytes, as the next.
    pub(crate) memory_request: i64,
    pub(crate) memory_limit: i64,
}

impl Figures {
    pub(crate) fn of(resources: Option<&ResourceRequirements>) -> Self {
        let none: Amounts = None;
        let requests = resources.map_or(&none, |own| &own.requests);
        let limits = resources.map_or(&none, |own| &own.limits);
        let amount = |list: &Amounts, name: &str| {
            let found = list.as_ref().and_then(|list| list.get(name));
            found.map(Quantity::from_api).unwrap_or_default()
        };
        Self {
            cpu_request: amount(requests, "cpu").milli_value(),
            cpu_limit: amount(limits, "cpu").milli_value(),
            memory_request: amount(requests, "memory").value(),
            memory_limit: amount(limits, "memory").value(),
        }
    }

    /// The same in the API's form.
    pub(crate) fn to_resources(self) -> ResourceRequirements {
        let list = |cpu: i64, memory: i64| {
            let all = [
                ("cpu", cpu, Quantity::from_milli(cpu, Format::DecimalSi)),
                ("memory", memory, Quantity::new(memory, Format::BinarySi)),
            ];
            let said = all.into_iter().filter(|(_, value, _)| *value != 0);
            let list: BTreeMap<_, _> =
                said.map(|(name, _, amount)| (name.to_owned(), amount.to_api())).collect();
            (!list.is_empty()).then_some(list)
        };
        ResourceRequirements {
            requests: list(self.cpu_request, self.memory_request),
            limits: list(self.cpu_limit, self.memory_limit),
            claims: None,
        }
    }
}

/// Figures by the names of containers.
pub(crate) type Actuated = BTreeMap<String, Figures>;

/// What a pod and its containers, but for ephemeral ones, were given.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Allocation {
    pod: Option<ResourceRequirements>,
    containers: BTreeMap<String, ResourceRequirements>,
}

fn all_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    spec::init_containers(pod).iter().chain(spec::containers(pod))
}

impl Allocation {
    /// All that the pod asks for.
    pub(crate) fn of(pod: &Pod) -> Self {
        let own = |container: &Container| {
            (container.name.clone(), container.resources.clone().unwrap_or_default())
        };
        Self {
            pod: spec::spec(pod).resources.clone(),
            containers: all_containers(pod).map(own).collect(),
        }
    }

    /// Whether the pod asks for other amounts than these, however they are written.
    pub(crate) fn differs(&self, pod: &Pod) -> bool {
        self.pod_differs(pod)
            || all_containers(pod).any(|container| {
                let given = self.containers.get(&container.name);
                given.is_some_and(|given| !same(Some(given), container.resources.as_ref()))
            })
    }

    /// The same of what is asked for the pod as a whole.
    pub(crate) fn pod_differs(&self, pod: &Pod) -> bool {
        !same(self.pod.as_ref(), spec::spec(pod).resources.as_ref())
    }

    /// The pod as if it asked for what it was given.
    pub(crate) fn apply(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        if !self.differs(pod) {
            return pod.clone();
        }
        let mut given = Pod::clone(pod);
        if let Some(spec) = &mut given.spec {
            spec.resources.clone_from(&self.pod);
            let init = spec.init_containers.iter_mut().flatten();
            for container in init.chain(&mut spec.containers) {
                if let Some(own) = self.containers.get(&container.name) {
                    container.resources = Some(own.clone());
                }
            }
        }
        Arc::new(given)
    }

    /// As [`Allocation::apply`], where a container counts for what it still has until the runtime has taken it away.
    pub(crate) fn counted(&self, pod: &Arc<Pod>, actuated: &Actuated) -> Arc<Pod> {
        let mut counted = self.apply(pod);
        let more = |container: &Container| {
            let has = actuated.get(&container.name).copied().unwrap_or_default();
            let given = Figures::of(container.resources.as_ref());
            let most = Figures {
                cpu_request: has.cpu_request.max(given.cpu_request),
                memory_request: has.memory_request.max(given.memory_request),
                ..given
            };
            (most != given).then_some(most)
        };
        if !all_containers(&counted).any(|container| more(container).is_some()) {
            return counted;
        }
        if let Some(spec) = &mut Arc::make_mut(&mut counted).spec {
            let init = spec.init_containers.iter_mut().flatten();
            for container in init.chain(&mut spec.containers) {
                let Some(most) = more(container) else { continue };
                let requests =
                    container.resources.get_or_insert_default().requests.get_or_insert_default();
                requests.extend(most.to_resources().requests.unwrap_or_default());
            }
        }
        counted
    }
}

/// Whether both are of the same amounts.
fn same(one: Option<&ResourceRequirements>, other: Option<&ResourceRequirements>) -> bool {
    let amounts = |list: Option<&Amounts>| -> BTreeMap<String, Quantity> {
        let list = list.and_then(Option::as_ref).into_iter().flatten();
        list.map(|(name, amount)| (name.clone(), Quantity::from_api(amount))).collect()
    };
    one == other
        || amounts(one.map(|own| &own.requests)) == amounts(other.map(|own| &own.requests))
            && amounts(one.map(|own| &own.limits)) == amounts(other.map(|own| &own.limits))
}

/// Whether two states of a pod may ask for different amounts.
pub(crate) fn asks_otherwise(old: &Pod, new: &Pod) -> bool {
    let all = |pod| all_containers(pod).map(|container| &container.resources);
    spec::spec(old).resources != spec::spec(new).resources || !all(old).eq(all(new))
}

/// What is kept of one pod.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) allocated: Allocation,
    pub(crate) actuated: Actuated,
}

impl Kept {
    /// What is known of a pod that this kubelet has not worked on yet: as it was kept, or else as the status of its
    /// containers tells it, or else all that it asks for.
    pub(crate) fn read(dir: &Path, pod: &Pod) -> Self {
        let file = dir.join(FILE);
        match fs::read(&file).map(|bytes| serde_json::from_slice(&bytes)) {
            Ok(Ok(kept)) => return kept,
            Ok(Err(error)) => {
                tracing::warn!(file = %file.display(), %error, "what a pod was given is lost");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = %file.display(), %error, "cannot read what a pod was given");
            }
        }
        Self::told(pod)
    }

    fn told(pod: &Pod) -> Self {
        let status = spec::status(pod);
        let mut kept = Self { allocated: Allocation::of(pod), actuated: Actuated::new() };
        let lists = [&status.init_container_statuses, &status.container_statuses];
        let statuses: Vec<ContainerStatus> =
            lists.into_iter().flatten().flatten().cloned().collect();
        for (name, given) in &mut kept.allocated.containers {
            let told = status_named(&statuses, name).filter(|own| own.container_id.is_some());
            let Some(told) = told.and_then(|own| own.resources.clone()) else { continue };
            kept.actuated.insert(name.clone(), Figures::of(Some(&told)));
            *given = ResourceRequirements { claims: given.claims.clone(), ..told };
        }
        kept
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        create_closed_dir(dir)?;
        let (file, next) = (dir.join(FILE), dir.join(format!("{FILE}.next")));
        let write = || {
            fs::write(&next, serde_json::to_vec(self)?)?;
            fs::rename(&next, &file)
        };
        write().map_err(|error| Error::file(&file, error))
    }
}

#[cfg(test)]
mod tests;
