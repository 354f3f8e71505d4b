//! FlowSchemas: which requests belong to which priority level.

use crate::{
    check,
    defaulting::number,
    look::{At, Look, sub},
    plain::Plain,
    prioritylevelconfiguration::conditions,
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors, names};
use serde_json::{Value, json};

const LAST_PRECEDENCE: i64 = 10_000;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "flowcontrol.apiserver.k8s.io",
        kind: "FlowSchema",
        plural: "flowschemas",
        columns: &[
            "Name",
            "PriorityLevel",
            "MatchingPrecedence",
            "DistinguisherMethod",
            "Age",
            "MissingPL",
        ],
        parts: &[Part::Status],
        ..Row::CLUSTER
    };
    row.define(Plain {
        default: |object| number(object.map_at_mut(&["spec"]), "matchingPrecedence", 1000),
        status: Some(|| json!({})),
        counted: &["spec"],
        validate,
        update_status: |object, _| conditions(object),
        row: cells,
        ..Plain::NEW
    })
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = sub(object.map(), "spec");
    let mut conditions = sub(object.map(), "status").list("conditions").iter();
    let dangling = conditions.find(|condition| condition.text("type") == "Dangling");
    let method = spec.sub("distinguisherMethod");
    vec![
        object.name().into(),
        spec.sub("priorityLevelConfiguration").text("name").into(),
        spec.int("matchingPrecedence").into(),
        if method.is_null() { "<none>".into() } else { method.text("type").into() },
        age(object, now),
        dangling.map_or("?", |condition| condition.text("status")).into(),
    ]
}

/// The specs of the schemas that every server needs to be as they are.
fn fixed(name: &str) -> Option<Value> {
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let rule = |subjects: Value| {
        json!([{
            "subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
                "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    match name {
        "exempt" => Some(json!({
            "priorityLevelConfiguration": {"name": "exempt"},
            "matchingPrecedence": 1,
            "rules": rule(json!([group("system:masters")])),
        })),
        "catch-all" => Some(json!({
            "priorityLevelConfiguration": {"name": "catch-all"},
            "matchingPrecedence": LAST_PRECEDENCE,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": rule(json!([group("system:unauthenticated"), group("system:authenticated")])),
        })),
        _ => None,
    }
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    precedence(&spec.get("matchingPrecedence"), object.name(), &mut errors);
    let method = spec.get("distinguisherMethod");
    if method.is_set() && !matches!(method.get("type").str(), "ByNamespace" | "ByUser") {
        let shown = json!({"Type": method.get("type").str()});
        let error = method.get("type").with(&shown).not_supported(&["ByNamespace", "ByUser"]);
        errors.push(error);
    }
    let level = spec.get("priorityLevelConfiguration").get("name");
    if level.str().is_empty() {
        errors.push(level.required("must reference a priority level"));
    } else {
        check::dns_subdomain(&level, &mut errors);
    }
    for rule in spec.get("rules").items() {
        self::rule(&rule, &mut errors);
    }
    if fixed(object.name()).is_some_and(|fixed| fixed != *spec.value()) {
        let detail = format!("spec of '{}' must equal the fixed value", object.name());
        errors.push(spec.invalid(detail));
    }
    errors.extend(conditions(object));
    errors
}

fn precedence(at: &At<'_>, name: &str, errors: &mut Errors) {
    let number = at.int().unwrap_or_default();
    if number <= 0 {
        errors.push(at.invalid_as(number, "must be a positive value"));
    }
    if number > LAST_PRECEDENCE {
        let detail = format!("must not be greater than {LAST_PRECEDENCE}");
        errors.push(at.invalid_as(number, detail));
    }
    if number == 1 && name != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(at.invalid_as(number, detail));
    }
}

fn rule(rule: &At<'_>, errors: &mut Errors) {
    let subjects = rule.get("subjects");
    if subjects.is_empty() {
        errors.push(subjects.required("subjects must contain at least one value"));
    }
    for subject in subjects.items() {
        self::subject(&subject, errors);
    }
    let (resources, others) = (rule.get("resourceRules"), rule.get("nonResourceRules"));
    if resources.is_empty() && others.is_empty() {
        errors.push(
            rule.required("at least one of resourceRules and nonResourceRules has to be non-empty"),
        );
    }
    for rule in resources.items() {
        verbs(&rule.get("verbs"), errors);
        resource_rule(&rule, errors);
    }
    for rule in others.items() {
        verbs(&rule.get("verbs"), errors);
        urls(&rule.get("nonResourceURLs"), errors);
    }
}

fn subject(subject: &At<'_>, errors: &mut Errors) {
    // Each kind of subject, its field, and in which order the original looks for fields of others.
    const KINDS: [(&str, &str, [&str; 2]); 3] = [
        ("ServiceAccount", "serviceAccount", ["User", "Group"]),
        ("User", "user", ["ServiceAccount", "Group"]),
        ("Group", "group", ["ServiceAccount", "User"]),
    ];
    let kind = subject.get("kind");
    let Some((name, field, others)) = KINDS.iter().find(|known| known.0 == kind.str()) else {
        return errors.push(kind.not_supported(&["Group", "ServiceAccount", "User"]));
    };
    let own = subject.get(field);
    if !own.is_set() {
        errors.push(own.required(format!("{field} is required when subject kind is '{name}'")));
    } else if *field == "serviceAccount" {
        service_account(&own, errors);
    } else {
        check::required(&own.get("name"), errors);
    }
    for other in others {
        let field = KINDS.iter().find(|known| known.0 == *other).map_or("", |known| known.1);
        if subject.get(field).is_set() {
            let detail = format!("{field} is forbidden when subject kind is not '{other}'");
            errors.push(subject.get(field).forbidden(detail));
        }
    }
}

fn service_account(account: &At<'_>, errors: &mut Errors) {
    let (name, namespace) = (account.get("name"), account.get("namespace"));
    if check::required(&name, errors) && name.str() != "*" {
        check::dns_subdomain(&name, errors);
    }
    if namespace.str().is_empty() {
        errors.push(namespace.required("must specify namespace for service account"));
    } else {
        check::dns_label(&namespace, errors);
    }
}

fn has_star(list: &At<'_>) -> bool {
    list.items().any(|item| item.str() == "*")
}

/// Whether the list has a `*`, which must stand alone.
fn star(list: &At<'_>, what: &str, errors: &mut Errors) -> bool {
    let star = has_star(list);
    if star && list.len() > 1 {
        errors.push(list.invalid(format!("if '*' is present, must not specify other {what}")));
    }
    star
}

fn verbs(list: &At<'_>, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(list.required("verbs must contain at least one value"));
    } else if !star(list, "verbs", errors) && list.items().any(|verb| !VERBS.contains(&verb.str()))
    {
        errors.push(list.not_supported(&VERBS));
    }
}

fn resource_rule(rule: &At<'_>, errors: &mut Errors) {
    for (field, one, many) in
        [("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")]
    {
        let list = rule.get(field);
        if list.is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            errors.push(list.required(detail));
        } else {
            star(&list, many, errors);
        }
    }
    let namespaces = rule.get("namespaces");
    if namespaces.is_empty() && !rule.get("clusterScope").bool() {
        errors.push(namespaces.required(
            "resource rules that are not cluster scoped must supply at least one namespace",
        ));
    } else if !star(&namespaces, "namespaces", errors) {
        for namespace in namespaces.items() {
            for message in names::is_dns1123_label(namespace.str()) {
                let detail =
                    format!("each member of this list must be '*' or a DNS-1123 label; {message}");
                errors.push(namespace.invalid(detail));
            }
        }
    }
}

fn urls(list: &At<'_>, errors: &mut Errors) {
    if list.is_empty() {
        errors.push(list.required("nonResourceURLs must contain at least one value"));
    } else if !star(list, "non-resource URLs", errors) {
        let problems = list.items().filter_map(|url| url_problem(url.str()).map(|why| (url, why)));
        errors.extend(problems.map(|(url, why)| url.invalid(why)));
    }
}

fn url_problem(path: &str) -> Option<&'static str> {
    let stars = path.matches('*').count();
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !path.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}
