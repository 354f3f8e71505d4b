//! What may change in an object of the cluster-wide kinds, and through which subresource.

use crate::hooks::Kind;
use kubeplane_core::Object;
use serde_json::{Value, json};

const NONE: Vec<String> = Vec::new();

#[track_caller]
fn refused(errors: &[String], starts: &[&str]) {
    assert_eq!(errors.len(), starts.len(), "{errors:?}");
    for (error, start) in errors.iter().zip(starts) {
        assert!(error.starts_with(start), "{error} is not {start}");
    }
}

/// A request signed by a key of P-256.
const REQUEST: &str = include_str!("request.pem.b64");

fn request() -> Value {
    json!({"metadata": {"name": "r"}, "spec": {"request": REQUEST.trim(), "usages": ["client auth"],
        "signerName": "kubernetes.io/kube-apiserver-client"}})
}

fn approve(object: &mut Object, kind: &str) {
    let condition = json!({"type": kind, "status": "True", "reason": "r", "message": "m"});
    object.set(&["status", "conditions"], json!([condition]));
}

#[test]
fn requests_are_approved_and_issued_each_through_its_own_subresource() {
    let kind = Kind::of("certificates.k8s.io/v1", "CertificateSigningRequest");
    assert_eq!(kind.create_errors(request()), NONE);
    let old = kind.created(request());
    let (approved, errors) = kind.updated(&old, "approval", |object| {
        approve(object, "Approved");
        object.set(&["status", "certificate"], "aGVsbG8=");
        object.set(&["spec", "signerName"], "example.com/other");
    });
    assert_eq!(errors, NONE);
    assert_eq!(approved.at(&["status", "certificate"]), None);
    assert_eq!(approved.text(&["spec", "signerName"]), "kubernetes.io/kube-apiserver-client");
    let condition = &approved.at(&["status", "conditions"]).unwrap()[0];
    assert_eq!(condition["lastTransitionTime"], "2026-01-01T00:00:00Z");
    let (_, errors) = kind.updated(&old, "status", |object| approve(object, "Approved"));
    refused(&errors, &["status.conditions: Forbidden: updates may not add a condition"]);
    let (_, errors) = kind.updated(&approved, "approval", |object| {
        object.remove(&["status", "conditions"]);
    });
    refused(&errors, &["status.conditions: Forbidden: updates may not remove a condition"]);
    let (_, errors) = kind.updated(&approved, "status", |object| {
        object.set(&["status", "certificate"], "aGVsbG8=");
    });
    refused(&errors, &["status.certificate: Invalid value: \"<certificate data>\": must contain"]);
    let (stored, errors) = kind.updated(&approved, "", |object| approve(object, "Denied"));
    assert_eq!((stored.at(&["status"]), errors), (approved.at(&["status"]), NONE));
}

#[test]
fn both_decisions_are_one_too_many() {
    let kind = Kind::of("certificates.k8s.io/v1", "CertificateSigningRequest");
    let old = kind.created(request());
    let (_, errors) = kind.updated(&old, "approval", |object| {
        let condition = |kind: &str| json!({"type": kind, "status": "True"});
        let both = json!([condition("Approved"), condition("Denied")]);
        object.set(&["status", "conditions"], both);
    });
    refused(&errors, &["status.conditions: Invalid value: \"Denied\": Approved and Denied"]);
}

#[test]
fn networks_of_services_grow_but_do_not_change() {
    let kind = Kind::of("networking.k8s.io/v1", "ServiceCIDR");
    let old = kind.created(json!({"metadata": {"name": "s"}, "spec": {"cidrs": ["10.0.0.0/16"]}}));
    let change =
        |cidrs: Value| kind.updated(&old, "", |object| object.set(&["spec", "cidrs"], cidrs)).1;
    assert_eq!(change(json!(["10.0.0.0/16", "2001:db8::/64"])), NONE);
    refused(
        &change(json!(["10.1.0.0/16"])),
        &["spec.cidrs[0]: Invalid value: \"10.1.0.0/16\": field is immutable"],
    );
    refused(&change(json!([])), &["spec.cidrs: Invalid value: []: field is immutable"]);
    refused(&change(json!(["10.0.0.0/16", "10.2.0.0/16"])), &["spec.cidrs: Invalid value"]);
}

#[test]
fn addresses_stay_with_their_owner() {
    let kind = Kind::of("networking.k8s.io/v1", "IPAddress");
    let parent = json!({"resource": "services", "namespace": "d", "name": "s"});
    let old =
        kind.created(json!({"metadata": {"name": "10.0.0.1"}, "spec": {"parentRef": parent}}));
    let (_, errors) =
        kind.updated(&old, "", |object| object.set(&["spec", "parentRef", "name"], "t"));
    refused(&errors, &["spec.parentRef: Invalid value"]);
}

#[test]
fn drivers_count_changes_from_the_first_one_on() {
    let kind = Kind::of("storage.k8s.io/v1", "CSIDriver");
    let old = kind.created(json!({"metadata": {"name": "d"}, "spec": {}}));
    assert_eq!(old.at(&["metadata", "generation"]), None);
    let (same, errors) = kind.updated(&old, "", |_| {});
    assert_eq!((same.at(&["metadata", "generation"]), errors), (None, NONE));
    let (changed, errors) =
        kind.updated(&old, "", |object| object.set(&["spec", "podInfoOnMount"], true));
    assert_eq!((changed.generation(), errors), (1, NONE));
    let (_, errors) =
        kind.updated(&old, "", |object| object.set(&["spec", "attachRequired"], false));
    refused(&errors, &["spec.attachedRequired: Invalid value: false: field is immutable"]);
}

#[test]
fn what_a_node_can_attach_may_change_and_the_driver_may_not() {
    let kind = Kind::of("storage.k8s.io/v1", "CSINode");
    let driver = |id: &str, count: i64| json!([{"name": "d.example.com", "nodeID": id, "allocatable": {"count": count}}]);
    let old = kind.created(json!({"metadata": {"name": "n"}, "spec": {"drivers": driver("a", 1)}}));
    let (_, errors) = kind.updated(&old, "", |node| node.set(&["spec", "drivers"], driver("a", 2)));
    assert_eq!(errors, NONE);
    let (_, errors) = kind.updated(&old, "", |node| node.set(&["spec", "drivers"], driver("b", 1)));
    refused(&errors, &["spec.drivers: Invalid value"]);
}

#[test]
fn attachments_change_their_status_only() {
    let kind = Kind::of("storage.k8s.io/v1", "VolumeAttachment");
    let old = kind.created(json!({"metadata": {"name": "a"}, "spec": {"attacher": "d.example.com",
        "nodeName": "n", "source": {"persistentVolumeName": "p"}}}));
    let (attached, errors) = kind.updated(&old, "status", |object| {
        object.set(&["status", "attached"], true);
        object.set(&["spec", "nodeName"], "other");
    });
    assert_eq!((attached.text(&["spec", "nodeName"]), errors), ("n", NONE));
    let (_, errors) = kind.updated(&old, "", |object| object.set(&["spec", "nodeName"], "other"));
    refused(&errors, &["spec: Invalid value"]);
    let (_, errors) = kind.updated(&old, "status", |object| {
        object.set(&["status", "attachError"], json!({"errorCode": -1}));
    });
    refused(&errors, &["status.attachError.errorCode: Invalid value: -1: must be between 0 and"]);
}

#[test]
fn webhooks_are_not_held_to_what_they_never_kept() {
    let kind = Kind::of("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration");
    let hook = |sides: &str| {
        json!({"metadata": {"name": "w"}, "webhooks": [{"name": "a.example.com", "sideEffects": sides,
            "admissionReviewVersions": ["v1"], "clientConfig": {"url": "https://example.com"}}]})
    };
    refused(&kind.create_errors(hook("Some")), &["webhooks[0].sideEffects: Unsupported value"]);
    let old = kind.created(hook("Some"));
    let (changed, errors) = kind.updated(&old, "", |object| {
        object.map_mut()["webhooks"][0]["timeoutSeconds"] = 5.into();
    });
    assert_eq!((changed.generation(), errors), (2, NONE));
    let (_, errors) = kind.updated(&kind.created(hook("None")), "", |object| {
        object.map_mut()["webhooks"][0]["sideEffects"] = "Some".into();
    });
    refused(&errors, &["webhooks[0].sideEffects: Unsupported value"]);
}

#[test]
fn mandatory_flow_control_stays_what_it_is() {
    let levels = Kind::of("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration");
    let exempt = json!({"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": {}}});
    assert_eq!(levels.create_errors(exempt.clone()), NONE);
    let old = levels.created(exempt);
    let (_, errors) = levels.updated(&old, "", |level| {
        level.set(&["spec", "exempt", "lendablePercent"], 50);
    });
    assert_eq!(errors, NONE);
    let reject = json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited", "limited":
        {"nominalConcurrencyShares": 6, "limitResponse": {"type": "Reject"}}}});
    refused(&levels.create_errors(reject), &["spec: Invalid value"]);
}

#[test]
fn local_services_of_the_api_are_there_at_once() {
    let kind = Kind::of("apiregistration.k8s.io/v1", "APIService");
    let spec = json!({"group": "apps", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10});
    let made = kind.created(json!({"metadata": {"name": "v1.apps"}, "spec": spec}));
    let condition = &made.at(&["status", "conditions"]).unwrap()[0];
    assert_eq!((&condition["type"], &condition["reason"]), (&json!("Available"), &json!("Local")));
    let (_, errors) = kind.updated(&made, "", |object| object.set(&["spec", "version"], "v2"));
    refused(&errors, &["metadata.name: Invalid value: \"v1.apps\": must be `spec.version"]);
}

fn claim() -> Value {
    json!({"metadata": {"name": "c", "namespace": "d"}, "spec": {"devices": {"requests": [
        {"name": "one", "exactly": {"deviceClassName": "class"}}]}}})
}

fn allocation(request: &str) -> Value {
    json!({"devices": {"results": [{"request": request, "driver": "d.example.com", "pool": "p", "device": "x"}]}})
}

#[test]
fn claims_are_allocated_reserved_and_reported_on() {
    let kind = Kind::of("resource.k8s.io/v1", "ResourceClaim");
    let old = kind.created(claim());
    let (allocated, errors) = kind.updated(&old, "status", |object| {
        object.set(&["status", "allocation"], allocation("one"));
        object.set(
            &["status", "reservedFor"],
            json!([{"resource": "pods", "name": "p", "uid": "u"}]),
        );
        let device =
            json!([{"driver": "d.example.com", "pool": "p", "device": "x", "data": {"a": 1}}]);
        object.set(&["status", "devices"], device);
    });
    assert_eq!(errors, NONE);
    let (_, errors) = kind.updated(&old, "status", |object| {
        object.set(&["status", "allocation"], allocation("two"));
    });
    refused(&errors, &["status.allocation.devices.results[0].request: Invalid value: \"two\""]);
    let (_, errors) = kind.updated(&allocated, "status", |object| {
        object.set(&["status", "allocation"], allocation("other"));
    });
    refused(&errors, &["status.allocation: Invalid value"]);
    let (freed, errors) = kind.updated(&allocated, "status", |object| {
        object.set(&["status"], json!({"devices": object.at(&["status", "devices"])}));
    });
    assert_eq!((freed.at(&["status"]), errors), (Some(&json!({})), NONE));
    let (_, errors) = kind.updated(&old, "status", |object| {
        object.set(
            &["status", "reservedFor"],
            json!([{"resource": "pods", "name": "p", "uid": "u"}]),
        );
    });
    refused(&errors, &["status.reservedFor: Forbidden: may not be specified when `allocated`"]);
    let (_, errors) = kind.updated(&old, "", |object| object.set(&["spec", "devices"], json!({})));
    refused(&errors, &["spec: Invalid value"]);
}

#[test]
fn slices_stay_where_they_are_and_stamp_taints() {
    let kind = Kind::of("resource.k8s.io/v1", "ResourceSlice");
    let slice = json!({"metadata": {"name": "s"}, "spec": {"driver": "d.example.com", "nodeName": "n",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        "devices": [{"name": "x", "attributes": {"list": {"ints": [1]}, "one": {"int": 1}},
            "taints": [{"key": "k", "effect": "NoSchedule"}]}]}});
    let made = kind.created(slice.clone());
    let device = &made.at(&["spec", "devices"]).unwrap()[0];
    assert_eq!(device["taints"][0]["timeAdded"], "2026-01-01T00:00:00Z");
    assert_eq!(device["attributes"]["list"], json!({}));
    refused(
        &kind.create_errors(slice),
        &["spec.devices[0].attributes[list]: Invalid value: \"\": exactly one"],
    );
    let (_, errors) = kind.updated(&made, "", |object| {
        object.map_at_mut(&["spec"])["devices"] = json!([]);
        object.set(&["spec", "nodeName"], "m");
    });
    refused(&errors, &["spec.nodeName: Invalid value: \"m\": field is immutable"]);
}
