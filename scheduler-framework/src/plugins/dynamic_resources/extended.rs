//! Claims that the scheduler makes itself, for extended resources that devices stand for (KEP-5004).

use crate::{
    NodeInfo, PodInfo,
    objects::ClusterObjects,
    plugins::device_classes::{class_for, wanted},
};
use k8s_openapi::{
    api::{
        core::v1::{Container, ContainerExtendedResourceRequest},
        resource::v1::{
            DeviceClaim, DeviceRequest, ExactDeviceRequest, ResourceClaim, ResourceClaimSpec,
        },
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kubeplane_core::quantity::Quantity;
use kubeplane_workload::is_sidecar;
use std::collections::BTreeMap;

/// On claims that were made for extended resources.
const ANNOTATION: &str = "resource.kubernetes.io/extended-resource-claim";
/// The name of one that is not written yet.
pub(super) const UNWRITTEN: &str = "<extended-resources>";

/// Whether a claim for extended resources is not written yet.
pub(super) fn is_unwritten(claim: &ResourceClaim) -> bool {
    claim.metadata.name.as_deref() == Some(UNWRITTEN)
}

/// The uid of the pod for whose extended resources a claim was made, if it was.
pub(super) fn maker(claim: &ResourceClaim) -> Option<&str> {
    let annotations = claim.metadata.annotations.as_ref()?;
    let made = annotations.get(ANNOTATION).is_some_and(|own| own == "true");
    let owner = kubeplane_client::controller_of(claim).filter(|_| made)?;
    Some(&owner.uid)
}

/// A new claim for a pod's extended resources, without requests.
pub(super) fn unwritten(pod: &PodInfo) -> ResourceClaim {
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    ResourceClaim {
        metadata: ObjectMeta {
            namespace: Some(pod.namespace().to_owned()),
            name: Some(UNWRITTEN.to_owned()),
            // Only this scheduler knows it by that.
            uid: Some(format!("{}/{UNWRITTEN}", pod.uid())),
            generate_name: Some(format!("{}-extended-resources-", pod.name())),
            owner_references: Some(vec![owner]),
            annotations: Some(BTreeMap::from([(ANNOTATION.to_owned(), "true".to_owned())])),
            ..ObjectMeta::default()
        },
        spec: ResourceClaimSpec::default(),
        status: None,
    }
}

/// What containers get by which request.
pub(super) type Mappings = Vec<ContainerExtendedResourceRequest>;

/// The claim as a node needs it, `None` when it offers all resources itself.
///
/// # Errors
/// When it has neither the resource nor devices that could stand for it.
pub(super) fn on_node(
    objects: &ClusterObjects,
    pod: &PodInfo,
    node: &NodeInfo,
    claim: &ResourceClaim,
) -> Result<Option<(ResourceClaim, Mappings)>, String> {
    let mut needed = BTreeMap::new();
    for (name, _) in wanted(pod) {
        let offered = node.allocatable().scalars.get(name);
        let class = class_for(objects, name).filter(|_| offered.is_none_or(|own| *own == 0));
        if let Some(class) = class {
            needed.insert(name, class.metadata.name.clone().unwrap_or_default());
        } else if offered.is_none() {
            return Err("cannot fit resource".to_owned());
        }
    }
    if needed.is_empty() {
        return Ok(None);
    }
    let (requests, mappings) = requests(pod, &needed);
    let mut claim = claim.clone();
    claim.spec.devices = Some(DeviceClaim { requests: Some(requests), ..DeviceClaim::default() });
    Ok(Some((claim, mappings)))
}

struct Asked {
    name: String,
    count: i64,
}

/// What a container asks for of a resource, beside what containers after it have.
fn asked(
    (index, container): (usize, &Container),
    resource: &str,
    reusable: &[Option<Asked>],
) -> (Option<Asked>, Mappings) {
    let own = container.resources.as_ref().and_then(|own| own.requests.as_ref());
    let amount = own.and_then(|own| own.get(resource)).map(Quantity::from_api);
    let Some(wanted) = amount.and_then(|own| own.as_i64()).filter(|own| *own != 0) else {
        return (None, Mappings::new());
    };
    let mapping = |request: &str| ContainerExtendedResourceRequest {
        container_name: container.name.clone(),
        resource_name: resource.to_owned(),
        request_name: request.to_owned(),
    };
    let (mut sum, mut mappings) = (0, Mappings::new());
    for other in reusable.iter().flatten() {
        sum += other.count;
        mappings.push(mapping(&other.name));
        if sum >= wanted {
            return (None, mappings);
        }
    }
    let place = own.into_iter().flatten().position(|(name, _)| name == resource);
    let name = format!("container-{index}-request-{}", place.unwrap_or_default());
    mappings.push(mapping(&name));
    (Some(Asked { name, count: wanted - sum }), mappings)
}

/// The requests for resources by their classes: containers that only start the pod use what others will have.
fn requests(pod: &PodInfo, needed: &BTreeMap<&str, String>) -> (Vec<DeviceRequest>, Mappings) {
    let init = pod.spec().init_containers.as_deref().unwrap_or_default();
    let all: Vec<_> = init.iter().chain(&pod.spec().containers).enumerate().collect();
    let is_brief = |(index, own): &(usize, &Container)| *index < init.len() && !is_sidecar(own);
    let (mut requests, mut mappings) = (Vec::new(), Mappings::new());
    for (resource, class) in needed {
        let mut lasting: Vec<Option<Asked>> = Vec::new();
        for own in &all {
            let (request, mapped) =
                if is_brief(own) { (None, Mappings::new()) } else { asked(*own, resource, &[]) };
            lasting.push(request);
            mappings.extend(mapped);
        }
        let (mut brief, mut names, mut brief_mappings) =
            (None::<Asked>, Vec::new(), Mappings::new());
        for own in all.iter().filter(|own| is_brief(own)) {
            let (request, mapped) = asked(*own, resource, &lasting[own.0..]);
            if let Some(request) = request {
                names.push(request.name.clone());
                if brief.as_ref().is_none_or(|most| most.count < request.count) {
                    brief = Some(request);
                }
            }
            brief_mappings.extend(mapped);
        }
        if let Some(most) = &brief {
            let theirs = brief_mappings.iter_mut().filter(|own| names.contains(&own.request_name));
            theirs.for_each(|own| own.request_name.clone_from(&most.name));
        }
        let each = brief.into_iter().chain(lasting.into_iter().flatten());
        requests.extend(each.map(|own| request(own, class)));
        mappings.extend(brief_mappings);
    }
    requests.sort_by(|a, b| a.name.cmp(&b.name));
    (requests, mappings)
}

fn request(asked: Asked, class: &str) -> DeviceRequest {
    let exactly = ExactDeviceRequest {
        device_class_name: class.to_owned(),
        allocation_mode: Some("ExactCount".to_owned()),
        count: Some(asked.count),
        ..ExactDeviceRequest::default()
    };
    DeviceRequest { name: asked.name, exactly: Some(exactly), first_available: None }
}
