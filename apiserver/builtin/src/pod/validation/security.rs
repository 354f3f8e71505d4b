//! Security contexts of pods and containers.

use super::windows;
use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};
use std::collections::BTreeSet;

const SYSCTL: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
const IPC_SYSCTLS: &[&str] = &[
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.shm",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg",
];
const PATH_MAX: usize = 4095;

/// The security context of a pod.
pub(super) fn pod(spec: &At<'_>, errors: &mut Errors) {
    let context = spec.get("securityContext");
    group(&context.get("fsGroup"), errors);
    user(&context.get("runAsUser"), errors);
    group(&context.get("runAsGroup"), errors);
    for item in context.get("supplementalGroups").items() {
        group(&item, errors);
    }
    let shared = spec.get("shareProcessNamespace");
    if shared.bool() && spec.get("hostPID").bool() {
        let at = context.get("shareProcessNamespace").with(shared.value());
        errors.push(at.invalid("ShareProcessNamespace and HostPID cannot both be enabled"));
    }
    sysctls(&context.get("sysctls"), spec, errors);
    check::one_of_if_set(
        &context.get("fsGroupChangePolicy"),
        &["Always", "OnRootMismatch"],
        errors,
    );
    seccomp(&context.get("seccompProfile"), errors);
    windows::options(&context.get("windowsOptions"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
    check::one_of_if_set(&context.get("supplementalGroupsPolicy"), &["Merge", "Strict"], errors);
    // `MountOption` is for the gate `SELinuxMount`.
    let change = context.get("seLinuxChangePolicy");
    if change.is_set() && change.str() != "Recursive" {
        errors.push(change.not_supported(&["Recursive"]));
    }
}

/// The security context of a container.
pub(super) fn container(context: &At<'_>, host_users: bool, errors: &mut Errors) {
    user(&context.get("runAsUser"), errors);
    group(&context.get("runAsGroup"), errors);
    let mount = context.get("procMount");
    check::one_of_if_set(&mount, &["Default", "Unmasked"], errors);
    if host_users && mount.str() == "Unmasked" {
        errors.push(mount.invalid("`hostUsers` must be false to use `Unmasked`"));
    }
    seccomp(&context.get("seccompProfile"), errors);
    if context.get("allowPrivilegeEscalation").value().as_bool() == Some(false) {
        if context.get("privileged").bool() {
            errors.push(context.invalid(
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            ));
        }
        for capability in context.get("capabilities").get("add").items() {
            if capability.str() == "CAP_SYS_ADMIN" {
                let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
                errors.push(context.invalid(detail));
            }
        }
    }
    windows::options(&context.get("windowsOptions"), errors);
    app_armor(&context.get("appArmorProfile"), errors);
}

fn user(at: &At<'_>, errors: &mut Errors) {
    if let Some(id) = at.int() {
        check::messages(at, names::is_valid_user_id(id), errors);
    }
}

fn group(at: &At<'_>, errors: &mut Errors) {
    if let Some(id) = at.int() {
        check::messages(at, names::is_valid_group_id(id), errors);
    }
}

fn seccomp(profile: &At<'_>, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, file) = (profile.get("type"), profile.get("localhostProfile"));
    profile_type(&kind, "type is required when seccompProfile is set", errors);
    match (kind.str(), file.is_set()) {
        ("Localhost", false) => {
            errors.push(file.required("must be set when seccomp type is Localhost"))
        }
        ("Localhost", true) => check::descending_path(&file, errors),
        (_, true) => {
            errors.push(
                file.with(profile.value())
                    .invalid("can only be set when seccomp type is Localhost"),
            );
        }
        (_, false) => {}
    }
}

fn profile_type(kind: &At<'_>, detail: &str, errors: &mut Errors) {
    match kind.str() {
        "" => errors.push(kind.required(detail)),
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        _ => errors.push(kind.not_supported(&["Localhost", "RuntimeDefault", "Unconfined"])),
    }
}

/// An AppArmor profile.
pub(super) fn app_armor(profile: &At<'_>, errors: &mut Errors) {
    if !profile.is_set() {
        return;
    }
    let (kind, file) = (profile.get("type"), profile.get("localhostProfile"));
    match kind.str() {
        "Localhost" => {
            let name = file.str();
            if name.is_empty() {
                errors.push(file.required("must be set when AppArmor type is Localhost"));
            } else if name.trim() != name {
                errors.push(file.invalid("must not be padded with whitespace"));
            }
            if name.len() > PATH_MAX {
                errors.push(file.too_long(PATH_MAX));
            }
        }
        "RuntimeDefault" | "Unconfined" if file.is_set() => {
            errors.push(file.invalid("can only be set when AppArmor type is Localhost"));
        }
        _ => profile_type(&kind, "type is required when appArmorProfile is set", errors),
    }
}

fn sysctls(list: &At<'_>, spec: &At<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for item in list.items() {
        let name = item.get("name");
        let text = name.str();
        if text.is_empty() {
            errors.push(name.required(""));
        } else if text.len() > 253 || !text.split(['.', '/']).all(is_sysctl_segment) {
            errors.push(
                name.invalid(format!("must have at most 253 characters and match regex {SYSCTL}")),
            );
        } else if seen.contains(text) {
            errors.push(name.duplicate());
        }
        let dotted = normal_name(text);
        if spec.get("hostNetwork").bool() && dotted.starts_with("net.") {
            errors.push(name.invalid("may not be specified when 'hostNetwork' is true"));
        }
        let ipc = IPC_SYSCTLS.contains(&&*dotted) || dotted.starts_with("fs.mqueue.");
        if spec.get("hostIPC").bool() && ipc {
            errors.push(name.invalid("may not be specified when 'hostIPC' is true"));
        }
        seen.insert(text);
    }
}

/// Names with slashes first swap slashes and dots.
fn normal_name(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(index) if name.as_bytes()[index] == b'/' => {
            let swap = |c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            };
            name.chars().map(swap).collect()
        }
        _ => name.to_owned(),
    }
}

fn is_sysctl_segment(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || matches!(c, '-' | '_'))
}
