//! What claims, slices and classes of devices may say, where features were switched off.

use crate::hooks::Kind;
use kubeplane_core::Object;
use serde_json::{Value, json};

const GROUP: &str = "resource.k8s.io/v1";
const BINDING_OFF: &str = "DRADeviceBindingConditions=false";
const STATUS_OFF: &str = "DRAResourceClaimDeviceStatus=false,DRADeviceBindingConditions=false,\
    DRAResourceClaimGranularStatusAuthorization=false";

fn request_spec() -> Value {
    let tolerations = json!([{"key": "k", "operator": "Exists"}]);
    json!({"devices": {
        "requests": [
            {"name": "a", "exactly": {"deviceClassName": "c", "tolerations": tolerations,
                "capacity": {"requests": {"memory": "1Gi"}}}},
            {"name": "b", "firstAvailable": [{"name": "x", "deviceClassName": "c",
                "tolerations": tolerations, "capacity": {"requests": {"memory": "1Gi"}}}]},
        ],
        "constraints": [{"requests": ["a"], "distinctAttribute": "example.com/serial"}],
    }})
}

fn slice(more: Value) -> Value {
    let mut spec = json!({"driver": "gpu.example.com",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}});
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    json!({"metadata": {"name": "s"}, "spec": spec})
}

fn device_slice() -> Value {
    let policy = json!({"default": "1Gi", "validValues": ["1Gi"]});
    slice(json!({"perDeviceNodeSelection": true, "devices": [{
        "name": "a", "nodeName": "n", "bindsToNode": true, "allowMultipleAllocations": true,
        "taints": [{"key": "k", "effect": "NoSchedule"}],
        "bindingConditions": ["ready"], "bindingFailureConditions": ["failed"],
        "capacity": {"memory": {"value": "1Gi", "requestPolicy": policy}},
        "consumesCounters": [{"counterSet": "c", "counters": {"memory": {"value": "1Gi"}}}],
    }]}))
}

fn at(object: &Object, pointer: &str) -> Option<Value> {
    object.clone().into_value().pointer(pointer).cloned()
}

/// What is there with the gates as they are by default, not with these, and still where it was stored already.
fn check(kind: &str, value: &Value, gates: &str, pointers: &[&str]) {
    let (on, off) = (Kind::of(GROUP, kind), Kind::gated(gates, GROUP, kind));
    let (old, without) = (on.created(value.clone()), off.created(value.clone()));
    let touch = |object: &mut Object| object.set(&["metadata", "labels"], json!({"a": "b"}));
    let (kept, _) = off.updated(&old, "", touch);
    for pointer in pointers {
        let told = at(&old, pointer);
        assert!(told.is_some(), "{kind} {pointer}");
        assert_eq!(at(&without, pointer), None, "{kind} {gates} {pointer}");
        assert_eq!(at(&kept, pointer), told, "{kind} {gates} {pointer}");
    }
}

#[test]
fn claims_and_templates_ask_for_no_more_than_is_on() {
    let cases: [(&str, &[&str]); 3] = [
        ("DRAPrioritizedList=false", &["/devices/requests/1/firstAvailable"]),
        (
            "DRADeviceTaints=false",
            &[
                "/devices/requests/0/exactly/tolerations",
                "/devices/requests/1/firstAvailable/0/tolerations",
            ],
        ),
        (
            "DRAConsumableCapacity=false",
            &[
                "/devices/requests/0/exactly/capacity",
                "/devices/requests/1/firstAvailable/0/capacity",
                "/devices/constraints/0/distinctAttribute",
            ],
        ),
    ];
    let metadata = json!({"name": "x", "namespace": "d"});
    let claim = json!({"metadata": metadata, "spec": request_spec()});
    let template = json!({"metadata": metadata, "spec": {"spec": request_spec()}});
    for (gates, pointers) in cases {
        for (kind, value, start) in
            [("ResourceClaim", &claim, "/spec"), ("ResourceClaimTemplate", &template, "/spec/spec")]
        {
            let whole: Vec<_> =
                pointers.iter().map(|pointer| format!("{start}{pointer}")).collect();
            let whole: Vec<_> = whole.iter().map(String::as_str).collect();
            check(kind, value, gates, &whole);
        }
    }
}

#[test]
fn a_constraint_names_the_attribute_there_is() {
    let mut spec = request_spec();
    spec["devices"]["constraints"] = json!([{"requests": ["a"]}]);
    let claim = json!({"metadata": {"name": "x", "namespace": "d"}, "spec": spec});
    let errors = |gates: &str| {
        Kind::gated(gates, GROUP, "ResourceClaim").create_errors(claim.clone()).join("\n")
    };
    let found = errors("");
    assert!(found.contains("spec.devices.constraints[0]: Required value: exactly one"), "{found}");
    let found = errors("DRAConsumableCapacity=false");
    assert!(found.contains("constraints[0].matchAttribute: Required value"), "{found}");
}

#[test]
fn slices_offer_no_more_than_is_on() {
    let binding = [
        "/spec/devices/0/bindingConditions",
        "/spec/devices/0/bindingFailureConditions",
        "/spec/devices/0/bindsToNode",
    ];
    let places = [
        "/spec/perDeviceNodeSelection",
        "/spec/devices/0/nodeName",
        "/spec/devices/0/consumesCounters",
    ];
    let shares = [
        "/spec/devices/0/allowMultipleAllocations",
        "/spec/devices/0/capacity/memory/requestPolicy",
    ];
    let slice_of_devices = device_slice();
    let cases: [(&str, &[&str]); 5] = [
        ("DRADeviceTaints=false", &["/spec/devices/0/taints"]),
        ("DRAPartitionableDevices=false", &places),
        (BINDING_OFF, &binding),
        (STATUS_OFF, &binding),
        ("DRAConsumableCapacity=false", &shares),
    ];
    for (gates, pointers) in cases {
        check("ResourceSlice", &slice_of_devices, gates, pointers);
    }
    let counters = json!([{"name": "c", "counters": {"memory": {"value": "1Gi"}}}]);
    let counted = slice(json!({"allNodes": true, "sharedCounters": counters}));
    check("ResourceSlice", &counted, "DRAPartitionableDevices=false", &["/spec/sharedCounters"]);
}

#[test]
fn the_status_of_a_claim_tells_no_more_than_is_on() {
    let device = json!({"driver": "gpu.example.com", "pool": "p", "device": "a",
        "shareID": "2d1c8a6f-14d5-4b43-9f0c-64f0c3a7b0a1"});
    let mut result = device.clone();
    let more = json!({"request": "a", "consumedCapacity": {"memory": "1Gi"},
        "bindingConditions": ["ready"], "bindingFailureConditions": ["failed"]});
    result.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    let status = json!({"allocation": {"devices": {"results": [result]}}, "devices": [device]});
    let request = json!({"name": "a", "exactly": {"deviceClassName": "c"}});
    let claim = json!({"metadata": {"name": "x", "namespace": "d"},
        "spec": {"devices": {"requests": [request]}}});
    let on = Kind::of(GROUP, "ResourceClaim");
    let old = on.created(claim);
    let tell = |object: &mut Object| object.set(&["status"], status.clone());
    let (told, _) = on.updated(&old, "status", tell);
    let result = "/status/allocation/devices/results/0";
    for (gates, path) in [
        (STATUS_OFF, "/status/devices".to_owned()),
        ("DRAConsumableCapacity=false", format!("{result}/shareID")),
        ("DRAConsumableCapacity=false", format!("{result}/consumedCapacity")),
        ("DRAConsumableCapacity=false", "/status/devices/0/shareID".to_owned()),
        (BINDING_OFF, format!("{result}/bindingConditions")),
        (BINDING_OFF, format!("{result}/bindingFailureConditions")),
    ] {
        let off = Kind::gated(gates, GROUP, "ResourceClaim");
        assert!(at(&told, &path).is_some(), "{path}");
        let (without, _) = off.updated(&old, "status", tell);
        assert_eq!(at(&without, &path), None, "{gates} {path}");
        let (kept, _) = off.updated(&told, "status", tell);
        assert_eq!(at(&kept, &path), at(&told, &path), "{gates} {path}");
    }
}

#[test]
fn classes_stand_for_extended_resources_where_that_is_on() {
    let value = json!({"metadata": {"name": "c"}, "spec": {"extendedResourceName": "a.com/gpu"}});
    let gates = "DRAExtendedResource=false";
    check("DeviceClass", &value, gates, &["/spec/extendedResourceName"]);
    let off = Kind::gated(gates, GROUP, "DeviceClass");
    let old = off.created(value);
    let path = ["spec", "extendedResourceName"];
    let (same, errors) = off.updated(&old, "", |class| class.set(&path, "a.com/gpu"));
    assert_eq!((same.at(&path), same.generation(), errors), (None, 1, Vec::new()));
}
