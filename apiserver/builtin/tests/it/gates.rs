//! Fields and rules of features that are on by default, where they were switched off, and the other way round.

use crate::hooks::Kind;
use kubeplane_core::Object;
use serde_json::{Value, json};

const NONE: Vec<String> = Vec::new();

fn workload() -> Value {
    let labels = json!({"a": "b"});
    json!({"metadata": {"name": "w", "namespace": "d"}, "spec": {"selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}})
}

#[test]
fn pods_on_their_way_out_are_counted_where_that_is_on() {
    let count = ["status", "terminatingReplicas"];
    for name in ["Deployment", "ReplicaSet"] {
        let on = Kind::of("apps/v1", name);
        let gates = "DeploymentReplicaSetTerminatingReplicas=false";
        let off = Kind::gated(gates, "apps/v1", name);
        let old = on.created(workload());
        let (told, errors) = on.updated(&old, "status", |object| object.set(&count, 1));
        assert_eq!((told.at(&count), errors), (Some(&json!(1)), NONE), "{name}");
        let (dropped, errors) = off.updated(&old, "status", |object| object.set(&count, 1));
        assert_eq!((dropped.at(&count), errors), (None, NONE), "{name}");
        let (kept, _) = off.updated(&told, "status", |object| object.set(&count, 2));
        assert_eq!(kept.at(&count), Some(&json!(2)), "{name}");
    }
}

#[test]
fn tolerances_of_autoscalers_are_kept_where_they_were() {
    let path = ["spec", "behavior", "scaleUp", "tolerance"];
    let scaler = json!({"metadata": {"name": "h", "namespace": "d"}, "spec": {"maxReplicas": 3,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "behavior": {"scaleUp": {"tolerance": "100m"}}}});
    let on = Kind::of("autoscaling/v2", "HorizontalPodAutoscaler");
    let gates = "HPAConfigurableTolerance=false";
    let off = Kind::gated(gates, "autoscaling/v2", "HorizontalPodAutoscaler");
    assert_eq!(off.created(scaler.clone()).at(&path), None);
    let old = on.created(scaler);
    assert_eq!(old.at(&path), Some(&json!("100m")));
    let (kept, errors) = off.updated(&old, "", |object| object.set(&path, "200m"));
    assert_eq!((kept.at(&path), errors), (Some(&json!("200m")), NONE));
}

#[test]
fn suspended_jobs_change_as_far_as_gates_let_them() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]});
    let job = json!({"metadata": {"name": "j", "namespace": "d", "uid": "u"},
        "spec": {"suspend": true, "template": {"spec": spec}}});
    let errors = |gates: &str, started: bool, change: fn(&mut Object)| {
        let kind = Kind::gated(gates, "batch/v1", "Job");
        let mut old = kind.created(job.clone());
        if started {
            let suspended = json!([{"type": "Suspended", "status": "True"}]);
            old.set(
                &["status"],
                json!({"startTime": "2026-01-01T00:00:00Z", "conditions": suspended}),
            );
        }
        kind.updated(&old, "", change).1
    };
    let place = |job: &mut Object| {
        job.set(&["spec", "template", "spec", "nodeSelector"], json!({"zone": "a"}));
    };
    let resources = |job: &mut Object| {
        let pod = job.map_at_mut(&["spec", "template", "spec"]);
        pod["containers"][0]["resources"] =
            json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}});
    };
    let refused = |errors: Vec<String>| {
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].starts_with("spec.template: Invalid value: "), "{errors:?}");
    };
    assert_eq!(errors("", true, place), NONE);
    assert_eq!(errors("", true, resources), NONE);
    let scheduling = "MutableSchedulingDirectivesForSuspendedJobs=false";
    assert_eq!(errors(scheduling, false, place), NONE);
    assert_eq!(errors(scheduling, true, resources), NONE);
    let amounts = "MutablePodResourcesForSuspendedJobs=false";
    refused(errors(amounts, false, resources));
    assert_eq!(errors(amounts, true, place), NONE);
    let both = format!("{scheduling},{amounts}");
    refused(errors(&both, true, place));
    assert_eq!(errors(&both, false, place), NONE);
}

fn pod(spec: &Value) -> Value {
    let mut whole = json!({"containers": [{"name": "c", "image": "i:1"}]});
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap());
    json!({"metadata": {"name": "p", "namespace": "d", "labels": {"a": "b"}}, "spec": whole})
}

fn deployment(spec: &Value) -> Value {
    let labels = json!({"a": "b"});
    let template = json!({"metadata": {"labels": labels}, "spec": pod(spec)["spec"]});
    json!({"metadata": {"name": "w", "namespace": "d"},
        "spec": {"selector": {"matchLabels": labels}, "template": template}})
}

/// Without the first gates there is one thing wrong, and with the second nothing.
fn wrong_and_right(wrong: &str, right: &str, kind: (&str, &str), value: &Value, detail: &str) {
    let errors = |gates: &str| Kind::gated(gates, kind.0, kind.1).create_errors(value.clone());
    let found = errors(wrong);
    assert!(found.len() == 1 && found[0].contains(detail), "{kind:?} {wrong}: {found:?}");
    assert_eq!(errors(right), NONE, "{kind:?} {right}");
}

#[test]
fn sloppy_addresses_pass_where_strictness_is_off() {
    let off = "StrictIPCIDRValidation=false";
    let aliases = json!({"hostAliases": [{"ip": "010.0.0.1", "hostnames": ["a"]}]});
    let block = json!([{"from": [{"ipBlock": {"cidr": "10.0.0.1/8"}}]}]);
    let policy = json!({"metadata": {"name": "n", "namespace": "d"},
        "spec": {"podSelector": {}, "ingress": block}});
    let slice = |kind: &str, address: &str| {
        json!({"metadata": {"name": "s", "namespace": "d"}, "addressType": kind,
            "endpoints": [{"addresses": [address]}], "ports": []})
    };
    let zeros = "must not have leading 0s";
    for (kind, value, detail) in [
        (("v1", "Pod"), pod(&aliases), zeros),
        (("apps/v1", "Deployment"), deployment(&aliases), zeros),
        (("networking.k8s.io/v1", "NetworkPolicy"), policy, "must not have bits set beyond"),
        (("discovery.k8s.io/v1", "EndpointSlice"), slice("IPv4", "010.1.2.3"), zeros),
    ] {
        wrong_and_right("", off, kind, &value, detail);
    }
    let young = Kind::gated(off, "discovery.k8s.io/v1", "EndpointSlice");
    let errors = young.create_errors(slice("IPv6", "::ffff:1.2.3.4"));
    assert!(errors.len() == 1 && errors[0].contains("IPv4-mapped"), "{errors:?}");
}

#[test]
fn pods_and_templates_follow_the_gates() {
    let bound = json!({"hostUsers": false, "hostNetwork": true});
    let mounted = json!({"securityContext": {"seLinuxChangePolicy": "MountOption"}});
    let less = |than: &str| {
        json!({"tolerations": [{"key": "sla", "operator": "Lt", "value": than,
            "effect": "NoSchedule"}]})
    };
    let comparison = "TaintTolerationComparisonOperators=true";
    for (gate, spec, detail) in [
        ("UserNamespacesHostNetworkSupport=true", &bound, "when `hostUsers` is false"),
        ("SELinuxMount=true", &mounted, "supported values: \"Recursive\""),
        (comparison, &less("-950"), "\"Equal\", \"Exists\", \"Lt\", \"Gt\""),
    ] {
        wrong_and_right("", gate, ("v1", "Pod"), &pod(spec), detail);
        wrong_and_right("", gate, ("apps/v1", "Deployment"), &deployment(spec), detail);
    }
    let errors = |gates: &str, than: &str| {
        Kind::gated(gates, "v1", "Pod").create_errors(pod(&less(than))).join("\n")
    };
    let found = errors("", "soon");
    assert!(found.contains("Unsupported value") && !found.contains("].value"), "{found}");
    let found = errors(comparison, "soon");
    assert!(found.contains("strconv.ParseInt: parsing \"soon\": invalid syntax"), "{found}");
    let found = errors(comparison, "9223372036854775808");
    assert!(found.contains("value out of range") && !found.contains("canonical"), "{found}");

    let off = "RestartAllContainersOnContainerExits=false";
    let rules = json!([{"action": "RestartAllContainers",
        "exitCodes": {"operator": "In", "values": [7]}}]);
    let named = json!({"name": "c", "image": "i:1", "restartPolicy": "Never",
        "restartPolicyRules": rules});
    let named = json!({"containers": [named]});
    wrong_and_right(off, "", ("v1", "Pod"), &pod(&named), "supported values: \"Restart\"");
    wrong_and_right(off, "", ("apps/v1", "Deployment"), &deployment(&named), "\"Restart\"");
    let rules = json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}]);
    let sidecar = json!({"name": "s", "image": "i:1", "restartPolicy": "Always",
        "restartPolicyRules": rules});
    let sidecar = pod(&json!({"initContainers": [sidecar]}));
    wrong_and_right(off, "", ("v1", "Pod"), &sidecar, "restartPolicyRules are not allowed");

    let mut costly = pod(&json!({}));
    costly["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "x"});
    let free = "PodDeletionCost=false";
    wrong_and_right("", free, ("v1", "Pod"), &costly, "must be a 32bit integer");
}

#[test]
fn what_a_template_said_may_be_said_again() {
    let kind = Kind::of("apps/v1", "Deployment");
    let path = ["spec", "template", "spec", "securityContext", "seLinuxChangePolicy"];
    let recursive = json!({"securityContext": {"seLinuxChangePolicy": "Recursive"}});
    let old = kind.created(deployment(&recursive));
    let (_, errors) = kind.updated(&old, "", |object| object.set(&path, "MountOption"));
    assert_eq!(errors, NONE);
    let old = kind.created(deployment(&json!({})));
    let (_, errors) = kind.updated(&old, "", |object| object.set(&path, "MountOption"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let on = Kind::gated("TaintTolerationComparisonOperators=true", "apps/v1", "Deployment");
    let less = json!([{"key": "sla", "operator": "Gt", "value": "5"}]);
    let old = on.created(deployment(&json!({"tolerations": less})));
    let (_, errors) = kind.updated(&old, "", |object| object.set(&["spec", "replicas"], 3));
    assert_eq!(errors, NONE);
}

#[test]
fn bound_pods_are_nominated_where_that_is_not_cleared() {
    let errors = |gates: &str| {
        let kind = Kind::gated(gates, "v1", "Pod");
        let old = kind.created(pod(&json!({"nodeName": "n"})));
        kind.updated(&old, "status", |pod| pod.set(&["status", "nominatedNodeName"], "m")).1
    };
    assert!(errors("").concat().contains("already bound"), "{:?}", errors(""));
    assert_eq!(errors("ClearingNominatedNodeNameAfterBinding=false"), NONE);
}

#[test]
fn label_keys_of_spreading_are_merged_where_that_is_on() {
    let constraint = json!({"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule",
        "matchLabelKeys": ["a"], "labelSelector": {}});
    let spread = json!({"topologySpreadConstraints": [constraint]});
    let merged = |gates: &str| {
        let made = Kind::gated(gates, "v1", "Pod").created(pod(&spread)).into_value();
        let selector = "/spec/topologySpreadConstraints/0/labelSelector/matchExpressions";
        made.pointer(selector).is_some()
    };
    assert!(merged(""));
    assert!(!merged("MatchLabelKeysInPodTopologySpreadSelectorMerge=false"));
}

#[test]
fn services_and_what_names_them_begin_with_a_letter_where_that_is_not_relaxed() {
    let off = "RelaxedServiceNameValidation=false";
    let found = |gates: &str, api: &str, kind: &str, value: &Value| {
        let errors = Kind::gated(gates, api, kind).create_errors(value.clone());
        errors.into_iter().filter(|error| error.contains("DNS-1035")).count()
    };
    let service = json!({"metadata": {"name": "1a", "namespace": "d"},
        "spec": {"ports": [{"port": 80}]}});
    assert_eq!(found("", "v1", "Service", &service), 0);
    assert_eq!(found(off, "v1", "Service", &service), 1);
    let backend = json!({"service": {"name": "1a", "port": {"number": 80}}});
    let rule =
        json!({"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}});
    let ingress = json!({"metadata": {"name": "i", "namespace": "d"},
        "spec": {"defaultBackend": backend, "rules": [rule]}});
    let kind = ("networking.k8s.io/v1", "Ingress");
    assert_eq!(found("", kind.0, kind.1, &ingress), 0);
    assert_eq!(found(off, kind.0, kind.1, &ingress), 2);
    let old = Kind::of(kind.0, kind.1).created(ingress);
    let rename = |object: &mut Object| {
        object.set(&["spec", "defaultBackend", "service", "name"], "2b");
    };
    assert_eq!(Kind::gated(off, kind.0, kind.1).updated(&old, "", rename).1, NONE);
}

#[test]
fn the_status_of_a_network_comes_from_writers_where_it_is_not_wiped() {
    let value = json!({"metadata": {"name": "n"}, "spec": {"cidrs": ["10.0.0.0/16"]},
        "status": {"conditions": []}});
    let kind = |gates: &str| Kind::gated(gates, "networking.k8s.io/v1", "ServiceCIDR");
    let (on, off) = (kind(""), kind("ServiceCIDRStatusFieldWiping=false"));
    let path = ["status", "conditions"];
    let old = on.created(value.clone());
    assert_eq!(old.at(&path), None);
    assert_eq!(off.created(value).at(&path), Some(&json!([])));
    let say = |object: &mut Object| object.set(&path, json!([]));
    assert_eq!(on.updated(&old, "", say).0.at(&path), None);
    assert_eq!(off.updated(&old, "", say).0.at(&path), Some(&json!([])));
    assert_eq!(on.updated(&old, "status", say).0.at(&path), Some(&json!([])));
}

#[test]
fn names_of_configurations_in_files_are_refused_where_there_are_such() {
    let value = json!({"metadata": {"name": "own.static.k8s.io"}, "webhooks": []});
    let kind = |gates: &str| {
        let api = "admissionregistration.k8s.io/v1";
        Kind::gated(gates, api, "ValidatingWebhookConfiguration")
    };
    let (off, on) = (kind(""), kind("ManifestBasedAdmissionControlConfig=true"));
    let made = off.created(value.clone());
    assert!(off.warnings_of("", &made, None).concat().contains("reserved for static"));
    let errors = on.create_errors(value);
    assert!(errors.len() == 1 && errors[0].contains("reserved for static"), "{errors:?}");
    assert!(on.warnings_of("", &made, Some(&made)).concat().contains("reserved for static"));
}

#[test]
fn resizes_of_init_containers_and_whole_pods_can_be_switched_off() {
    let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
    let pod = |whole: Value| {
        let mut pod = json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {
            "containers": [{"name": "c", "image": "i:1", "resources": cpu("1")}],
            "initContainers": [{"name": "i", "image": "i:1", "resources": cpu("1")}]}});
        if !whole.is_null() {
            pod["spec"]["resources"] = whole;
        }
        pod
    };
    let init = |pod: &mut Object| {
        pod.map_at_mut(&["spec"])["initContainers"][0]["resources"] =
            json!({"requests": {"cpu": "500m"}});
    };
    let on = Kind::of("v1", "Pod");
    let off = Kind::gated("InPlacePodVerticalScalingInitContainers=false", "v1", "Pod");
    let old = on.created(pod(Value::Null));
    assert_eq!(on.updated(&old, "resize", init).1, NONE);
    let (_, errors) = off.updated(&old, "resize", init);
    let refused = "spec: Forbidden: resources for non-sidecar init containers are immutable";
    assert_eq!(errors, [refused]);

    let whole =
        |pod: &mut Object| pod.set(&["spec", "resources"], json!({"requests": {"cpu": "3"}}));
    let off = Kind::gated("InPlacePodLevelResourcesVerticalScaling=false", "v1", "Pod");
    let old = on.created(pod(cpu("2")));
    assert_eq!(on.updated(&old, "resize", whole).1, NONE);
    let (_, errors) = off.updated(&old, "resize", whole);
    assert!(
        errors[0].contains("resize of pods with pod-level resources is forbidden"),
        "{errors:?}"
    );
}
