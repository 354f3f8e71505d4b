//! What holds for pods of Windows, and what only does there.

use super::containers;
use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};

const SPEC_MAX_KIB: usize = 64;
const DOMAIN_MAX: usize = 256;
const USER_MAX: usize = 104;

/// The Windows options of a security context.
pub(super) fn options(options: &At<'_>, errors: &mut Errors) {
    let (name, spec) = (options.get("gmsaCredentialSpecName"), options.get("gmsaCredentialSpec"));
    if name.is_set() {
        check::dns_subdomain(&name, errors);
    }
    if spec.is_set() {
        if spec.str().is_empty() {
            errors.push(spec.invalid("gmsaCredentialSpec cannot be an empty string"));
        } else if spec.str().len() > SPEC_MAX_KIB * 1024 {
            errors.push(
                spec.invalid(format!("gmsaCredentialSpec size must be under {SPEC_MAX_KIB} KiB")),
            );
        }
    }
    let user = options.get("runAsUserName");
    if user.is_set() {
        let problems = user_name(user.str()).into_iter();
        errors.extend(problems.map(|problem| user.invalid(format!("runAsUserName{problem}"))));
    }
}

/// `user` or `domain\user`.
fn user_name(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec![" cannot be an empty string".to_owned()];
    }
    if name.chars().any(|c| c.is_ascii_control()) {
        return vec![" cannot contain control characters".to_owned()];
    }
    let parts: Vec<_> = name.split('\\').collect();
    let (domain, user) = match parts[..] {
        [user] => (None, user),
        [domain, user] => (Some(domain), user),
        _ => return vec![" cannot contain more than one backslash".to_owned()],
    };
    let mut problems = Vec::new();
    if let Some(domain) = domain {
        if domain.len() >= DOMAIN_MAX {
            problems.push(format!("'s Domain length must be under {DOMAIN_MAX} characters"));
        }
        if !is_net_bios(domain) && !is_dns(domain) {
            problems.push("'s Domain doesn't match the NetBios nor the DNS format".to_owned());
        }
    }
    if user.is_empty() {
        problems.push("'s User cannot be empty".to_owned());
    } else if user.len() > USER_MAX {
        problems.push(format!("'s User length must not be longer than {USER_MAX} characters"));
    }
    if !user.is_empty() && user.chars().all(|c| matches!(c, '.' | ' ')) {
        problems.push("'s User cannot contain only periods or spaces".to_owned());
    }
    if user
        .contains(['"', '/', '\\', ':', ';', '|', '=', ',', '+', '*', '?', '<', '>', '@', '[', ']'])
    {
        problems
            .push("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]".to_owned());
    }
    problems
}

fn is_net_bios(domain: &str) -> bool {
    let barred = ['\\', '/', ':', '*', '?', '"', '<', '>', '|'];
    (1..=15).contains(&domain.chars().count())
        && !domain.starts_with('.')
        && !domain.contains(barred)
}

fn is_dns(domain: &str) -> bool {
    domain.split('.').all(|label| names::is_dns1123_label(&label.to_ascii_lowercase()).is_empty())
}

/// Containers that are processes of the host: all or none, and with the host's network.
pub(super) fn host_process(spec: &At<'_>, errors: &mut Errors) {
    let flag = |at: &At<'_>| {
        at.get("securityContext").get("windowsOptions").get("hostProcess").value().as_bool()
    };
    let whole = flag(spec);
    let (mut total, mut count) = (0, 0);
    for container in containers::all(spec) {
        total += 1;
        let own = flag(&container);
        if let (Some(whole), Some(own)) = (whole, own)
            && whole != own
        {
            let at = container.get("securityContext").get("windowsOptions").get("hostProcess");
            let detail = format!(
                "pod hostProcess value must be identical if both are specified, was {whole}"
            );
            errors.push(at.invalid(detail));
        }
        count += usize::from(own.or(whole).unwrap_or_default());
    }
    if count == 0 {
        return;
    }
    if count != total {
        let detail = "If pod contains any hostProcess containers then all containers must be HostProcess containers";
        errors.push(spec.invalid_as("", detail));
    }
    if !spec.get("hostNetwork").bool() {
        let detail = "hostNetwork must be true if pod contains any hostProcess containers";
        errors.push(spec.get("hostNetwork").invalid_as(false, detail));
    }
}

/// A pod of Linux has no Windows options.
pub(super) fn none_for_linux(spec: &At<'_>, errors: &mut Errors) {
    for owner in std::iter::once(spec.clone()).chain(containers::all(spec)) {
        let options = owner.get("securityContext").get("windowsOptions");
        if options.is_set() {
            errors.push(options.forbidden("windows options cannot be set for a linux pod"));
        }
    }
}

/// A pod of Windows has nothing that only Linux knows.
pub(super) fn none_of_linux(spec: &At<'_>, errors: &mut Errors) {
    let mut refuse = |at: At<'_>| {
        let flag = matches!(at.value(), serde_json::Value::Bool(false));
        if at.is_set() && !flag {
            errors.push(at.forbidden("cannot be set for a windows pod"));
        }
    };
    let context = spec.get("securityContext");
    for field in ["hostPID", "hostIPC"] {
        refuse(spec.get(field));
    }
    for field in [
        "appArmorProfile",
        "seLinuxOptions",
        "seccompProfile",
        "fsGroup",
        "fsGroupChangePolicy",
        "sysctls",
        "runAsUser",
        "runAsGroup",
        "supplementalGroups",
        "supplementalGroupsPolicy",
        "seLinuxChangePolicy",
    ] {
        refuse(context.get(field));
    }
    for field in ["hostUsers", "shareProcessNamespace"] {
        if spec.get(field).is_set() {
            errors.push(spec.get(field).forbidden("cannot be set for a windows pod"));
        }
    }
    for container in containers::all(spec) {
        for field in [
            "appArmorProfile",
            "seLinuxOptions",
            "seccompProfile",
            "capabilities",
            "readOnlyRootFilesystem",
            "privileged",
            "allowPrivilegeEscalation",
            "procMount",
            "runAsUser",
            "runAsGroup",
        ] {
            let value = container.get("securityContext").get(field);
            if value.is_set() {
                errors.push(value.forbidden("cannot be set for a windows pod"));
            }
        }
    }
}
