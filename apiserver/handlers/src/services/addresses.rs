//! IPAddresses: making one claims its address, the one who deletes it gives it back.

use super::claims::{Owner, PENDING_SECONDS};
use ipnet::IpNet;
use kubeplane_apiserver::{Api, DeleteOptions, Preconditions};
use kubeplane_core::{
    GroupResource, Object,
    auth::{GROUP_MASTERS, UserInfo},
    names::address::{parse_ip_sloppy, print_ip},
    status::{ApiError, ApiResult},
};
use kubeplane_workload::services::{self, Family};
use serde_json::{Value, json};
use std::net::IpAddr;

const GROUP: &str = "networking.k8s.io";
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";

/// How a claim ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// The address is the owner's.
    Now,
    /// Somebody else holds it.
    Before,
}

fn resource() -> GroupResource {
    GroupResource::new(GROUP, "ipaddresses")
}

fn parent(owner: &Owner) -> Value {
    json!({"group": "", "resource": "services", "namespace": owner.namespace, "name": owner.name})
}

fn object(owner: &Owner, address: IpAddr) -> Object {
    let family = Family::of(address).as_str();
    let value = json!({"metadata": {"name": print_ip(address),
            "labels": {FAMILY: family, MANAGED_BY: ALLOCATOR}},
        "spec": {"parentRef": parent(owner)}});
    Object::from_value(value).unwrap_or_default()
}

/// The range the server was given and those of the ready ServiceCIDRs, of one family.
pub(super) async fn ranges(api: &Api, own: Option<IpNet>, family: Family) -> Vec<IpNet> {
    let mut ranges = Vec::from_iter(own);
    let listed = api.reader().list(&GroupResource::new(GROUP, "servicecidrs"), "").await;
    for object in listed.map(|listed| listed.items).unwrap_or_default() {
        if object.is_deleting() || !is_ready(&object) {
            continue;
        }
        let networks = object.at(&["spec", "cidrs"]).and_then(Value::as_array);
        let networks = networks.into_iter().flatten().filter_map(Value::as_str);
        for network in networks.filter_map(|text| text.parse::<IpNet>().ok()) {
            if Family::of(network.addr()) == family && !ranges.contains(&network) {
                ranges.push(network);
            }
        }
    }
    ranges
}

fn is_ready(object: &Object) -> bool {
    let conditions = object.at(&["status", "conditions"]).and_then(Value::as_array);
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

/// Whether nobody holds an address, or only one who never came to be.
pub(super) async fn is_free(api: &Api, address: IpAddr) -> ApiResult<bool> {
    match api.get(&resource(), "", &print_ip(address)).await {
        Ok(held) => Ok(is_stale(api, &held).await),
        Err(error) if error.code() == http::StatusCode::NOT_FOUND => Ok(true),
        Err(error) => Err(error),
    }
}

/// Claims an address.
pub(super) async fn take(api: &Api, owner: &Owner, address: IpAddr) -> ApiResult<Taken> {
    let user = UserInfo::new("system:apiserver", [GROUP_MASTERS]);
    match api.create(&resource(), "", object(owner, address), &user).await {
        Ok(_) => return Ok(Taken::Now),
        Err(error) if error.reason() == "AlreadyExists" => {}
        Err(error) => return Err(error),
    }
    let name = print_ip(address);
    let Ok(held) = api.get(&resource(), "", &name).await else { return Ok(Taken::Before) };
    if !is_stale(api, &held).await {
        return Ok(Taken::Before);
    }
    let change = |found: &mut Object| {
        if found.uid() != held.uid() || found.at(&["spec"]) != held.at(&["spec"]) {
            return Err(ApiError::modified(&resource(), &name));
        }
        found.set(&["spec", "parentRef"], parent(owner));
        // Younger now than the claim it was.
        found.set(&["metadata", "creationTimestamp"], stamp(api));
        Ok(())
    };
    match api.update_with(&resource(), "", &name, change).await {
        Ok(_) => Ok(Taken::Now),
        Err(error) if matches!(error.reason(), "Conflict" | "NotFound") => Ok(Taken::Before),
        Err(error) => Err(error),
    }
}

fn stamp(api: &Api) -> String {
    api.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Gives an address back, if it is the owner's.
pub(super) async fn release(api: &Api, owner: &Owner, address: IpAddr) {
    let name = print_ip(address);
    let Ok(held) = api.get(&resource(), "", &name).await else { return };
    if owner_of(&held).as_ref() == Some(owner) {
        remove(api, &held).await;
    }
}

async fn remove(api: &Api, held: &Object) {
    let preconditions = Preconditions { uid: Some(held.uid().to_owned()), resource_version: None };
    let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
    if let Err(error) = api.delete(&resource(), "", held.name(), options).await {
        // It is taken over as stale when somebody wants it, or removed by the next repair.
        tracing::debug!(address = held.name(), %error, "an address was not released");
    }
}

/// The Service that holds an address; `None` when something else does.
fn owner_of(held: &Object) -> Option<Owner> {
    let text = |field| held.text(&["spec", "parentRef", field]);
    let service = text("resource") == "services" && text("group").is_empty();
    service
        .then(|| Owner { namespace: text("namespace").to_owned(), name: text("name").to_owned() })
}

/// Whether the Service that holds an address does not exist, or does not use it, though it had the time.
async fn is_stale(api: &Api, held: &Object) -> bool {
    let Some(owner) = owner_of(held).filter(|_| held.label(MANAGED_BY) == Some(ALLOCATOR)) else {
        return false;
    };
    let made = held.text(&["metadata", "creationTimestamp"]).parse::<jiff::Timestamp>();
    let age = made.map(|made| api.clock().now().as_second() - made.as_second());
    if age.is_ok_and(|seconds| seconds < PENDING_SECONDS) {
        return false;
    }
    match api.get(&GroupResource::new("", "services"), &owner.namespace, &owner.name).await {
        Err(error) => error.code() == http::StatusCode::NOT_FOUND,
        Ok(service) => held_by(&service).iter().all(|address| print_ip(*address) != held.name()),
    }
}

fn held_by(service: &Object) -> Vec<IpAddr> {
    let ips =
        if services::needs_address(service) { services::cluster_ips(service) } else { Vec::new() };
    ips.into_iter().filter_map(parse_ip_sloppy).collect()
}

/// Makes the IPAddresses that Services lack, and removes those whose Service is gone.
///
/// # Errors
/// When the store cannot be read or written.
pub(crate) async fn repair(api: &Api) -> ApiResult<()> {
    for service in api.list_stored(&GroupResource::new("", "services"), "").await? {
        for address in held_by(&service) {
            let owner = Owner::of(&service);
            if api.get(&resource(), "", &print_ip(address)).await.is_err() {
                take(api, &owner, address).await?;
            }
        }
    }
    for held in api.list_stored(&resource(), "").await? {
        if is_stale(api, &held).await {
            remove(api, &held).await;
        }
    }
    Ok(())
}
