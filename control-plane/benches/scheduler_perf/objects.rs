//! The objects of the rows, after the original's templates.

use serde_json::{Value, json};

pub(crate) const HOST: &str = "kubernetes.io/hostname";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A node with its place among the zones, and what the row adds.
pub(crate) fn node(name: &str, zone: Option<&str>, more: &Value) -> Value {
    let mut labels = json!({HOST: name});
    let index = name.rsplit('-').next().unwrap_or_default();
    if let Some(zone) = zone {
        labels[ZONE] = json!(zone);
    }
    let mut amounts = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
    for (name, amount) in more["amounts"].as_object().into_iter().flatten() {
        amounts[name] = amount.clone();
    }
    if more["extended"] == true {
        amounts[extended(index)] = json!("1");
    }
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": more["taints"]},
        "status": {"allocatable": amounts, "capacity": amounts,
            "declaredFeatures": more["features"],
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// What pods of a row are made from: labels and spec.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) labels: Value,
    pub(crate) spec: Value,
    pub(crate) finalizers: Value,
    /// Whether each wants the one device that a node of its own number has.
    pub(crate) extended: bool,
}

/// A resource that only the node of this number has.
pub(crate) fn extended(index: &str) -> String {
    format!("foo.com/bar-{index}")
}

impl Template {
    /// A pod, the `number`th of those that are like it.
    pub(crate) fn pod(&self, name: &str, number: usize) -> Value {
        let mut spec = self.spec.clone();
        if self.extended {
            let wanted = json!({extended(&number.to_string()): "1"});
            spec["containers"][0]["resources"] = json!({"requests": wanted, "limits": wanted});
        }
        json!({"metadata": {"name": name, "labels": self.labels, "finalizers": self.finalizers},
            "spec": spec})
    }
}

fn template(labels: &Value, spec: &Value, requests: &Value) -> Template {
    let mut spec = spec.clone();
    spec["containers"] = json!([{"name": "pause", "image": "registry.k8s.io/pause:3.10.2",
        "ports": [{"containerPort": 80}], "resources": {"requests": requests, "limits": requests}}]);
    // Nobody looks after the nodes, and nothing ends the containers.
    spec["terminationGracePeriodSeconds"] = json!(0);
    Template { labels: labels.clone(), spec, finalizers: json!([]), extended: false }
}

fn small() -> Value {
    json!({"cpu": "100m", "memory": "500Mi"})
}

pub(crate) fn plain() -> Template {
    template(&json!({}), &json!({}), &small())
}

/// Without requests.
pub(crate) fn light() -> Template {
    template(&json!({}), &json!({}), &json!({}))
}

pub(crate) fn labelled() -> Template {
    template(&json!({"app": "scheduler-perf"}), &json!({}), &json!({}))
}

pub(crate) fn with_finalizer() -> Template {
    Template { finalizers: json!(["test.k8s.io/finalizer"]), ..light() }
}

/// Each with a node of its own that has what it wants.
pub(crate) fn with_extended_resource() -> Template {
    Template { extended: true, ..light() }
}

/// Saying what it wants as a pod, not by container.
pub(crate) fn as_a_whole() -> Template {
    let spec = json!({"resources": {"requests": {"cpu": "100m", "memory": "200Mi"}}});
    template(&json!({}), &spec, &json!({}))
}

/// Of a priority class, wanting so much CPU.
pub(crate) fn of_class(class: &str, cpu: &str) -> Template {
    let spec = json!({"priorityClassName": class});
    template(&json!({}), &spec, &json!({"cpu": cpu, "memory": "500Mi"}))
}

pub(crate) fn gated(affinity: bool) -> Template {
    let labels = json!({"app": "scheduler-perf"});
    let mut spec = json!({"schedulingGates": [{"name": "test.k8s.io/hold"}]});
    if affinity {
        let term = json!({"labelSelector": {"matchLabels": labels}, "topologyKey": HOST});
        spec["affinity"] = json!({"podAffinity": {REQUIRED: [term]}});
    }
    template(&labels, &spec, &json!({}))
}

/// Affinity among pods of one color: in the namespaces of the row, or those a selector picks.
pub(crate) fn of_color(color: &str, kind: &str, key: &str, hard: bool, selector: bool) -> Template {
    let labels = json!({"color": color});
    let mut term = json!({"labelSelector": {"matchLabels": labels}, "topologyKey": key});
    if selector {
        term["namespaceSelector"] = json!({"matchLabels": {"team": "devops"}});
    } else {
        term["namespaces"] = json!(["sched-1", "sched-0"]);
    }
    let terms = if hard {
        json!({REQUIRED: [term]})
    } else {
        json!({PREFERRED: [{"weight": 1, "podAffinityTerm": term}]})
    };
    template(&labels, &json!({"affinity": {kind: terms}}), &small())
}

pub(crate) fn colored(color: &str) -> Template {
    template(&json!({"color": color}), &json!({}), &small())
}

pub(crate) fn node_affinity() -> Template {
    let zones = json!({"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]});
    let terms = json!({"nodeSelectorTerms": [{"matchExpressions": [zones]}]});
    let spec = json!({"affinity": {"nodeAffinity": {REQUIRED: terms}}});
    template(&json!({}), &spec, &small())
}

/// For one node only.
pub(crate) fn of_daemon_set(node: &str) -> Template {
    let field = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    let terms = json!({"nodeSelectorTerms": [{"matchFields": [field]}]});
    let spec = json!({"affinity": {"nodeAffinity": {REQUIRED: terms}}});
    template(&json!({}), &spec, &json!({}))
}

pub(crate) fn spread(skew: u32, key: &str, action: &str) -> Template {
    let labels = json!({"color": "blue"});
    let mut constraint = json!({"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": action,
        "labelSelector": {"matchLabels": labels}});
    if key == HOST {
        constraint["nodeTaintsPolicy"] = json!("Honor");
    }
    template(&labels, &json!({"topologySpreadConstraints": [constraint]}), &small())
}

pub(crate) fn with_secret() -> Template {
    let volume = json!({"name": "secret", "secret": {"secretName": "secret"}});
    template(&json!({}), &json!({"volumes": [volume]}), &small())
}

/// The driver whose devices pods get.
const DRIVER: &str = "test-driver.cdi.k8s.io";
const CLASS: &str = "test-class";
const CLAIM: &str = "test-claim-template";

/// With a device of its own.
pub(crate) fn with_claim() -> Template {
    let claim = json!({"name": "resource", "resourceClaimTemplateName": CLAIM});
    let mut own = template(&json!({}), &json!({"resourceClaims": [claim]}), &json!({}));
    own.spec["containers"][0]["resources"] = json!({"claims": [{"name": "resource"}]});
    own
}

/// The class of all devices there are.
pub(crate) fn device_class() -> Value {
    let expression = format!("device.driver == {DRIVER:?}");
    json!({"metadata": {"name": CLASS}, "spec": {"selectors": [{"cel": {"expression": expression}}]}})
}

/// What claims for one device are made from.
pub(crate) fn claim_template() -> Value {
    let request = json!({"name": "req-0", "exactly": {"deviceClassName": CLASS}});
    json!({"metadata": {"name": CLAIM}, "spec": {"spec": {"devices": {"requests": [request]}}}})
}

/// The devices of a node.
pub(crate) fn devices(node: &str, count: usize) -> Value {
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

/// The volume and the claim of a pod, bound to each other.
pub(crate) fn volume(namespace: &str, pod: &str, source: &Value) -> (Value, Value) {
    let modes = json!(["ReadOnlyMany"]);
    let size = json!({"storage": "1Gi"});
    let name = format!("{namespace}-{pod}");
    let mut source = source.clone();
    if let Some(disk) = source.get_mut("awsElasticBlockStore") {
        disk["volumeID"] = json!(name);
    } else {
        source["csi"]["volumeHandle"] = json!(name);
    }
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {"accessModes": modes, "capacity": size, "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": pod}},
        "status": {"phase": "Bound"},
    });
    for (key, value) in source.as_object().into_iter().flatten() {
        volume["spec"][key] = value.clone();
    }
    let claim = json!({
        "metadata": {"name": pod, "namespace": namespace,
            "annotations": {"pv.kubernetes.io/bind-completed": "true"}},
        "spec": {"accessModes": modes, "resources": {"requests": size}, "volumeName": name,
            "storageClassName": ""},
        "status": {"phase": "Bound"},
    });
    (volume, claim)
}
