//! What no pod may do that is not to be trusted with its node.

use super::{Container, Finding, Pod, finding, named, one_or, quoted, quoted_set, setters, which};
use kubeplane_core::field::go_quote;
use serde_json::Value;
use std::collections::BTreeSet;

const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];
/// The first five, then what 1.27, 1.29 and 1.32 added.
const SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Whether a profile is set and is none of those that confine. Notes which.
pub(super) fn bad_profile(profile: &Value, bad: &mut BTreeSet<String>) -> bool {
    let kind = text(profile, "type");
    let is_bad = profile.is_object() && !matches!(kind, "RuntimeDefault" | "Localhost");
    if is_bad {
        bad.insert(kind.to_owned());
    }
    is_bad
}

pub(super) fn app_armor(pod: Pod<'_>) -> Option<Finding> {
    let mut bad = BTreeSet::new();
    let own = bad_profile(&pod.context()["appArmorProfile"], &mut bad);
    let containers = which(pod, |one| bad_profile(&one.context()["appArmorProfile"], &mut bad));
    let mut setters = setters(own, &containers);
    let annotations: BTreeSet<String> = pod
        .annotations()
        .filter(|(key, value)| {
            let fine =
                value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APP_ARMOR) && !fine
        })
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    if !annotations.is_empty() {
        setters.push(one_or(annotations.len(), "annotation", "annotations").to_owned());
    }
    if setters.is_empty() {
        return None;
    }
    let values = bad.iter().chain(&annotations).map(String::as_str);
    let count = bad.len() + annotations.len();
    finding(
        one_or(count, "forbidden AppArmor profile", "forbidden AppArmor profiles"),
        format!(
            "{} must not set AppArmor profile type to {}",
            setters.join(" and "),
            quoted(values)
        ),
    )
}

pub(super) fn added<'a>(container: Container<'a>) -> impl Iterator<Item = &'a str> {
    let list = container.context()["capabilities"]["add"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str)
}

pub(super) fn capabilities(pod: Pod<'_>) -> Option<Finding> {
    let mut bad = BTreeSet::new();
    let containers = which(pod, |one| {
        let of: Vec<_> = added(one).filter(|name| !CAPABILITIES.contains(name)).collect();
        bad.extend(of.iter().map(|name| (*name).to_owned()));
        !of.is_empty()
    });
    if containers.is_empty() {
        return None;
    }
    let (containers, bad) = (named(&containers), quoted_set(&bad));
    let detail = format!("{containers} must not include {bad} in securityContext.capabilities.add");
    finding("non-default capabilities", detail)
}

pub(super) fn host_namespaces(pod: Pod<'_>) -> Option<Finding> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter();
    let shared: Vec<_> =
        shared.filter(|key| pod.spec[key] == true).map(|key| format!("{key}=true")).collect();
    if shared.is_empty() { None } else { finding("host namespaces", shared.join(", ")) }
}

pub(super) fn host_path(pod: Pod<'_>) -> Option<Finding> {
    let volumes = pod.volumes().filter(|volume| !volume["hostPath"].is_null());
    let volumes: Vec<_> = volumes.map(|volume| text(volume, "name")).collect();
    if volumes.is_empty() {
        return None;
    }
    let word = one_or(volumes.len(), "volume", "volumes");
    finding("hostPath volumes", format!("{word} {}", quoted(volumes)))
}

pub(super) fn host_ports(pod: Pod<'_>) -> Option<Finding> {
    let mut bad = BTreeSet::new();
    let containers = which(pod, |one| {
        let ports = one.0["ports"].as_array().into_iter().flatten();
        let ports = ports.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0);
        let before: Vec<String> = ports.map(|port| port.to_string()).collect();
        let any = !before.is_empty();
        bad.extend(before);
        any
    });
    if containers.is_empty() {
        return None;
    }
    let uses = one_or(containers.len(), "uses", "use");
    let ports = one_or(bad.len(), "hostPort", "hostPorts");
    let bad: Vec<_> = bad.into_iter().collect();
    finding("hostPort", format!("{} {uses} {ports} {}", named(&containers), bad.join(", ")))
}

pub(super) fn probe_hosts(pod: Pod<'_>) -> Option<Finding> {
    let mut bad = BTreeSet::new();
    let containers = which(pod, |Container(one)| {
        let hooks = [&one["lifecycle"]["postStart"], &one["lifecycle"]["preStop"]];
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &one[probe]);
        let actions = probes.into_iter().chain(hooks);
        let hosts = actions
            .flat_map(|action| ["httpGet", "tcpSocket"].map(|kind| text(&action[kind], "host")));
        let hosts: Vec<_> = hosts.filter(|host| !host.is_empty()).map(str::to_owned).collect();
        let any = !hosts.is_empty();
        bad.extend(hosts);
        any
    });
    let containers: Vec<_> = containers.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    if containers.is_empty() {
        return None;
    }
    let uses = one_or(containers.len(), "uses", "use");
    let hosts = one_or(bad.len(), "probe or lifecycle host", "probe or lifecycle hosts");
    let detail = format!("{} {uses} {hosts} {}", named(&containers), quoted_set(&bad));
    finding("probe or lifecycle host", detail)
}

pub(super) fn privileged(pod: Pod<'_>) -> Option<Finding> {
    let containers = which(pod, |one| one.context()["privileged"] == true);
    if containers.is_empty() {
        return None;
    }
    let containers = named(&containers);
    finding("privileged", format!("{containers} must not set securityContext.privileged=true"))
}

pub(super) fn proc_mount(pod: Pod<'_>) -> Option<Finding> {
    let mut bad = BTreeSet::new();
    let containers = which(pod, |one| {
        let kind = one.context()["procMount"].as_str().filter(|kind| *kind != "Default");
        bad.extend(kind.map(str::to_owned));
        kind.is_some()
    });
    if containers.is_empty() {
        return None;
    }
    let (containers, bad) = (named(&containers), quoted_set(&bad));
    finding("procMount", format!("{containers} must not set securityContext.procMount to {bad}"))
}

pub(super) fn proc_mount_outside_user_namespaces(pod: Pod<'_>) -> Option<Finding> {
    if pod.is_in_user_namespace() { None } else { proc_mount(pod) }
}

pub(super) fn selinux(pod: Pod<'_>) -> Option<Finding> {
    selinux_of(pod, &["", "container_t", "container_init_t", "container_kvm_t"])
}

pub(super) fn selinux_31(pod: Pod<'_>) -> Option<Finding> {
    let types = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    selinux_of(pod, &types)
}

fn selinux_of(pod: Pod<'_>, types: &[&str]) -> Option<Finding> {
    let (mut bad, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut judge = |options: &Value| {
        let kind = text(options, "type");
        let known = types.contains(&kind);
        if !known {
            bad.insert(kind.to_owned());
        }
        let (sets_user, sets_role) =
            (!text(options, "user").is_empty(), !text(options, "role").is_empty());
        user |= sets_user;
        role |= sets_role;
        !known || sets_user || sets_role
    };
    let own = judge(&pod.context()["seLinuxOptions"]);
    let containers = which(pod, |one| judge(&one.context()["seLinuxOptions"]));
    let setters = setters(own, &containers);
    if setters.is_empty() {
        return None;
    }
    let types = one_or(bad.len(), "type", "types");
    let types = (!bad.is_empty()).then(|| format!("{types} {}", quoted_set(&bad)));
    let user = user.then(|| "user may not be set".to_owned());
    let role = role.then(|| "role may not be set".to_owned());
    let said: Vec<_> = [types, user, role].into_iter().flatten().collect();
    let (setters, said) = (setters.join(" and "), said.join("; "));
    finding(
        "seLinuxOptions",
        format!("{setters} set forbidden securityContext.seLinuxOptions: {said}"),
    )
}

pub(super) fn seccomp_annotations(pod: Pod<'_>) -> Option<Finding> {
    let names: Vec<_> =
        pod.containers().map(|one| format!("{SECCOMP_CONTAINER}{}", one.name())).collect();
    let bad: BTreeSet<String> = pod
        .annotations()
        .filter(|(key, value)| {
            let concerned = *key == SECCOMP || names.iter().any(|name| name == key);
            let fine = matches!(*value, "runtime/default" | "docker/default")
                || value.starts_with("localhost/");
            concerned && !fine
        })
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = one_or(bad.len(), "annotation", "annotations");
    let bad: Vec<_> = bad.into_iter().collect();
    finding("seccompProfile", format!("forbidden {word} {}", bad.join(", ")))
}

pub(super) fn seccomp(pod: Pod<'_>) -> Option<Finding> {
    let mut bad = BTreeSet::new();
    let own = bad_profile(&pod.context()["seccompProfile"], &mut bad);
    let containers = which(pod, |one| bad_profile(&one.context()["seccompProfile"], &mut bad));
    let setters = setters(own, &containers);
    if setters.is_empty() {
        return None;
    }
    let (setters, bad) = (setters.join(" and "), quoted_set(&bad));
    let detail = format!("{setters} must not set securityContext.seccompProfile.type to {bad}");
    finding("seccompProfile", detail)
}

pub(super) fn sysctls(pod: Pod<'_>) -> Option<Finding> {
    sysctls_of(pod, 5)
}

pub(super) fn sysctls_27(pod: Pod<'_>) -> Option<Finding> {
    sysctls_of(pod, 6)
}

pub(super) fn sysctls_29(pod: Pod<'_>) -> Option<Finding> {
    sysctls_of(pod, 10)
}

pub(super) fn sysctls_32(pod: Pod<'_>) -> Option<Finding> {
    sysctls_of(pod, SYSCTLS.len())
}

fn sysctls_of(pod: Pod<'_>, known: usize) -> Option<Finding> {
    let set = pod.context()["sysctls"].as_array().into_iter().flatten();
    let set = set.map(|sysctl| text(sysctl, "name"));
    let bad: Vec<_> = set.filter(|name| !SYSCTLS[..known].contains(name)).collect();
    if bad.is_empty() { None } else { finding("forbidden sysctls", bad.join(", ")) }
}

pub(super) fn host_process(pod: Pod<'_>) -> Option<Finding> {
    let set = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let setters = setters(set(pod.context()), &which(pod, |one| set(one.context())));
    if setters.is_empty() {
        return None;
    }
    let setters = setters.join(" and ");
    let detail = format!("{setters} must not set securityContext.windowsOptions.hostProcess=true");
    finding("hostProcess", detail)
}
