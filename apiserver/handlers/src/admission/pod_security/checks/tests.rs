//! The original's sample pods per rule, as changes of a pod that every level lets pass.

use super::super::{Level, LevelVersion, PolicyVersion};
use super::*;
use kubeplane_core::Object;
use serde_json::json;

/// A pod that is fine at the restricted level of every version.
fn fine() -> Value {
    let context = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let container = |name: &str| json!({"name": name, "image": "i", "securityContext": context});
    json!({"metadata": {"name": "p", "annotations": {}}, "spec": {
        "containers": [container("c")], "initContainers": [container("i")],
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
    }})
}

fn merge(target: &mut Value, change: &Value) {
    let Some(change) = change.as_object() else {
        *target = change.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let map = target.as_object_mut().unwrap();
    for (key, value) in change {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// `c` and `i` in a change are about the container and the init container, `cs` and `is` about their security
/// contexts, `p` about that of the pod; the rest is about the pod.
fn changed(change: &Value) -> Object {
    let mut pod = fine();
    let mut rest = change.clone();
    for (key, path) in [
        ("c", "/spec/containers/0"),
        ("i", "/spec/initContainers/0"),
        ("cs", "/spec/containers/0/securityContext"),
        ("is", "/spec/initContainers/0/securityContext"),
        ("p", "/spec/securityContext"),
    ] {
        if let Some(part) = rest.as_object_mut().unwrap().remove(key) {
            merge(pod.pointer_mut(path).unwrap(), &part);
        }
    }
    merge(&mut pod, &rest);
    Object::from_value(pod).unwrap()
}

fn found(level: Level, minor: u32, change: &Value) -> String {
    let version = PolicyVersion::Minor(minor);
    evaluate(LevelVersion { level, version }, Pod::whole(&changed(change))).to_string()
}

#[track_caller]
fn expect(level: Level, minor: u32, change: Value, expected: &str) {
    assert_eq!(found(level, minor, &change), expected, "{level} 1.{minor}: {change}");
}

#[track_caller]
fn baseline(change: Value, expected: &str) {
    expect(Level::Baseline, 36, change.clone(), expected);
    expect(Level::Privileged, 36, change, "");
}

#[track_caller]
fn restricted(change: Value, expected: &str) {
    expect(Level::Restricted, 36, change.clone(), expected);
    expect(Level::Baseline, 36, change, "");
}

#[test]
fn a_hardened_pod_passes_every_level_of_every_version() {
    for minor in 0..=40 {
        for level in [Level::Privileged, Level::Baseline, Level::Restricted] {
            expect(level, minor, json!({}), "");
        }
    }
}

#[test]
fn baseline_keeps_pods_off_the_node() {
    baseline(
        json!({"spec": {"hostNetwork": true, "hostPID": true}}),
        "host namespaces (hostNetwork=true, hostPID=true)",
    );
    baseline(json!({"spec": {"hostIPC": true}}), "host namespaces (hostIPC=true)");
    baseline(
        json!({"spec": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "emptyDir": {}}]}}),
        "hostPath volumes (volume \"a\")",
    );
    baseline(
        json!({"c": {"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 9, "hostPort": 9}]}}),
        "hostPort (container \"c\" uses hostPorts 80, 9)",
    );
    baseline(json!({"c": {"ports": [{"containerPort": 80, "hostPort": 0}]}}), "");
    baseline(
        json!({"cs": {"privileged": true}, "is": {"privileged": true}}),
        "privileged (containers \"i\", \"c\" must not set securityContext.privileged=true)",
    );
    baseline(
        json!({"p": {"windowsOptions": {"hostProcess": true}}, "cs": {"windowsOptions": {"hostProcess": true}}}),
        "hostProcess (pod and container \"c\" must not set securityContext.windowsOptions.hostProcess=true)",
    );
    baseline(
        json!({"p": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}, {"name": "net.ipv4.tcp_rmem", "value": "1"}]}}),
        "forbidden sysctls (kernel.msgmax)",
    );
}

#[test]
fn baseline_keeps_what_confines_containers() {
    baseline(
        json!({"cs": {"capabilities": {"add": ["NET_RAW", "CHOWN"]}}}),
        "non-default capabilities (container \"c\" must not include \"NET_RAW\" in securityContext.capabilities.add)",
    );
    baseline(
        json!({"cs": {"procMount": "Unmasked"}}),
        "procMount (container \"c\" must not set securityContext.procMount to \"Unmasked\")",
    );
    baseline(
        json!({"p": {"seLinuxOptions": {"type": "spc_t", "user": "u"}}, "cs": {"seLinuxOptions": {"role": "r"}}}),
        "seLinuxOptions (pod and container \"c\" set forbidden securityContext.seLinuxOptions: type \"spc_t\"; user may not be set; role may not be set)",
    );
    baseline(
        json!({"p": {"seccompProfile": {"type": "Unconfined"}}}),
        "seccompProfile (pod must not set securityContext.seccompProfile.type to \"Unconfined\")",
    );
    baseline(
        json!({"cs": {"appArmorProfile": {"type": "Unconfined"}}}),
        "forbidden AppArmor profile (container \"c\" must not set AppArmor profile type to \"Unconfined\")",
    );
    baseline(
        json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}}}),
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to \"container.apparmor.security.beta.kubernetes.io/c=\"unconfined\"\")",
    );
    baseline(
        json!({"metadata": {"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "localhost/x"}}}),
        "",
    );
    baseline(
        json!({"c": {"livenessProbe": {"httpGet": {"host": "10.0.0.1", "port": 80}}}, "i": {"lifecycle": {"preStop": {"tcpSocket": {"host": "h", "port": 1}}}}}),
        "probe or lifecycle host (containers \"c\", \"i\" use probe or lifecycle hosts \"10.0.0.1\", \"h\")",
    );
}

#[test]
fn restricted_wants_pods_to_say_that_they_are_hardened() {
    restricted(
        json!({"cs": {"allowPrivilegeEscalation": null}}),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
    );
    restricted(
        json!({"cs": {"capabilities": {"drop": null, "add": ["CHOWN"]}}}),
        "unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]; container \"c\" must not include \"CHOWN\" in securityContext.capabilities.add)",
    );
    restricted(json!({"cs": {"capabilities": {"add": ["NET_BIND_SERVICE"]}}}), "");
    restricted(
        json!({"spec": {"volumes": [{"name": "a", "nfs": {}}, {"name": "b"}, {"name": "c", "secret": {}}]}}),
        "restricted volume types (volumes \"a\", \"b\" use restricted volume types \"nfs\", \"unknown\")",
    );
    restricted(
        json!({"p": {"runAsNonRoot": null}}),
        "runAsNonRoot != true (pod or containers \"i\", \"c\" must set securityContext.runAsNonRoot=true)",
    );
    restricted(
        json!({"p": {"runAsNonRoot": false}, "cs": {"runAsNonRoot": false}}),
        "runAsNonRoot != true (pod and container \"c\" must not set securityContext.runAsNonRoot=false)",
    );
    restricted(json!({"p": {"runAsUser": 0}}), "runAsUser=0 (pod must not set runAsUser=0)");
    restricted(
        json!({"p": {"seccompProfile": null}, "is": {"seccompProfile": {"type": "Localhost"}}}),
        "seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")",
    );
}

#[test]
fn what_restricted_says_more_strictly_is_said_once() {
    let both = json!({"spec": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}});
    expect(
        Level::Restricted,
        36,
        both,
        "restricted volume types (volume \"a\" uses restricted volume type \"hostPath\")",
    );
    let several = json!({"spec": {"hostNetwork": true}, "p": {"runAsUser": 0}});
    expect(
        Level::Restricted,
        36,
        several,
        "host namespaces (hostNetwork=true), runAsUser=0 (pod must not set runAsUser=0)",
    );
}

#[test]
fn rules_begin_and_end_with_versions() {
    let since = |level: Level, first: u32, change: Value| {
        assert_eq!(found(level, first - 1, &change), "", "{change}");
        assert_ne!(found(level, first, &change), "", "{change}");
    };
    let until = |level: Level, end: u32, change: Value| {
        assert_ne!(found(level, end - 1, &change), "", "{change}");
        assert_eq!(found(level, end, &change), "", "{change}");
    };
    let sysctl = |name: &str| json!({"p": {"sysctls": [{"name": name, "value": "1"}]}});
    until(Level::Baseline, 27, sysctl("net.ipv4.ip_local_reserved_ports"));
    until(Level::Baseline, 29, sysctl("net.ipv4.tcp_fin_timeout"));
    until(Level::Baseline, 32, sysctl("net.ipv4.tcp_wmem"));
    until(Level::Baseline, 31, json!({"p": {"seLinuxOptions": {"type": "container_engine_t"}}}));
    until(
        Level::Baseline,
        35,
        json!({"spec": {"hostUsers": false}, "cs": {"procMount": "Unmasked"}}),
    );
    until(
        Level::Baseline,
        19,
        json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}}),
    );
    since(Level::Baseline, 19, json!({"p": {"seccompProfile": {"type": "Unconfined"}}}));
    since(Level::Baseline, 34, json!({"c": {"startupProbe": {"tcpSocket": {"host": "h"}}}}));
    since(Level::Restricted, 8, json!({"cs": {"allowPrivilegeEscalation": null}}));
    since(Level::Restricted, 22, json!({"cs": {"capabilities": {"drop": null}}}));
    since(Level::Restricted, 23, json!({"cs": {"runAsUser": 0}}));
    since(Level::Restricted, 19, json!({"p": {"seccompProfile": null}}));
    until(Level::Restricted, 35, json!({"spec": {"hostUsers": false}, "p": {"runAsUser": 0}}));
    until(
        Level::Restricted,
        35,
        json!({"spec": {"hostUsers": false}, "p": {"runAsNonRoot": false}}),
    );
    let unmasked = json!({"spec": {"hostUsers": false}, "cs": {"procMount": "Unmasked"}});
    assert_ne!(found(Level::Restricted, 36, &unmasked), "");
    let windows = json!({"spec": {"os": {"name": "windows"}}, "p": {"seccompProfile": null},
        "cs": {"allowPrivilegeEscalation": null, "capabilities": null}});
    until(Level::Restricted, 25, windows);
}
