//! Devices of nodes, classes of them, and what asks for them.

use super::{Place, Template, template, wants};
use serde_json::{Value, json};

/// The driver whose devices pods get.
const DRIVER: &str = "test-driver.cdi.k8s.io";
const CLASS: &str = "test-class";
const CLAIM: &str = "test-claim-template";
/// The resource that devices stand for.
const GPU: &str = "example.com/gpu";

/// With a device of its own.
pub(crate) fn with_claim() -> Template {
    claiming(&json!({"name": "resource", "resourceClaimTemplateName": CLAIM}))
}

/// With the device of a claim that is there, on one node only.
pub(crate) fn with_the_claim(name: &str, node: &str) -> Template {
    let mut own = claiming(&json!({"name": "resource", "resourceClaimName": name}));
    let pinned = super::of_daemon_set(node);
    own.spec["affinity"] = pinned.spec["affinity"].clone();
    own
}

fn claiming(claim: &Value) -> Template {
    let mut own = template(&json!({}), &json!({"resourceClaims": [claim]}), &json!({}));
    own.spec["containers"][0]["resources"] = json!({"claims": [{"name": "resource"}]});
    own
}

/// What picks all devices there are.
fn selectors() -> Value {
    let expression = format!("device.driver == {DRIVER:?}");
    json!([{"cel": {"expression": expression}}])
}

/// The class of all devices there are.
pub(crate) fn class() -> Value {
    json!({"metadata": {"name": CLASS}, "spec": {"selectors": selectors()}})
}

fn request() -> Value {
    json!({"name": "req-0", "exactly": {"deviceClassName": CLASS}})
}

/// What claims for one device are made from.
pub(crate) fn claim_template() -> Value {
    let requests = [request()];
    json!({"metadata": {"name": CLAIM}, "spec": {"spec": {"devices": {"requests": requests}}}})
}

/// A claim for one device.
pub(crate) fn claim(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request()]}}})
}

/// What the status of such a claim says once it has the device of this number of a node.
pub(crate) fn allocation(node: &str, device: usize) -> Value {
    let result = json!({"request": "req-0", "driver": DRIVER, "pool": node,
        "device": format!("instance-{device}")});
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    json!({"devices": {"results": [result]},
        "nodeSelector": {"nodeSelectorTerms": [{"matchFields": [field]}]}})
}

/// The devices of a node.
pub(crate) fn slice(node: &str, count: usize) -> Value {
    let device = |index: usize| {
        json!({
            "name": format!("instance-{index}"),
            "attributes": {
                "model": {"string": "A100"},
                "family": {"string": "GPU"},
                "driverVersion": {"version": "1.2.3"},
                "dra.example.com/numa": {"int": index},
            },
            "capacity": {"memory": {"value": "1Gi"}},
        })
    };
    let all: Vec<_> = (0..count).map(device).collect();
    json!({"metadata": {"name": node}, "spec": {"driver": DRIVER, "nodeName": node,
        "pool": {"name": node, "generation": 0, "resourceSliceCount": 1}, "devices": all}})
}

/// Classes of all devices whose devices pods ask for by a resource.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Resources {
    /// Each class stands for a resource of its own.
    Own,
    /// The same, by the name of the class alone.
    Implicit,
    /// All classes stand for one.
    Same,
}

impl Resources {
    /// The class of this number.
    pub(crate) fn class(self, number: usize) -> Value {
        let mut class = class();
        class["metadata"]["name"] = json!(format!("test-class-{number}"));
        match self {
            Self::Own => class["spec"]["extendedResourceName"] = json!(format!("{GPU}-{number}")),
            Self::Implicit => {}
            Self::Same => class["spec"]["extendedResourceName"] = json!(GPU),
        }
        class
    }
}

/// Asks for a device by the one resource of all classes.
pub(crate) fn same(pod: &mut Value, _: Place) {
    wants(pod, GPU);
}

/// Asks for one by the resource of one of 25 classes.
pub(crate) fn one_of_25(pod: &mut Value, own: Place) {
    wants(pod, &format!("{GPU}-{}", own.index % 25));
}

/// Asks for one by the resource of one of 50 classes.
pub(crate) fn one_of_50(pod: &mut Value, own: Place) {
    wants(pod, &format!("{GPU}-{}", own.index % 50));
}

/// Asks for one by the name of one of 25 classes.
pub(crate) fn one_of_25_implicit(pod: &mut Value, own: Place) {
    wants(pod, &format!("deviceclass.resource.kubernetes.io/test-class-{}", own.index % 25));
}
