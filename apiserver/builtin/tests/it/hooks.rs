//! The hooks of single kinds: what creating, changing and deleting make of an object.

use kubeplane_builtin::{all, optional};
use kubeplane_core::{
    Definition, Object,
    admission::Warnings,
    auth::UserInfo,
    definition::{Context, Deletion},
    features::Features,
    field::Errors,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// One kind with its hooks in the order a handler calls them, and the gates that are on or off.
pub(crate) struct Kind(Arc<Definition>, Features);

impl Kind {
    pub(crate) fn of(api_version: &str, kind: &str) -> Self {
        Self::gated("", api_version, kind)
    }

    pub(crate) fn gated(gates: &str, api_version: &str, kind: &str) -> Self {
        let features: Features = gates.parse().unwrap();
        let found = all().into_iter().chain(optional(&features)).find(|known| {
            known.group_version().to_string() == api_version && known.kind.kind == kind
        });
        Self(found.unwrap(), features)
    }

    pub(crate) fn object(&self, value: Value) -> Object {
        let mut object = Object::from_value(value).unwrap();
        object.set(&["apiVersion"], self.0.group_version().to_string());
        object.set(&["kind"], self.0.kind.kind.to_string());
        self.0.strategy.default(&mut object);
        object
    }

    pub(crate) fn with<T>(&self, subresource: &str, run: impl FnOnce(&Context<'_>) -> T) -> T {
        let (user, warnings) = (UserInfo::default(), Warnings::default());
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        run(&Context { now, user: &user, subresource, warnings: &warnings, features: &self.1 })
    }

    pub(crate) fn created(&self, value: Value) -> Object {
        let mut object = self.object(value);
        self.with("", |context| self.0.strategy.prepare_create(context, &mut object));
        object
    }

    pub(crate) fn create_errors(&self, value: Value) -> Vec<String> {
        self.errors_of(&self.created(value))
    }

    /// What is wrong with one that was made already.
    pub(crate) fn errors_of(&self, object: &Object) -> Vec<String> {
        texts(&self.with("", |context| self.0.strategy.validate(context, object)))
    }

    /// The warnings about one that is right, new or changed.
    pub(crate) fn warnings_of(
        &self,
        subresource: &str,
        object: &Object,
        old: Option<&Object>,
    ) -> Vec<String> {
        self.with(subresource, |context| {
            let errors = match old {
                Some(old) => self.0.strategy.validate_update(context, object, old),
                None => self.0.strategy.validate(context, object),
            };
            assert_eq!(texts(&errors), Vec::<String>::new());
            context.warnings.take()
        })
    }

    /// The object as it would be stored, and what is wrong with it.
    pub(crate) fn updated(
        &self,
        old: &Object,
        subresource: &str,
        change: impl FnOnce(&mut Object),
    ) -> (Object, Vec<String>) {
        let mut object = old.clone();
        change(&mut object);
        self.0.strategy.default(&mut object);
        self.with(subresource, |context| {
            self.0.strategy.prepare_update(context, &mut object, old);
            let errors = self.0.strategy.validate_update(context, &object, old);
            (object, texts(&errors))
        })
    }
}

fn texts(errors: &Errors) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn pod(spec: Value) -> Value {
    let mut spec = spec;
    spec["containers"] = json!([{"name": "c", "image": "i:1"}]);
    json!({"metadata": {"name": "p", "namespace": "d", "labels": {"app": "x"}}, "spec": spec})
}

#[test]
fn a_new_pod_is_pending_and_has_a_class_and_a_generation() {
    let pods = Kind::of("v1", "Pod");
    let made = pods.created(pod(json!({"topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": ["app"], "labelSelector": {}},
    ], "schedulingGates": [{"name": "g"}]})));
    assert_eq!(made.text(&["status", "phase"]), "Pending");
    assert_eq!(made.text(&["status", "qosClass"]), "BestEffort");
    assert_eq!(made.generation(), 1);
    let status = made.at(&["status", "conditions"]).unwrap();
    assert_eq!(status[0]["reason"], "SchedulingGated");
    let constraint = &made.at(&["spec", "topologySpreadConstraints"]).unwrap()[0];
    let requirement = json!([{"key": "app", "operator": "In", "values": ["x"]}]);
    assert_eq!(constraint["labelSelector"]["matchExpressions"], requirement);
}

#[test]
fn only_images_and_a_few_more_fields_of_a_pod_change() {
    let pods = Kind::of("v1", "Pod");
    let old = pods.created(pod(json!({"nodeName": "n"})));
    let (stored, errors) = pods.updated(&old, "", |pod| {
        pod.map_at_mut(&["spec"])["containers"][0]["image"] = "i:2".into();
        pod.set(&["status", "phase"], "Running");
    });
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!((stored.generation(), stored.text(&["status", "phase"])), (2, "Pending"));
    let (_, errors) = pods.updated(&old, "", |pod| pod.set(&["spec", "nodeName"], "m"));
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than "),
        "{errors:?}"
    );
    let (_, errors) = pods.updated(&old, "", |pod| pod.set(&["spec", "activeDeadlineSeconds"], 0));
    assert_eq!(
        errors,
        [
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"
        ]
    );
    let (_, errors) = pods.updated(&old, "", |pod| pod.set(&["spec", "containers"], json!([])));
    let expected = [
        "spec.containers: Required value",
        "spec.containers: Forbidden: pod updates may not add or remove containers",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn the_status_of_a_pod_changes_apart_from_the_rest() {
    let pods = Kind::of("v1", "Pod");
    let old = pods.created(pod(json!({"restartPolicy": "Never"})));
    let ended = json!([{"name": "c", "state": {"terminated": {"exitCode": 0}}}]);
    let (stored, errors) = pods.updated(&old, "status", |pod| {
        pod.set(&["spec", "nodeName"], "elsewhere");
        pod.set(
            &["status"],
            json!({"phase": "Succeeded", "podIP": "10.0.0.1", "containerStatuses": ended}),
        );
    });
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(stored.text(&["spec", "nodeName"]), "");
    assert_eq!(stored.text(&["status", "qosClass"]), "BestEffort");
    assert_eq!(stored.at(&["status", "podIPs"]), Some(&json!([{"ip": "10.0.0.1"}])));
    let (_, errors) = pods.updated(&stored, "status", |pod| {
        pod.set(&["status", "containerStatuses"], json!([{"name": "c", "state": {"running": {}}}]));
        pod.set(&["status", "qosClass"], "Guaranteed");
    });
    let expected = [
        "status.qosClass: Invalid value: \"Guaranteed\": field is immutable",
        "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn subresources_of_a_pod_change_their_part_only() {
    let pods = Kind::of("v1", "Pod");
    let old = pods.created(pod(json!({})));
    let (stored, errors) = pods.updated(&old, "ephemeralcontainers", |pod| {
        pod.set(&["spec", "ephemeralContainers"], json!([{"name": "debug", "image": "busybox"}]));
        pod.set(&["spec", "hostname"], "ignored");
    });
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!((stored.generation(), stored.at(&["spec", "hostname"])), (2, None));
    let (_, errors) = pods.updated(&stored, "ephemeralcontainers", |pod| {
        drop(pod.remove(&["spec", "ephemeralContainers"]))
    });
    assert_eq!(errors.len(), 1, "{errors:?}");
    let sized = |cpu: &str| json!({"requests": {"cpu": cpu}});
    let mut burstable = old.clone();
    burstable.map_at_mut(&["spec"])["containers"][0]["resources"] = sized("1");
    burstable.set(&["status", "qosClass"], "Burstable");
    let (stored, errors) = pods.updated(&burstable, "resize", |pod| {
        pod.map_at_mut(&["spec"])["containers"][0]["resources"] = sized("2");
    });
    assert_eq!((errors, stored.generation()), (Vec::new(), 2));
    let (_, errors) = pods.updated(&burstable, "resize", |pod| {
        pod.map_at_mut(&["spec"])["containers"][0]["resources"] = json!({});
    });
    assert!(
        errors.iter().any(|error| error.contains("resource requests cannot be removed")),
        "{errors:?}"
    );
}

#[test]
fn a_pod_on_a_node_is_deleted_gracefully() {
    let pods = Kind::of("v1", "Pod");
    let deletion = |value: Value, grace| pods.0.strategy.deletion(&pods.object(value), grace);
    let bound = |phase: &str| {
        let mut value = pod(json!({"nodeName": "n"}));
        value["status"] = json!({"phase": phase});
        value
    };
    assert_eq!(deletion(pod(json!({})), None), Deletion::Graceful { seconds: 0 });
    assert_eq!(deletion(bound("Running"), None), Deletion::Graceful { seconds: 30 });
    assert_eq!(deletion(bound("Running"), Some(5)), Deletion::Graceful { seconds: 5 });
    assert_eq!(deletion(bound("Running"), Some(-1)), Deletion::Graceful { seconds: 1 });
    assert_eq!(deletion(bound("Running"), Some(0)), Deletion::Graceful { seconds: 0 });
    assert_eq!(deletion(bound("Failed"), Some(5)), Deletion::Graceful { seconds: 0 });
}

#[test]
fn fields_of_pods_can_be_selected() {
    let pods = Kind::of("v1", "Pod");
    let mut value = pod(json!({"nodeName": "n"}));
    value["status"] = json!({"podIPs": [{"ip": "10.0.0.1"}]});
    let object = pods.object(value);
    let field = |path: &str| pods.0.strategy.field(&object, path);
    assert_eq!(field("spec.nodeName"), "n");
    assert_eq!(field("spec.hostNetwork"), "false");
    assert_eq!(field("status.podIP"), "10.0.0.1");
    assert_eq!(field("spec.restartPolicy"), "Always");
}

#[test]
fn a_pod_keeps_what_no_default_knows() {
    let pods = Kind::of("v1", "Pod");
    let made = pods.object(pod(json!({"volumes": [{"name": "v", "secret": {"secretName": "s", "later": 1}}, {"name": "e"}]})));
    let volumes = made.at(&["spec", "volumes"]).unwrap();
    assert_eq!(volumes[0]["secret"], json!({"secretName": "s", "later": 1, "defaultMode": 420}));
    assert_eq!(volumes[1], json!({"name": "e", "emptyDir": {}}));
    let container = &made.at(&["spec", "containers"]).unwrap()[0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["terminationMessagePath"], "/dev/termination-log");
}

#[test]
fn a_namespace_keeps_its_finalizers_until_they_are_finalized() {
    let namespaces = Kind::of("v1", "Namespace");
    let old = namespaces.created(json!({"metadata": {"name": "n"}}));
    assert_eq!(old.label("kubernetes.io/metadata.name"), Some("n"));
    assert_eq!(old.at(&["spec", "finalizers"]), Some(&json!(["kubernetes"])));
    let clear = |object: &mut Object| object.set(&["spec", "finalizers"], json!([]));
    let (stored, _) = namespaces.updated(&old, "", clear);
    assert_eq!(stored.at(&["spec", "finalizers"]), Some(&json!(["kubernetes"])));
    let (stored, errors) = namespaces.updated(&old, "finalize", clear);
    assert_eq!((stored.at(&["spec", "finalizers"]), errors), (Some(&json!([])), Vec::new()));
    let (_, errors) = namespaces
        .updated(&old, "status", |object| object.set(&["status", "phase"], "Terminating"));
    assert_eq!(
        errors,
        [
            "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
        ]
    );
    let none = |object: &mut Object| drop(object.remove(&["status"]));
    let (stored, errors) = namespaces.updated(&old, "status", none);
    assert_eq!((stored.text(&["status", "phase"]), errors), ("Active", Vec::new()));
}

#[test]
fn a_service_keeps_what_was_allocated_and_drops_what_its_type_lacks() {
    let services = Kind::of("v1", "Service");
    let mut old = services.created(json!({"metadata": {"name": "s", "namespace": "d"}, "spec": {
        "type": "NodePort", "ports": [{"port": 80}],
    }}));
    let spec = old.map_at_mut(&["spec"]);
    spec.insert("clusterIP".into(), "10.96.0.9".into());
    spec.insert("clusterIPs".into(), json!(["10.96.0.9"]));
    spec["ports"][0]["nodePort"] = 30_080.into();
    let plain = json!({"type": "NodePort", "ports": [{"port": 80}]});
    let (stored, errors) = services.updated(&old, "", |service| service.set(&["spec"], plain));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(stored.text(&["spec", "clusterIP"]), "10.96.0.9");
    assert_eq!(stored.at(&["spec", "ports"]).unwrap()[0]["nodePort"], 30_080);
    let (stored, errors) =
        services.updated(&old, "", |service| service.set(&["spec", "type"], "ClusterIP"));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(stored.at(&["spec", "externalTrafficPolicy"]), None);
    assert_eq!(stored.at(&["spec", "ports"]).unwrap()[0].get("nodePort"), None);
    let (_, errors) = services.updated(&old, "", |service| {
        service.set(&["spec", "clusterIP"], "10.96.0.10");
        service.set(&["spec", "clusterIPs"], json!(["10.96.0.10"]));
    });
    assert_eq!(
        errors,
        ["spec.clusterIPs[0]: Invalid value: [\"10.96.0.10\"]: may not change once set"]
    );
}

#[test]
fn a_deployment_counts_its_changes_and_keeps_its_selector() {
    let deployments = Kind::of("apps/v1", "Deployment");
    let old = deployments.created(json!({"metadata": {"name": "d", "namespace": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "x"}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
    }}));
    assert_eq!(old.at(&["spec", "strategy", "rollingUpdate", "maxSurge"]), Some(&json!("25%")));
    let (stored, errors) =
        deployments.updated(&old, "", |object| object.set(&["spec", "replicas"], 3));
    assert_eq!((stored.generation(), errors), (2, Vec::new()));
    let (stored, _) = deployments.updated(&old, "status", |object| {
        object.set(&["spec", "replicas"], 3);
        object.set(&["status", "replicas"], 1);
        object.set(&["metadata", "labels", "a"], "b");
    });
    assert_eq!(stored.at(&["spec", "replicas"]), Some(&json!(1)));
    assert_eq!((stored.generation(), stored.label("a")), (1, None));
    let (_, errors) = deployments.updated(&old, "", |object| {
        object.set(&["spec", "selector", "matchLabels"], json!({"app": "y"}));
        object.set(&["spec", "template", "metadata", "labels"], json!({"app": "y"}));
    });
    assert_eq!(
        errors,
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"y\"}}: field is immutable"]
    );
    let (_, errors) = deployments.updated(&old, "", |object| {
        object.set(
            &["spec", "strategy", "rollingUpdate"],
            json!({"maxSurge": 0, "maxUnavailable": "0%"}),
        );
    });
    let expected = "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0%\": may not be 0 when `maxSurge` is 0";
    assert_eq!(errors, [expected]);
}

#[test]
fn immutable_objects_do_not_change() {
    let config_maps = Kind::of("v1", "ConfigMap");
    let old = config_maps
        .created(json!({"metadata": {"name": "c"}, "immutable": true, "data": {"a": "1"}}));
    let (_, errors) = config_maps.updated(&old, "", |object| object.set(&["data", "a"], "2"));
    assert_eq!(errors, ["data: Forbidden: field is immutable when `immutable` is set"]);
    let secrets = Kind::of("v1", "Secret");
    let old = secrets.created(json!({"metadata": {"name": "s"}, "stringData": {"a": "x"}}));
    assert_eq!((old.at(&["data", "a"]), old.at(&["stringData"])), (Some(&json!("eA==")), None));
    let (_, errors) =
        secrets.updated(&old, "", |object| object.set(&["type"], "kubernetes.io/tls"));
    let expected = [
        "type: Invalid value: \"kubernetes.io/tls\": field is immutable",
        "data[tls.crt]: Required value",
        "data[tls.key]: Required value",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_binding_never_grants_another_role() {
    let bindings = Kind::of("rbac.authorization.k8s.io/v1", "ClusterRoleBinding");
    let value = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "r"},
        "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s", "namespace": "n"}]});
    let old = bindings.created(value);
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let cells = bindings.0.strategy.table_row(&old, now);
    assert_eq!(
        cells[1..],
        [json!("ClusterRole/r"), json!("<unknown>"), json!("u"), json!(""), json!("n/s")]
    );
    let (_, errors) =
        bindings.updated(&old, "", |object| object.set(&["roleRef", "name"], "other"));
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("roleRef: Invalid value: ")
            && errors[0].ends_with("cannot change roleRef")
    );
}

#[test]
fn a_role_says_what_it_is_about() {
    let roles = Kind::of("rbac.authorization.k8s.io/v1", "Role");
    let errors = roles.create_errors(json!({"metadata": {"name": "r"}, "rules": [{"nonResourceURLs": ["/x"]}, {"verbs": ["get"]}]}));
    let expected = [
        "rules[0].verbs: Required value: verbs must contain at least one value",
        "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
        "rules[1].apiGroups: Required value: resource rules must supply at least one api group",
        "rules[1].resources: Required value: resource rules must supply at least one resource",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn a_node_keeps_its_network_and_provider() {
    let nodes = Kind::of("v1", "Node");
    let old = nodes.created(json!({"metadata": {"name": "n"}, "spec": {"podCIDR": "10.1.0.0/24", "providerID": "x://n"}}));
    assert_eq!(old.at(&["spec", "podCIDRs"]), Some(&json!(["10.1.0.0/24"])));
    let (_, errors) = nodes.updated(&old, "", |node| {
        node.set(
            &["spec"],
            json!({"podCIDR": "10.2.0.0/24", "podCIDRs": ["10.2.0.0/24"], "providerID": "x://m"}),
        );
    });
    let expected = [
        "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
        "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
    ];
    assert_eq!(errors, expected);
    let (stored, _) = nodes.updated(&old, "status", |node| {
        node.set(&["spec", "unschedulable"], true);
        node.set(&["status", "capacity"], json!({"cpu": "4"}));
    });
    assert_eq!(stored.at(&["spec", "unschedulable"]), None);
    assert_eq!(stored.at(&["status", "allocatable"]), Some(&json!({"cpu": "4"})));
}

#[test]
fn what_is_hardly_meant_is_warned_about() {
    let pods = Kind::of("v1", "Pod");
    let mut value = pod(json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}}));
    value["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    value["spec"]["containers"][0]["ports"] =
        json!([{"containerPort": 80, "name": "a"}, {"containerPort": 80, "name": "b"}]);
    value["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "m", "items": [
        {"key": "a", "path": "x"}, {"key": "b", "path": "x/y"},
    ]}}]);
    let object = pods.created(value);
    let warnings = pods.with("", |context| {
        assert_eq!(texts(&pods.0.strategy.validate(context, &object)), Vec::<String>::new());
        context.warnings.take()
    });
    let expected = [
        "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "volume \"v\" (ConfigMap \"m\"): overlapping paths: \"x/y\" with \"x\"",
        "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
    ];
    assert_eq!(warnings, expected);
}

#[test]
fn what_is_refused_is_not_warned_about() {
    let secrets = Kind::of("v1", "Secret");
    let said = |data: Value| {
        let object = secrets.created(json!({"metadata": {"name": "s", "namespace": "d"},
            "type": "kubernetes.io/tls", "data": data}));
        secrets.with("", |context| {
            let errors = secrets.0.strategy.validate(context, &object);
            (errors.len(), context.warnings.take())
        })
    };
    assert_eq!(said(json!({"tls.crt": ""})), (1, Vec::new()));
    let (errors, warnings) = said(json!({"tls.crt": "", "tls.key": ""}));
    assert_eq!(errors, 0);
    assert_eq!(warnings, ["tls: failed to find any PEM data in certificate input"]);
}

#[test]
fn a_fraction_of_a_byte_is_warned_about_where_it_stands() {
    let sets = Kind::of("apps/v1", "StatefulSet");
    let labels = json!({"app": "x"});
    let set = sets.created(json!({"metadata": {"name": "s", "namespace": "d"}, "spec": {
        "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec":
            {"containers": [{"name": "c", "image": "i:1"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec":
            {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1500m"}}}}]}}));
    let place = "resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer";
    let warnings = sets.warnings_of("", &set, None);
    assert_eq!(warnings, [format!("spec.volumeClaimTemplates[0].{place}")]);
    let warnings = sets.warnings_of("", &set, Some(&set));
    assert_eq!(warnings, [format!("spec.volumeClaimTemplates[0].Spec.{place}")]);
}

#[test]
fn a_lease_keeps_what_it_has_of_a_feature_that_is_off() {
    let of = |gates| Kind::gated(gates, "coordination.k8s.io/v1", "Lease");
    let (on, off) = (of("CoordinatedLeaderElection=true"), of(""));
    let lease = json!({"metadata": {"name": "l", "namespace": "d"},
        "spec": {"strategy": "OldestEmulationVersion", "preferredHolder": "a"}});
    assert_eq!(off.created(lease.clone()).at(&["spec"]), Some(&json!({})));
    let old = on.created(lease);
    let (kept, errors) = off.updated(&old, "", |lease| lease.set(&["spec", "holderIdentity"], "b"));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(kept.text(&["spec", "strategy"]), "OldestEmulationVersion");
    assert_eq!(kept.text(&["spec", "preferredHolder"]), "a");
}

#[test]
fn no_pod_is_found_by_all_its_addresses() {
    let pods = Kind::of("v1", "Pod");
    let mut object = pods.created(pod(json!({})));
    object.set(&["status", "podIPs"], json!([{"ip": "10.1.2.3"}]));
    let field = |path: &str| pods.0.strategy.field(&object, path);
    assert_eq!(field("status.podIP"), "10.1.2.3");
    assert_eq!(field("status.podIPs"), "");
}
