//! The objects of the rows, after the original's templates.

// The tests load this file by its path, from where this would be looked for beside it.
#[path = "objects/devices.rs"]
pub(crate) mod devices;

use serde_json::{Value, json};

pub(crate) const HOST: &str = "kubernetes.io/hostname";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";
pub(crate) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// A node with its place among the zones, and what the row adds.
pub(crate) fn node(name: &str, zone: Option<&str>, more: &Value) -> Value {
    let mut labels = json!({HOST: name});
    let index = name.rsplit('-').next().unwrap_or_default();
    if let Some(zone) = zone {
        labels[ZONE] = json!(zone);
    }
    let mut amounts = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
    for (name, label) in more["labels"].as_object().into_iter().flatten() {
        labels[name] = label.clone();
    }
    for (name, amount) in more["amounts"].as_object().into_iter().flatten() {
        amounts[name] = amount.clone();
    }
    if more["extended"] == true {
        amounts[extended(index)] = json!("1");
    }
    json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": more["taints"], "unschedulable": more["unschedulable"]},
        "status": {"allocatable": amounts, "capacity": amounts,
            "declaredFeatures": more["features"],
            "conditions": [{"type": "Ready", "status": "True"}]},
    })
}

/// Which of the pods made together one is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) index: usize,
    pub(crate) count: usize,
}

/// What pods of a row are made from: labels and spec.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) labels: Value,
    pub(crate) spec: Value,
    pub(crate) finalizers: Value,
    /// What sets each apart from those that are like it.
    pub(crate) apart: Option<fn(&mut Value, Place)>,
}

/// A resource that only the node of this number has.
pub(crate) fn extended(index: &str) -> String {
    format!("foo.com/bar-{index}")
}

impl Template {
    /// A pod at its place among those that are like it.
    pub(crate) fn pod(&self, name: &str, place: Place) -> Value {
        let mut pod = json!({"metadata": {"name": name, "labels": self.labels,
            "finalizers": self.finalizers}, "spec": self.spec});
        if let Some(apart) = self.apart {
            apart(&mut pod, place);
        }
        pod
    }

    /// The same, each set apart by this.
    pub(crate) fn each(self, apart: fn(&mut Value, Place)) -> Self {
        Self { apart: Some(apart), ..self }
    }
}

/// Lets a pod ask for one of a resource.
pub(crate) fn wants(pod: &mut Value, resource: &str) {
    let wanted = json!({resource: "1"});
    pod["spec"]["containers"][0]["resources"] = json!({"requests": wanted, "limits": wanted});
}

pub(crate) fn template(labels: &Value, spec: &Value, requests: &Value) -> Template {
    let mut spec = spec.clone();
    spec["containers"] = json!([{"name": "pause", "image": "registry.k8s.io/pause:3.10.2",
        "ports": [{"containerPort": 80}], "resources": {"requests": requests, "limits": requests}}]);
    // Nobody looks after the nodes, and nothing ends the containers.
    spec["terminationGracePeriodSeconds"] = json!(0);
    Template { labels: labels.clone(), spec, finalizers: json!([]), apart: None }
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
    light().each(|pod, own| wants(pod, &extended(&own.index.to_string())))
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

/// The volume and the claim of a pod, bound to each other; the claim is for one pod alone if it is so.
pub(crate) fn volume(namespace: &str, pod: &str, source: &Value, alone: bool) -> (Value, Value) {
    let modes = json!(["ReadOnlyMany"]);
    let claimed = if alone { json!(["ReadWriteOncePod"]) } else { modes.clone() };
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
        "spec": {"accessModes": claimed, "resources": {"requests": size}, "volumeName": name,
            "storageClassName": ""},
        "status": {"phase": "Bound"},
    });
    (volume, claim)
}
