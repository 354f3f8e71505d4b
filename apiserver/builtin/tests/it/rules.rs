//! Rules that were found by reading the original's validation beside this one: each with its field, its reason and the
//! beginning of its text.

use crate::hooks::Kind;
use kubeplane_core::Object;
use serde_json::{Value, json};

#[track_caller]
fn refused(errors: &[String], starts: &[&str]) {
    assert_eq!(errors.len(), starts.len(), "{errors:#?}");
    for (error, start) in errors.iter().zip(starts) {
        assert!(error.starts_with(start), "{error} is not {start}");
    }
}

fn pod(container: Value, spec: Value) -> Value {
    let mut all = json!({"containers": [{"name": "c", "image": "i:1"}]});
    all["containers"][0].as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"metadata": {"name": "p", "namespace": "d"}, "spec": all})
}

/// What is wrong with a status of a pod.
fn status_errors(container: Value, spec: Value, status: Value) -> Vec<String> {
    let kind = Kind::of("v1", "Pod");
    let old = kind.created(pod(container, spec));
    let (_, errors) = kind.updated(&old, "status", |pod| {
        for (field, value) in status.as_object().unwrap() {
            pod.set(&["status", field], value.clone());
        }
    });
    errors
}

#[test]
fn statuses_tell_of_devices_that_containers_asked_for() {
    let container = json!({"resources": {"requests": {"example.com/gpu": 1}, "limits": {"example.com/gpu": 1},
        "claims": [{"name": "a"}, {"name": "b", "request": "r"}]}});
    let claims = json!({"resourceClaims": [{"name": "a", "resourceClaimName": "x"}, {"name": "b", "resourceClaimName": "y"}]});
    let status = |name: &str, resources: Value| {
        json!({"containerStatuses": [{"name": "c", "image": "i:1", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResourcesStatus": [{"name": name, "resources": resources}]}]})
    };
    let healthy = json!([{"resourceID": "1", "health": "Healthy"}]);
    for name in ["example.com/gpu", "claim:a", "claim:b/r"] {
        let errors =
            status_errors(container.clone(), claims.clone(), status(name, healthy.clone()));
        refused(&errors, &[]);
    }
    let at = "status.containerStatuses[0].allocatedResourcesStatus[0]";
    for (name, what) in
        [("example.com/tpu", "resource requests"), ("claim:b", "resource claims in a format")]
    {
        let errors =
            status_errors(container.clone(), claims.clone(), status(name, healthy.clone()));
        let why =
            format!("{at}.name: Invalid value: {name:?}: must match one of the container's {what}");
        refused(&errors, &[&why]);
    }
    let wrong = json!([{"resourceID": "1", "health": "Ill"}, {"resourceID": "1", "health": "Unknown", "message": ""}]);
    refused(
        &status_errors(container, claims, status("claim:a", wrong)),
        &[
            &format!(
                "{at}.resources[0].health: Unsupported value: \"Ill\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\""
            ),
            &format!("{at}.resources[1].message: Required value: must be non-empty if specified"),
            &format!("{at}.resources[1].resourceID: Duplicate value: \"1\""),
        ],
    );
}

#[test]
fn statuses_tell_whom_containers_run_as() {
    let status = |user: Value| {
        json!({"containerStatuses": [{"name": "c", "image": "i:1", "imageID": "", "ready": true, "restartCount": 0,
            "user": {"linux": user}}]})
    };
    let user = json!({"uid": -1, "gid": 2_147_483_648_i64, "supplementalGroups": [0, -7]});
    let at = "status.containerStatuses[0].user.linux";
    refused(
        &status_errors(json!({}), json!({}), status(user.clone())),
        &[
            &format!("{at}.uid: Invalid value: -1: must be between 0 and 2147483647"),
            &format!("{at}.gid: Invalid value: 2147483648: must be between 0 and 2147483647"),
            &format!(
                "{at}.supplementalGroups[1]: Invalid value: -7: must be between 0 and 2147483647"
            ),
        ],
    );
    let windows = json!({"os": {"name": "windows"}});
    refused(
        &status_errors(json!({}), windows, status(user)),
        &[&format!("{at}: Forbidden: cannot be set for a windows pod")],
    );
}

#[test]
fn ephemeral_containers_have_no_devices() {
    let status = json!({"ephemeralContainerStatuses": [{"name": "e", "image": "i:1", "imageID": "", "ready": true,
        "restartCount": 0, "allocatedResourcesStatus": [{"name": "claim:a"}]}]});
    refused(
        &status_errors(json!({}), json!({}), status),
        &[
            "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status",
        ],
    );
}

#[test]
fn a_claim_for_extended_resources_maps_what_containers_ask_for() {
    let container = json!({"resources": {"requests": {"example.com/gpu": 1}, "limits": {"example.com/gpu": 1}}});
    let errors = |status: Value| {
        status_errors(container.clone(), json!({}), json!({"extendedResourceClaimStatus": status}))
    };
    let mapping = |container: &str, resource: &str, request: &str| json!({"containerName": container, "resourceName": resource, "requestName": request});
    let good = mapping("c", "example.com/gpu", "r-0");
    refused(&errors(json!({"resourceClaimName": "x", "requestMappings": [good]})), &[]);
    let at = "status.extendedResourceClaimStatus";
    refused(
        &errors(json!({"requestMappings": [], "resourceClaimName": ""})),
        &[
            &format!(
                "{at}.requestMappings: Required value: at least one request mapping is required"
            ),
            &format!("{at}.resourceClaimName: Required value"),
        ],
    );
    let wrong = json!([mapping("c", "cpu", "r-0"), mapping("d", "cpu", "R"), good, good]);
    refused(
        &errors(json!({"resourceClaimName": "X", "requestMappings": wrong})),
        &[
            &format!(
                "{at}.requestMappings[0].resourceName: Invalid value: \"cpu\": must match the extended resource name"
            ),
            &format!(
                "{at}.requestMappings[1].containerName: Invalid value: \"d\": must match the name of an entry"
            ),
            &format!("{at}.requestName: Invalid value: \"R\": a lowercase RFC 1123 label"),
            &format!("{at}.requestMappings[3].containerName: Duplicate value: \"c\""),
            &format!("{at}.requestMappings[3].resourceName: Duplicate value: \"example.com/gpu\""),
            &format!("{at}.requestMappings[3].requestName: Duplicate value: \"r-0\""),
            &format!(
                "{at}.resourceClaimName: Invalid value: \"X\": a lowercase RFC 1123 subdomain"
            ),
        ],
    );
}

#[test]
fn fields_of_gates_that_are_off_are_dropped_from_a_status() {
    let kind = Kind::of("v1", "Pod");
    let old = kind.created(pod(json!({}), json!({})));
    let (changed, errors) = kind.updated(&old, "status", |pod| {
        pod.set(&["status", "nodeAllocatableResourceClaimStatuses"], json!([{"resourceClaimName": ""}]));
        let mounts = json!([{"name": "v", "mountPath": "/v", "volumeStatus": {"image": {"imageRef": ""}}}]);
        let status = json!([{"name": "c", "image": "i:1", "imageID": "", "ready": true, "restartCount": 0, "volumeMounts": mounts}]);
        pod.set(&["status", "containerStatuses"], status);
    });
    refused(&errors, &[]);
    assert_eq!(changed.at(&["status", "nodeAllocatableResourceClaimStatuses"]), None);
    let mount = &changed.at(&["status", "containerStatuses"]).unwrap()[0]["volumeMounts"][0];
    assert_eq!(*mount, json!({"name": "v", "mountPath": "/v"}));
}

/// What is wrong with a projected volume of these sources, as if their gates were on.
fn source_errors(sources: Value) -> Vec<String> {
    let kind = Kind::of("v1", "Pod");
    let mut pod = kind.created(pod(json!({}), json!({})));
    let volume = json!([{"name": "v", "projected": {"sources": sources, "defaultMode": 420}}]);
    pod.set(&["spec", "volumes"], volume);
    kind.errors_of(&pod)
}

#[test]
fn bundles_are_projected_by_name_or_by_signer() {
    let bundle = |bundle: Value| source_errors(json!([{"clusterTrustBundle": bundle}]));
    let at = |rest: &str| format!("spec.volumes[0].projected.sources[0].clusterTrustBundle{rest}");
    for name in ["plain", "example.com:signer:name"] {
        refused(&bundle(json!({"name": name, "path": "a"})), &[]);
    }
    let signer = "example.com/signer";
    refused(&bundle(json!({"signerName": signer, "labelSelector": {}, "path": "a"})), &[]);
    let cases = [
        (json!({"path": "a"}), ": Required value: either name or signerName must be specified"),
        (json!({"name": "a"}), ".path: Required value"),
        (json!({"name": "a", "labelSelector": {}, "path": "a"}), ".labelSelector: Invalid value: "),
        (
            json!({"name": "example.com:A", "path": "a"}),
            ".name: Invalid value: \"example.com:A\": not a valid clustertrustbundlename: a lowercase RFC 1123 subdomain",
        ),
        (
            json!({"name": "a/b:c", "path": "a"}),
            ".name: Invalid value: \"a/b:c\": not a valid clustertrustbundlename: \
             ClusterTrustBundle for signerName a/b must be named with prefix a:b:",
        ),
        (
            json!({"signerName": "a", "path": "a"}),
            ".signerName: Invalid value: \"a\": must be a fully qualified",
        ),
        (
            json!({"name": "a", "path": "../a"}),
            ".path: Invalid value: \"../a\": must not contain '..'",
        ),
    ];
    for (value, rest) in cases {
        refused(&bundle(value), &[&at(rest)]);
    }
    let twice = json!([{"clusterTrustBundle": {"name": "a", "path": "x"}}, {"clusterTrustBundle": {"name": "b", "path": "x"}}]);
    refused(
        &source_errors(twice),
        &["spec.volumes[0].projected: Invalid value: \"x\": conflicting duplicate paths"],
    );
}

#[test]
fn certificates_are_projected_with_their_key_and_their_time() {
    let valid = json!({"signerName": "example.com/s", "keyType": "ED25519", "credentialBundlePath": "c.pem",
        "maxExpirationSeconds": 3600, "userAnnotations": {"Example.com/a": "b"}});
    let changed = |field: &str, value: Value| {
        let mut certificate = valid.clone();
        certificate[field] = value;
        source_errors(json!([{"podCertificate": certificate}]))
    };
    let at = |rest: &str| format!("spec.volumes[0].projected.sources[0].podCertificate{rest}");
    refused(&changed("keyPath", "k.pem".into()), &[]);
    refused(&changed("maxExpirationSeconds", 7_862_400.into()), &[]);
    let cases = [
        ("signerName", json!(""), ".signerName: Required value"),
        (
            "keyType",
            json!("DSA"),
            ".keyType: Unsupported value: \"DSA\": supported values: \"RSA3072\", \"RSA4096\", \"ECDSAP256\"",
        ),
        (
            "maxExpirationSeconds",
            json!(7_862_401),
            ".maxExpirationSeconds: Invalid value: 7862401: if provided, maxExpirationSeconds must be <= 7862400",
        ),
        (
            "maxExpirationSeconds",
            json!(3599),
            ".maxExpirationSeconds: Invalid value: 3599: if provided, maxExpirationSeconds must be >= 3600",
        ),
        (
            "userAnnotations",
            json!({"A": "b"}),
            ".userAnnotations: Invalid value: \"a\": must be a domain-prefixed key",
        ),
        ("credentialBundlePath", json!(""), ": Required value: specify at least one of"),
    ];
    for (field, value, rest) in cases {
        refused(&changed(field, value), &[&at(rest)]);
    }
    let mut of_kubernetes = valid.clone();
    of_kubernetes["signerName"] = "kubernetes.io/s".into();
    of_kubernetes["maxExpirationSeconds"] = 86_401.into();
    refused(
        &source_errors(json!([{"podCertificate": of_kubernetes}])),
        &[&at(
            ".maxExpirationSeconds: Invalid value: 86401: if provided, maxExpirationSeconds must be <= 86400",
        )],
    );
    refused(
        &changed("keyPath", "c.pem".into()),
        &["spec.volumes[0].projected: Invalid value: \"c.pem\": conflicting duplicate paths"],
    );
    let mut both = json!([{"podCertificate": valid}]);
    both[0]["secret"] = json!({"name": "s"});
    refused(
        &source_errors(both),
        &[
            "spec.volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
        ],
    );
}

fn amounts(cpu: &str, memory: &str) -> Value {
    json!({"requests": {"cpu": cpu, "memory": memory}})
}

fn resize_errors(old: Value, change: impl FnOnce(&mut Object)) -> Vec<String> {
    let kind = Kind::of("v1", "Pod");
    let old = kind.created(old);
    kind.updated(&old, "resize", change).1
}

#[test]
fn a_resize_changes_cpu_and_memory_and_nothing_else() {
    let first = |pod: &mut Object, field: &str, value: Value| {
        pod.map_at_mut(&["spec"])["containers"][0][field] = value;
    };
    let old = pod(json!({"resources": amounts("1", "1Mi")}), json!({}));
    refused(&resize_errors(old.clone(), |pod| first(pod, "resources", amounts("2", "2Mi"))), &[]);
    let policy = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
    refused(
        &resize_errors(old, |pod| first(pod, "resizePolicy", policy)),
        &["spec: Forbidden: only cpu and memory resources are mutable"],
    );
    // As in the original what has claims cannot be resized.
    let mut resources = amounts("1", "1Mi");
    resources["claims"] = json!([{"name": "a"}]);
    let claims = json!({"resourceClaims": [{"name": "a", "resourceClaimName": "x"}]});
    let mut more = resources.clone();
    more["requests"]["cpu"] = "2".into();
    refused(
        &resize_errors(pod(json!({"resources": resources}), claims), |pod| {
            first(pod, "resources", more)
        }),
        &["spec: Forbidden: only cpu and memory resources are mutable"],
    );
}

#[test]
fn a_resize_of_init_containers_tells_which() {
    let with = |policy: Value| {
        let init = json!([{"name": "i", "image": "i:1", "resources": amounts("1", "1Mi"), "resizePolicy": policy}]);
        pod(json!({"resources": amounts("1", "1Mi")}), json!({"initContainers": init}))
    };
    let init = |pod: &mut Object, field: &str, value: Value| {
        pod.map_at_mut(&["spec"])["initContainers"][0][field] = value;
    };
    let keeps = json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]);
    refused(
        &resize_errors(with(keeps.clone()), |pod| init(pod, "resources", amounts("2", "1Mi"))),
        &[],
    );
    let storage = json!({"requests": {"cpu": "1", "memory": "1Mi", "ephemeral-storage": "1Gi"}});
    refused(
        &resize_errors(with(keeps), |pod| init(pod, "resources", storage)),
        &[
            "spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable",
        ],
    );
    // Such a policy is no longer taken from anybody, but there may be some.
    let kind = Kind::of("v1", "Pod");
    let restarts = json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]);
    let old = kind.created(with(restarts));
    let (_, errors) =
        kind.updated(&old, "resize", |pod| init(pod, "resources", amounts("2", "1Mi")));
    let last = errors.last().expect("an error");
    assert_eq!(
        last,
        "spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer \
         cannot be resized"
    );
}

#[test]
fn a_resize_of_the_whole_pod_keeps_what_it_has() {
    let old = || pod(json!({}), json!({"resources": amounts("1", "1Mi")}));
    let set = |value: Value| move |pod: &mut Object| pod.set(&["spec", "resources"], value);
    refused(&resize_errors(old(), set(amounts("2", "2Mi"))), &[]);
    let errors = resize_errors(old(), |pod| drop(pod.remove(&["spec", "resources"])));
    let starts = |start: &str| errors.iter().any(|error| error.starts_with(start));
    assert!(
        starts("spec.resources: Forbidden: pod-level resources cannot be removed"),
        "{errors:?}"
    );
    let kind = Kind::of("v1", "Pod");
    let mut stored = kind.created(old());
    stored.set(
        &["status", "nodeAllocatableResourceClaimStatuses"],
        json!([{"resourceClaimName": "x"}]),
    );
    let (_, errors) = kind.updated(&stored, "resize", set(amounts("2", "2Mi")));
    refused(
        &errors,
        &["spec: Forbidden: pods with node allocatable resource claims cannot be resized"],
    );
}

fn label(object: &mut Object) {
    object.set(&["metadata", "labels", "changed"], "yes");
}

#[test]
fn what_a_pod_was_stored_with_stays() {
    let kind = Kind::of("v1", "Pod");
    let spread = |value: &str| {
        json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": [value]}]}}]})
    };
    let affinity = |value: &str| {
        let selector =
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": [value]}]});
        let term = json!({"topologyKey": "zone", "labelSelector": selector});
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}})
    };
    let nodes = |value: &str| {
        let term = json!({"matchExpressions": [{"key": "a", "operator": "In", "values": [value]}]});
        let terms = json!({"nodeSelectorTerms": [term]});
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
    };
    let sysctls = json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]}});
    for spec in [spread("-bad-"), affinity("-bad-"), nodes("-bad-"), sysctls] {
        let faulty = pod(json!({}), spec);
        assert_ne!(kind.create_errors(faulty.clone()), Vec::<String>::new(), "{faulty}");
        let (_, errors) = kind.updated(&kind.created(faulty), "", label);
        refused(&errors, &[]);
    }
    // Another fault is none that it had.
    let old = kind.created(pod(json!({}), spread("-bad-")));
    let (_, errors) = kind.updated(&old, "", |pod| pod.set(&["spec", "subdomain"], "-bad-"));
    assert!(errors.iter().any(|error| error.starts_with("spec.subdomain")), "{errors:?}");
    let fine = kind.created(pod(json!({}), spread("good")));
    let (_, errors) = kind.updated(&fine, "", |pod| {
        pod.map_at_mut(&["spec"])["topologySpreadConstraints"] =
            spread("-bad-")["topologySpreadConstraints"].clone();
    });
    let new =
        "spec.topologySpreadConstraints[0].labelSelector.matchExpressions[0].values[0]: Invalid";
    assert!(errors.iter().any(|error| error.starts_with(new)), "{errors:?}");
}

#[test]
fn templates_keep_what_they_were_stored_with() {
    let container = json!({"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1", "hugepages-2Mi": "3Mi"},
        "requests": {"cpu": "1", "hugepages-2Mi": "3Mi"}}});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}});
    let workload = |kind: &str| {
        json!({"metadata": {"name": "w", "namespace": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
            "serviceName": "s", "template": template, "replicas": if kind == "DaemonSet" { Value::Null } else { json!(1) }}})
    };
    for name in ["Deployment", "ReplicaSet", "DaemonSet", "StatefulSet"] {
        let kind = Kind::of("apps/v1", name);
        let mut object = workload(name);
        if name != "StatefulSet" {
            object["spec"].as_object_mut().unwrap().remove("serviceName");
        }
        let errors = kind.create_errors(object.clone());
        assert!(errors.iter().all(|error| error.contains("integer multiple")), "{errors:?}");
        assert!(!errors.is_empty(), "{name}");
        let old = kind.created(object);
        refused(&kind.updated(&old, "", label).1, &[]);
        let (_, errors) = kind.updated(&old, "", |object| {
            object.map_at_mut(&["spec", "template", "spec"])["containers"][0]["image"] = "".into();
        });
        refused(&errors, &["spec.template.spec.containers[0].image: Required value"]);
    }
}

#[test]
fn networks_of_policies_stay_as_they_were_written() {
    let kind = Kind::of("networking.k8s.io/v1", "NetworkPolicy");
    let policy = |cidr: &str, except: &str| {
        let block = json!({"cidr": cidr, "except": [except]});
        json!({"metadata": {"name": "n", "namespace": "d"},
            "spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": block}]}]}})
    };
    assert_eq!(kind.create_errors(policy("10.0.0.0/8", "10.1.0.0/16")), Vec::<String>::new());
    let old = policy("010.0.0.0/8", "10.01.0.0/16");
    assert_eq!(kind.create_errors(old.clone()).len(), 2);
    let old = kind.created(old);
    refused(&kind.updated(&old, "", label).1, &[]);
    let (_, errors) = kind.updated(&old, "", |policy| {
        policy.map_at_mut(&["spec"])["ingress"][0]["from"][0]["ipBlock"]["cidr"] =
            "010.0.0.0/7".into();
    });
    refused(&errors, &["spec.ingress[0].from[0].ipBlock.cidr: Invalid value: \"010.0.0.0/7\""]);
}

#[test]
fn an_ingress_keeps_what_it_was_stored_with() {
    let kind = Kind::of("networking.k8s.io/v1", "Ingress");
    let service = |name: &str| json!({"service": {"name": name, "port": {"number": 80}}});
    let ingress = |class: &str, host: &str, backend: Value, secret: &str| {
        let path = json!({"path": "/", "pathType": "Prefix", "backend": backend});
        json!({"metadata": {"name": "i", "namespace": "d", "annotations": {"kubernetes.io/ingress.class": class}},
            "spec": {"ingressClassName": "a", "tls": [{"hosts": ["x.org"], "secretName": secret}],
                "rules": [{"host": host, "http": {"paths": [path]}}]}})
    };
    let fine = ingress("a", "x.org", service("s"), "t");
    assert_eq!(kind.create_errors(fine.clone()), Vec::<String>::new());
    // Whether the old annotation and the field say the same is only asked at first.
    let other = ingress("b", "x.org", service("s"), "t");
    refused(
        &kind.create_errors(other.clone()),
        &["annotations.kubernetes.io/ingress.class: Invalid value: \"b\""],
    );
    refused(&kind.updated(&kind.created(other), "", label).1, &[]);
    for (faulty, at) in [
        (ingress("a", "x.org", service("s"), "Bad_Secret"), "spec.tls[0].secretName: "),
        (ingress("a", "*.x.org", json!({}), "t"), "spec.rules[0].http.paths[0].backend: "),
    ] {
        refused(&kind.create_errors(faulty.clone()), &[at]);
        refused(&kind.updated(&kind.created(faulty), "", label).1, &[]);
    }
    let (_, errors) = kind.updated(&kind.created(fine), "", |ingress| {
        ingress.map_at_mut(&["spec"])["tls"][0]["secretName"] = "Bad_Secret".into();
    });
    refused(&errors, &["spec.tls[0].secretName: "]);
}

#[test]
fn selectors_keep_values_that_are_none_of_labels() {
    let selector =
        json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["-bad-"]}]});
    let client = json!({"url": "https://x.org"});
    let hook = json!({"name": "a.b.c", "clientConfig": client, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "namespaceSelector": selector});
    for (version, kind, object) in [
        (
            "storage.k8s.io/v1",
            "CSIStorageCapacity",
            json!({"metadata": {"name": "c", "namespace": "d"}, "storageClassName": "s", "nodeTopology": selector}),
        ),
        (
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            json!({"metadata": {"name": "c"}, "webhooks": [hook]}),
        ),
    ] {
        let kind = Kind::of(version, kind);
        assert_eq!(kind.create_errors(object.clone()).len(), 1, "{object}");
        refused(&kind.updated(&kind.created(object), "", label).1, &[]);
    }
    // The original reads the selector of an aggregation, too, and that it cannot.
    let kind = Kind::of("rbac.authorization.k8s.io/v1", "ClusterRole");
    let role = json!({"metadata": {"name": "r"}, "rules": [], "aggregationRule": {"clusterRoleSelectors": [selector]}});
    assert_eq!(kind.create_errors(role.clone()).len(), 2);
    let why =
        "aggregationRule.clusterRoleSelectors[0]: Invalid value: null: invalid label selector.";
    refused(&kind.updated(&kind.created(role), "", label).1, &[why]);
}

#[test]
fn groups_of_pods_are_looked_at_where_they_changed() {
    let kind = Kind::gated("GenericWorkload=true", "scheduling.k8s.io/v1alpha2", "PodGroup");
    let old = kind.object(json!({"metadata": {"name": "g", "namespace": "d"},
        "spec": {"schedulingPolicy": {"basic": {}}, "resourceClaims": [{"name": "a", "resourceClaimName": "x"}]}}));
    let claims = |count: usize| Value::from(vec![json!({"name": "a"}); count]);
    let set = |claims: Value| {
        move |group: &mut Object| group.set(&["status", "resourceClaimStatuses"], claims)
    };
    refused(&kind.updated(&old, "status", set(claims(1))).1, &[]);
    let at = "status.resourceClaimStatuses";
    refused(
        &kind.updated(&old, "status", set(claims(2))).1,
        &[&format!("{at}[1]: Duplicate value")],
    );
    refused(&kind.updated(&old, "status", set(claims(5))).1, &[&format!("{at}: Too many: 5")]);
    let mut stored = old.clone();
    set(claims(2))(&mut stored);
    refused(&kind.updated(&stored, "status", |_| {}).1, &[]);
    // What may not change is told of, and not what is wrong with it besides.
    let (_, errors) =
        kind.updated(&old, "", |group| group.set(&["spec", "schedulingPolicy"], json!({})));
    refused(&errors, &["spec.schedulingPolicy: Invalid value"]);
}

#[test]
fn where_a_volume_is_changes_with_a_gate_only() {
    let at = |zone: &str| {
        let key = json!({"key": "example.com/zone", "operator": "In", "values": [zone]});
        json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [key]}]}})
    };
    let volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
        "csi": {"driver": "d.example.com", "volumeHandle": "h"}, "nodeAffinity": at("a")}});
    let moved = |gates: &str| {
        let kind = Kind::gated(gates, "v1", "PersistentVolume");
        let old = kind.created(volume.clone());
        kind.updated(&old, "", |volume| volume.set(&["spec", "nodeAffinity"], at("b"))).1
    };
    refused(&moved(""), &["nodeAffinity: Invalid value"]);
    refused(&moved("MutablePVNodeAffinity=true"), &[]);
}

#[test]
fn nodes_are_looked_at_in_their_annotations_and_their_swap() {
    let kind = Kind::of("v1", "Node");
    let errors = |annotation: &str, text: &str| {
        kind.create_errors(json!({"metadata": {"name": "n", "annotations": {annotation: text}}}))
    };
    let taints = "scheduler.alpha.kubernetes.io/taints";
    refused(&errors(taints, "[{\"key\": \"a\", \"effect\": \"NoSchedule\"}]"), &[]);
    refused(
        &errors(taints, "[{\"key\": \"a\"}]"),
        &[&format!("metadata.annotations.{taints}[0].effect: Required value")],
    );
    let invalid = format!("metadata.annotations: Invalid value: {taints:?}: ");
    refused(&errors(taints, "x"), &[&invalid]);
    let avoided = "scheduler.alpha.kubernetes.io/preferAvoidPods";
    let controlled = |controller: bool| {
        let owner = json!({"podController": {"controller": controller}});
        json!({"preferAvoidPods": [{"podSignature": owner}]}).to_string()
    };
    refused(&errors(avoided, &controlled(true)), &[]);
    let at = format!("metadata.annotations.{avoided}[0].PodSignature");
    refused(
        &errors(avoided, &controlled(false)),
        &[&format!(
            "{at}.PodController.Controller: Invalid value: false: must point to a controller"
        )],
    );
    refused(&errors(avoided, "{\"preferAvoidPods\": [{}]}"), &[&format!("{at}: Required value")]);

    let swapping = |bytes: i64| {
        let status = json!({"nodeInfo": {"swap": {"capacity": bytes}}});
        kind.create_errors(json!({"metadata": {"name": "n"}, "status": status}))
    };
    refused(&swapping(1), &[]);
    refused(
        &swapping(0),
        &["metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero"],
    );
    // Each network that is another one is told of.
    let node =
        json!({"metadata": {"name": "n"}, "spec": {"podCIDRs": ["10.1.0.0/24", "fd00::/64"]}});
    let old = kind.created(node);
    let (_, errors) = kind.updated(&old, "", |node| {
        node.set(&["spec", "podCIDR"], "10.2.0.0/24");
        node.set(&["spec", "podCIDRs"], json!(["10.2.0.0/24", "fd01::/64"]));
    });
    refused(&errors, &["spec.podCIDRs: Forbidden: node updates may not change podCIDR"; 2]);
}

#[test]
fn addresses_in_unusual_forms_are_warned_about() {
    const IP: &str = "FD00::1";
    const NETWORK: &str = "FD00::/64";
    let balancers = json!({"loadBalancer": {"ingress": [{"ip": IP, "ipMode": "VIP"}]}});
    let service = json!({"metadata": {"name": "s", "namespace": "d"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}});
    let block = json!([{"ipBlock": {"cidr": NETWORK, "except": ["FD00::/96"]}}]);
    let policy = json!({"metadata": {"name": "p", "namespace": "d"},
        "spec": {"podSelector": {}, "ingress": [{"from": block}], "egress": [{"to": block}]}});
    let endpoints = json!({"metadata": {"name": "e", "namespace": "d"},
        "subsets": [{"addresses": [{"ip": IP}], "notReadyAddresses": [{"ip": "fd00::2"}], "ports": [{"port": 80}]}]});
    let created = [
        (
            "v1",
            "Node",
            json!({"metadata": {"name": "n"}, "spec": {"podCIDRs": [NETWORK]}}),
            vec!["spec.podCIDRs[0]"],
        ),
        ("v1", "Endpoints", endpoints, vec!["subsets[0].addresses[0].ip"]),
        (
            "networking.k8s.io/v1",
            "NetworkPolicy",
            policy,
            vec![
                "spec.ingress[0].from[0].ipBlock.cidr",
                "spec.ingress[0].from[0].ipBlock.except[0]",
                "spec.egress[0].to[0].ipBlock.cidr",
                "spec.egress[0].to[0].ipBlock.except[0]",
            ],
        ),
    ];
    let paths = |warnings: Vec<String>| -> Vec<String> {
        warnings.iter().filter_map(|text| Some(text.split_once(": IPv6 ")?.0.to_owned())).collect()
    };
    for (version, name, value, expected) in created {
        let kind = Kind::of(version, name);
        let object = kind.created(value);
        assert_eq!(paths(kind.warnings_of("", &object, None)), expected, "{name}");
        assert_eq!(paths(kind.warnings_of("", &object, Some(&object))), expected, "{name}");
    }
    let pod = pod(json!({}), json!({}));
    let pod_status =
        json!({"podIPs": [{"ip": IP}], "hostIPs": [{"ip": IP}], "podIP": IP, "hostIP": IP});
    for (name, value, status, expected) in [
        ("Service", service, balancers, vec!["status.loadBalancer.ingress[0]"]),
        ("Pod", pod, pod_status, vec!["status.podIPs[0].ip", "status.hostIPs[0].ip"]),
    ] {
        let kind = Kind::of("v1", name);
        let mut old = kind.created(value);
        for (field, value) in status.as_object().unwrap() {
            old.set(&["status", field], value.clone());
        }
        // What is stored is told of, and not refused.
        assert_eq!(paths(kind.warnings_of("status", &old, Some(&old))), expected, "{name}");
    }
}
