//! The spec of a pod, part by part in the original's order.

use super::{affinity, containers, resources, security, spread, tolerations, volumes, windows};
use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};
use std::collections::BTreeSet;

/// Whose spec it is.
#[derive(Debug)]
pub(crate) enum Owner<'a> {
    /// A pod's own.
    Pod {
        /// Its name.
        name: &'a str,
        /// It mirrors a pod that the kubelet reads from a file.
        is_static: bool,
    },
    /// A pod template's.
    Template,
}

impl Owner<'_> {
    pub(super) fn is_pod(&self) -> bool {
        matches!(self, Self::Pod { .. })
    }
}

/// What checks of single parts need to know of the whole spec.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) grace: Option<i64>,
    /// `None` for no `os` at all.
    pub(super) os: Option<&'a str>,
    pub(super) restart_policy: &'a str,
    pub(super) host_users: bool,
    pub(super) volumes: volumes::Volumes<'a>,
    pub(super) claims: BTreeSet<&'a str>,
}

/// Checks the spec of a pod or of a template.
pub(crate) fn pod_spec(spec: &At<'_>, owner: &Owner<'_>, errors: &mut Errors) {
    let grace = spec.get("terminationGracePeriodSeconds");
    if !grace.is_set() {
        errors.push(grace.required(""));
    }
    let os = spec.get("os");
    let scene = Scene {
        grace: grace.int(),
        os: os.is_set().then(|| os.get("name").str()),
        restart_policy: spec.get("restartPolicy").str(),
        host_users: spec.get("hostUsers").value().as_bool().unwrap_or(true),
        volumes: volumes::volumes(&spec.get("volumes"), owner, errors),
        claims: check::texts(&spec.get("resourceClaims"), "name").into_iter().collect(),
    };
    resources::claims(&spec.get("resourceClaims"), owner, errors);
    containers::containers(spec, &scene, errors);
    containers::init_containers(spec, &scene, errors);
    containers::ephemeral_containers(spec, &scene, errors);
    resources::pod_level(spec, &scene, errors);
    host_ports(spec, owner, errors);
    check::one_of(&spec.get("restartPolicy"), &["Always", "OnFailure", "Never"], errors);
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    check::one_of(&spec.get("dnsPolicy"), &policies, errors);
    check::labels(&spec.get("nodeSelector"), errors);
    security::pod(spec, errors);
    affinity::affinity(&spec.get("affinity"), errors);
    dns_config(spec, errors);
    for gate in spec.get("readinessGates").items() {
        check::qualified_name(&gate.get("conditionType"), errors);
    }
    scheduling_gates(&spec.get("schedulingGates"), errors);
    spread::constraints(&spec.get("topologySpreadConstraints"), errors);
    windows::host_process(spec, errors);
    host_users(spec, &scene, errors);
    hostname_override(spec, errors);
    scalars(spec, errors);
    operating_system(spec, errors);
    files_of_variables(spec, errors);
}

/// The simple fields at the end.
fn scalars(spec: &At<'_>, errors: &mut Errors) {
    for field in ["serviceAccountName", "nodeName"] {
        check::optional_dns_subdomain(&spec.get(field), errors);
    }
    check::in_range(&spec.get("activeDeadlineSeconds"), 1, i64::from(i32::MAX), errors);
    for field in ["hostname", "subdomain"] {
        check::optional_dns_label(&spec.get(field), errors);
    }
    tolerations::tolerations(&spec.get("tolerations"), errors);
    tolerations::compared(&spec.get("tolerations"), errors);
    for alias in spec.get("hostAliases").items() {
        check::legacy_ip(&alias.get("ip"), &[], errors);
        for hostname in alias.get("hostnames").items() {
            check::dns_subdomain(&hostname, errors);
        }
    }
    check::optional_dns_subdomain(&spec.get("priorityClassName"), errors);
    let class = spec.get("runtimeClassName");
    if class.is_set() {
        check::dns_subdomain(&class, errors);
    }
    let preemption = spec.get("preemptionPolicy");
    if preemption.is_set() {
        check::one_of(&preemption, &["PreemptLowerPriority", "Never"], errors);
    }
    resources::overhead(&spec.get("overhead"), errors);
}

fn operating_system(spec: &At<'_>, errors: &mut Errors) {
    let os = spec.get("os");
    if !os.is_set() {
        return;
    }
    match os.get("name").str() {
        "linux" => windows::none_for_linux(spec, errors),
        "windows" => windows::none_of_linux(spec, errors),
        "" => errors.push(os.get("name").required("")),
        _ => errors.push(os.with(os.get("name").value()).not_supported(&["linux", "windows"])),
    }
}

/// With the node's own network a port inside is the port outside.
fn host_ports(spec: &At<'_>, owner: &Owner<'_>, errors: &mut Errors) {
    if !spec.get("hostNetwork").bool() {
        return;
    }
    for container in spec.get("containers").items() {
        for port in container.get("ports").items() {
            let (outside, inside) = (port.get("hostPort"), port.get("containerPort"));
            let number = outside.int().unwrap_or_default();
            if (owner.is_pod() || number != 0) && number != inside.int().unwrap_or_default() {
                errors.push(
                    outside.invalid_as(
                        number,
                        "must match `containerPort` when `hostNetwork` is true",
                    ),
                );
            }
        }
    }
}

fn scheduling_gates(gates: &At<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for gate in gates.items() {
        let name = gate.with(gate.get("name").value());
        check::qualified_name(&name, errors);
        if !seen.insert(name.str()) {
            errors.push(name.duplicate());
        }
    }
}

fn dns_config(spec: &At<'_>, errors: &mut Errors) {
    let config = spec.get("dnsConfig");
    let (servers, searches) = (config.get("nameservers"), config.get("searches"));
    if spec.get("dnsPolicy").str() == "None" {
        if !config.is_set() {
            return errors
                .push(config.required("must provide `dnsConfig` when `dnsPolicy` is None"));
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return errors.push(servers.required(detail));
        }
    }
    if servers.len() > 3 {
        errors.push(servers.invalid("must not have more than 3 nameservers"));
    }
    for server in servers.items() {
        check::legacy_ip(&server, &[], errors);
    }
    if searches.len() > 32 {
        errors.push(searches.invalid("must not have more than 32 search paths"));
    }
    let characters: usize = searches.items().map(|search| search.str().len() + 1).sum();
    if characters > 2048 + 1 {
        errors.push(searches.invalid(
            "must not have more than 2048 characters (including spaces) in the search list",
        ));
    }
    for search in searches.items().filter(|search| search.str() != ".") {
        let name = search.str().strip_suffix('.').unwrap_or(search.str());
        let problems = names::is_dns1123_subdomain_with_underscore(name).into_iter();
        errors.extend(problems.map(|message| search.invalid_as(name, message)));
    }
    for option in config.get("options").items() {
        if option.get("name").str().is_empty() {
            errors.push(option.required("must not be empty"));
        }
    }
}

/// A user namespace cannot be mixed with other namespaces of the host.
fn host_users(spec: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    const DETAIL: &str = "when `hostUsers` is false";
    if scene.host_users {
        return;
    }
    for (field, printed) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if spec.get(field).bool() {
            errors.push(spec.get(printed).forbidden(DETAIL));
        }
    }
    for container in containers::all(spec) {
        let devices = container.get("volumeDevices");
        if !devices.is_empty() {
            errors.push(devices.forbidden(DETAIL));
        }
    }
}

fn hostname_override(spec: &At<'_>, errors: &mut Errors) {
    let name = spec.get("hostnameOverride");
    if !name.is_set() {
        return;
    }
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.get(field).bool() {
            errors.push(name.forbidden(format!("may not be specified when {field} is true")));
        }
    }
    if name.str().len() > 64 {
        errors.push(name.too_long(64));
    }
    check::dns_subdomain(&name, errors);
}

/// Variables can be read from files of volumes that start empty, and of no others.
fn files_of_variables(spec: &At<'_>, errors: &mut Errors) {
    let volumes = spec.get("volumes");
    for container in containers::all(spec) {
        for variable in container.get("env").items() {
            let file = variable.get("valueFrom").get("fileKeyRef");
            if !file.is_set() {
                continue;
            }
            let name = file.get("volumeName");
            let volume =
                volumes.items().filter(|volume| volume.get("name").str() == name.str()).last();
            match volume {
                None => errors.push(name.not_found()),
                Some(volume) if !volume.get("emptyDir").is_set() => {
                    errors.push(name.invalid("referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    }
}
