//! Whether a HorizontalPodAutoscaler makes sense, in the words of autoscaling/v2.

use crate::{
    check,
    look::{At, Look, sub},
    pod::validation::resources::container_resource,
};
use kubeplane_core::{Object, field::Errors, names};

const PERIOD_MAX: i64 = 1800;
const WINDOW_MAX: i64 = 3600;
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Sources in the order the original looks at them, with the type each belongs to.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

/// What is let pass.
#[derive(Debug, Clone, Copy)]
struct Leniency {
    least: i64,
    target: Reference,
    metrics: Reference,
}

/// Which versions a reference may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reference {
    AnyText,
    AnyGroup,
    NamedGroup,
}

pub(super) fn create(object: &Object, to_zero: bool) -> Errors {
    spec(
        object,
        Leniency {
            least: i64::from(!to_zero),
            target: target_rule(object, None),
            metrics: Reference::AnyGroup,
        },
    )
}

pub(super) fn update(object: &Object, old: &Object, to_zero: bool) -> Errors {
    let before = sub(old.map(), "spec");
    let odd = before.list("metrics").iter().any(|metric| {
        let described = metric.sub("object").sub("describedObject");
        metric.text("type") == "Object"
            && metric.has("object")
            && version_problem(described.text("apiVersion"), Reference::AnyGroup).is_some()
    });
    spec(
        object,
        Leniency {
            least: i64::from(!to_zero && *before.sub("minReplicas") != 0),
            target: target_rule(object, Some(old)),
            metrics: if odd { Reference::AnyText } else { Reference::AnyGroup },
        },
    )
}

fn target_rule(object: &Object, old: Option<&Object>) -> Reference {
    fn target(object: &Object) -> (&str, &str) {
        let target = sub(object.map(), "spec").sub("scaleTargetRef");
        (target.text("apiVersion"), target.text("kind"))
    }
    if old.is_some_and(|old| target(old) == target(object)) {
        Reference::AnyText
    } else if target(object).1 == "ReplicationController" {
        Reference::AnyGroup
    } else {
        Reference::NamedGroup
    }
}

fn version_problem(version: &str, rule: Reference) -> Option<String> {
    let slashes = version.matches('/').count();
    if rule == Reference::AnyText {
        None
    } else if slashes > 1 {
        Some(format!("unexpected GroupVersion string: {version}"))
    } else if rule == Reference::NamedGroup
        && version.split_once('/').is_none_or(|(group, _)| group.is_empty())
    {
        Some("apiVersion must specify API group".to_owned())
    } else {
        None
    }
}

fn spec(object: &Object, leniency: Leniency) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let (least, most) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    let bound = leniency.least;
    if least.int().is_some_and(|number| number < bound) {
        errors.push(least.invalid(format!("must be greater than or equal to {bound}")));
    }
    let number = most.int().unwrap_or_default();
    if number == 0 {
        errors.push(most.required("must be set and greater than 0"));
    } else if number < 0 {
        errors.push(most.invalid("must be greater than or equal to 1"));
    }
    if least.int().is_some_and(|least| number < least) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(most.invalid_as(number, detail));
    }
    reference(&spec.get("scaleTargetRef"), leniency.target, &mut errors);
    let metrics = spec.get("metrics");
    for metric in metrics.items() {
        self::metric(&metric, leniency.metrics, &mut errors);
    }
    let external = |metric: &At<'_>| matches!(metric.get("type").str(), "Object" | "External");
    if least.int() == Some(0) && !metrics.items().any(|metric| external(&metric)) {
        errors.push(metrics.forbidden(
            "must specify at least one Object or External metric to support scaling to zero replicas",
        ));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = spec.get("behavior").get(direction);
        if rules.is_set() {
            scaling_rules(&rules, &mut errors);
        }
    }
    errors
}

fn segment(at: &At<'_>, missing: &str, errors: &mut Errors) {
    if at.str().is_empty() {
        errors.push(at.required(missing));
    } else {
        check::messages(at, names::is_path_segment_name(at.str()), errors);
    }
}

fn reference(at: &At<'_>, rule: Reference, errors: &mut Errors) {
    segment(&at.get("kind"), "", errors);
    segment(&at.get("name"), "", errors);
    let version = at.get("apiVersion");
    if let Some(problem) = version_problem(version.str(), rule) {
        errors.push(version.invalid(problem));
    }
}

fn scaling_rules(rules: &At<'_>, errors: &mut Errors) {
    let window = rules.get("stabilizationWindowSeconds");
    match window.int() {
        Some(..0) => errors.push(window.invalid("must be greater than or equal to zero")),
        Some(seconds) if seconds > WINDOW_MAX => {
            errors.push(window.invalid(format!("must be less than or equal to {WINDOW_MAX}")));
        }
        _ => {}
    }
    check::one_of_if_set(&rules.get("selectPolicy"), &["Disabled", "Max", "Min"], errors);
    let policies = rules.get("policies");
    if policies.is_empty() {
        errors.push(policies.required("must specify at least one Policy"));
    }
    for policy in policies.items() {
        let (kind, period) = (policy.get("type"), policy.get("periodSeconds"));
        if !matches!(kind.str(), "Pods" | "Percent") {
            errors.push(kind.not_supported(&["Percent", "Pods"]));
        }
        check::positive(&policy.get("value"), errors);
        check::positive(&period, errors);
        if period.int().is_some_and(|seconds| seconds > PERIOD_MAX) {
            errors.push(period.invalid(format!("must be less than or equal to {PERIOD_MAX}")));
        }
    }
    let tolerance = rules.get("tolerance");
    let quantity = check::quantity(&tolerance);
    if tolerance.is_set() && quantity.sign() < 0 {
        errors.push(tolerance.invalid_as(quantity.to_string(), check::NEGATIVE));
    }
}

fn metric(metric: &At<'_>, rule: Reference, errors: &mut Errors) {
    let kind = metric.get("type");
    if kind.str().is_empty() {
        errors.push(kind.required("must specify a metric source type"));
    }
    if !TYPES.contains(&kind.str()) {
        errors.push(kind.not_supported(TYPES));
    }
    let mut present: Vec<_> =
        SOURCES.iter().filter(|(field, _)| metric.get(field).is_set()).collect();
    if let Some((field, _)) = present.first() {
        source(field, &metric.get(field), rule, errors);
    }
    let count = present.len();
    match SOURCES.iter().find(|(_, of)| *of == kind.str()) {
        Some((field, _)) => {
            if !metric.get(field).is_set() {
                let detail = "must populate information for the given metric source";
                errors.push(metric.get(field).required(detail));
            }
            present.retain(|(other, _)| other != field);
        }
        None => errors.push(kind.not_supported(TYPES)),
    }
    if count != 1 {
        for (field, _) in present {
            let detail = "must populate the given metric source only";
            errors.push(metric.get(field).forbidden(detail));
        }
    }
}

fn source(kind: &str, source: &At<'_>, rule: Reference, errors: &mut Errors) {
    let target = source.get("target");
    let (value, average, percent) =
        (target.get("value"), target.get("averageValue"), target.get("averageUtilization"));
    match kind {
        "resource" => {
            if source.get("name").str().is_empty() {
                errors.push(source.get("name").required("must specify a resource name"));
            }
        }
        "containerResource" => container_source(source, errors),
        _ => {
            if kind == "object" {
                reference(&source.get("describedObject"), rule, errors);
            }
            let name = source.get("metric").get("name");
            segment(&name, "must specify a metric name", errors);
        }
    }
    metric_target(&target, errors);
    match kind {
        "object" if !value.is_set() && !average.is_set() => {
            errors.push(average.required("must set either a target value or averageValue"));
        }
        "external" if !value.is_set() && !average.is_set() => errors.push(
            average.required("must set either a target value for metric or a per-pod target"),
        ),
        "external" if value.is_set() && average.is_set() => errors.push(
            value.forbidden("may not set both a target value for metric and a per-pod target"),
        ),
        "pods" if !average.is_set() => {
            errors.push(average.required("must specify a positive target averageValue"));
        }
        "resource" | "containerResource" if !percent.is_set() && !average.is_set() => errors
            .push(percent.required("must set either a target raw value or a target utilization")),
        "resource" | "containerResource" if percent.is_set() && average.is_set() => errors.push(
            average.forbidden("may not set both a target raw value and a target utilization"),
        ),
        _ => {}
    }
}

fn container_source(source: &At<'_>, errors: &mut Errors) {
    let (name, container) = (source.get("name"), source.get("container"));
    if name.str().is_empty() {
        errors.push(name.required("must specify a resource name"));
    } else {
        container_resource(&name, name.str(), errors);
    }
    if container.str().is_empty() {
        errors.push(container.required("must specify a container"));
    } else {
        check::dns_label(&container, errors);
    }
}

fn metric_target(target: &At<'_>, errors: &mut Errors) {
    let (kind, percent) = (target.get("type"), target.get("averageUtilization"));
    if kind.str().is_empty() {
        errors.push(kind.required("must specify a metric target type"));
    }
    if !matches!(kind.str(), "Utilization" | "Value" | "AverageValue") {
        errors.push(kind.invalid("must be either Utilization, Value, or AverageValue"));
    }
    for field in ["value", "averageValue"] {
        let at = target.get(field);
        if at.is_set() && check::quantity(&at).sign() <= 0 {
            errors.push(at.invalid("must be positive"));
        }
    }
    if percent.int().is_some_and(|percent| percent < 1) {
        errors.push(percent.invalid("must be greater than 0"));
    }
}

pub(super) fn status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = At::top(object.map(), "status");
    for field in ["currentReplicas", "desiredReplicas"] {
        check::nonnegative(&status.get(field), &mut errors);
    }
    errors
}
