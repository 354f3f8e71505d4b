//! Probes and lifecycle hooks.

use super::spec::Scene;
use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};

pub(super) fn lifecycle(lifecycle: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    for hook in ["postStart", "preStop"] {
        let handler = lifecycle.get(hook);
        if handler.is_set() {
            self::handler(&handler, &["exec", "httpGet", "tcpSocket", "sleep"], scene, errors);
        }
    }
    let signal = lifecycle.get("stopSignal");
    if signal.is_set() && scene.os.is_none() {
        errors.push(signal.forbidden("may not be set for containers with empty `spec.os.name`"));
    }
}

pub(super) fn probes(container: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(kind);
        if !probe.is_set() {
            continue;
        }
        handler(&probe, &["exec", "httpGet", "tcpSocket", "grpc"], scene, errors);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            check::nonnegative(&probe.get(field), errors);
        }
        let grace = probe.get("terminationGracePeriodSeconds");
        if let Some(seconds) = grace.int().filter(|seconds| *seconds <= 0) {
            errors.push(grace.invalid_as(seconds, "must be greater than 0"));
        }
        let successes = probe.get("successThreshold");
        if kind == "readinessProbe" {
            if grace.is_set() {
                errors.push(grace.invalid("must not be set for readinessProbes"));
            }
        } else if successes.int().unwrap_or_default() != 1 {
            errors.push(successes.invalid_as(successes.int().unwrap_or_default(), "must be 1"));
        }
    }
}

/// Exactly one way to act.
fn handler(at: &At<'_>, kinds: &[&'static str], scene: &Scene<'_>, errors: &mut Errors) {
    let mut found = false;
    for kind in kinds {
        let action = at.get(kind);
        if !action.is_set() {
            continue;
        }
        if found {
            errors.push(action.forbidden("may not specify more than 1 handler type"));
            continue;
        }
        found = true;
        match *kind {
            "exec" if action.get("command").is_empty() => {
                errors.push(action.get("command").required(""))
            }
            "httpGet" => http_get(&action, errors),
            "tcpSocket" => check::port(&action.get("port"), errors),
            "grpc" => check::port_number(&action.get("port"), errors),
            "sleep" => sleep(&action, scene, errors),
            _ => {}
        }
    }
    if !found {
        errors.push(at.required("must specify a handler type"));
    }
}

fn http_get(action: &At<'_>, errors: &mut Errors) {
    check::required(&action.get("path"), errors);
    check::port(&action.get("port"), errors);
    let scheme = action.get("scheme");
    if !matches!(scheme.str(), "HTTP" | "HTTPS") {
        errors.push(scheme.not_supported(&["HTTP", "HTTPS"]));
    }
    for header in action.get("httpHeaders").items() {
        let name = header.get("name").str();
        let problems = names::is_http_header_name(name).into_iter();
        errors.extend(problems.map(|message| action.get("httpHeaders").invalid_as(name, message)));
    }
}

fn sleep(action: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    let seconds = action.get("seconds").int().unwrap_or_default();
    if let Some(grace) = scene.grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
        let detail =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(action.invalid_as(seconds, detail));
    }
}
