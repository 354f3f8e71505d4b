//! The objects every cluster starts with: the RBAC policy of Kubernetes 1.36.

use kubeplane_core::{Object, features::Features};
use serde_json::{Value, json};

// One line per object, as the original has them after its start. Recorded of a build that a distribution had extended;
// `system:openshift:public-info-viewer`, a role and its binding, is left out: upstream has neither.
const POLICY: &str = include_str!("bootstrap/policy.jsonl");

/// The annotation of bootstrap objects that are brought back to their original rights at every start.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// The roles and bindings of the bootstrap policy, cluster-wide ones first.
#[must_use]
pub fn policy() -> Vec<Object> {
    objects("").collect()
}

/// A ClusterRole of the policy.
pub(crate) fn cluster_role(name: &str) -> Option<Object> {
    objects(name).find(|object| object.kind() == "ClusterRole" && object.name() == name)
}

/// The objects in which `text` stands somewhere.
fn objects(text: &str) -> impl Iterator<Item = Object> {
    POLICY
        .lines()
        .filter(move |line| line.contains(text))
        .filter_map(|line| Object::parse(line.as_bytes()).ok())
        .map(without_nulls)
}

/// A right that a role has only where a gate is on.
struct Gated {
    gate: &'static str,
    role: &'static str,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["create", "delete", "deletecollection", "patch", "update"];
const CHANGE: &[&str] = &["patch", "update"];
const SCHEDULING: &str = "scheduling.k8s.io";
const RESOURCE: &str = "resource.k8s.io";
const PROTECTION: &str = "podgroup-protection-controller";

const fn gated(
    gate: &'static str,
    role: &'static str,
    group: &'static str,
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Gated {
    Gated { gate, role, group, resources, verbs }
}

/// What gates that are off by default add to roles that there are anyway.
const GATED: [Gated; 10] = [
    gated(
        "GenericWorkload",
        "system:aggregate-to-view",
        SCHEDULING,
        &["podgroups", "podgroups/status", "workloads"],
        READ,
    ),
    gated(
        "GenericWorkload",
        "system:aggregate-to-edit",
        SCHEDULING,
        &["podgroups", "workloads"],
        WRITE,
    ),
    gated("GenericWorkload", "system:kube-scheduler", SCHEDULING, &["podgroups"], READ),
    gated("GenericWorkload", "system:kube-scheduler", SCHEDULING, &["podgroups/status"], CHANGE),
    gated(
        "WorkloadWithJob",
        "system:controller:job-controller",
        SCHEDULING,
        &["podgroups", "workloads"],
        &["create", "get", "list", "watch"],
    ),
    gated(
        "DRAWorkloadResourceClaims",
        "system:controller:resource-claim-controller",
        SCHEDULING,
        &["podgroups"],
        READ,
    ),
    gated(
        "DRAWorkloadResourceClaims",
        "system:controller:resource-claim-controller",
        SCHEDULING,
        &["podgroups/status"],
        CHANGE,
    ),
    gated("DRADeviceTaintRules", "system:kube-scheduler", RESOURCE, &["devicetaintrules"], READ),
    gated(
        "DRADeviceTaintRules",
        "system:controller:device-taint-eviction-controller",
        RESOURCE,
        &["devicetaintrules/status"],
        CHANGE,
    ),
    gated(
        "DRADeviceTaintRules",
        "system:controller:device-taint-eviction-controller",
        RESOURCE,
        &["devicetaintrules"],
        READ,
    ),
];

/// The [`policy`] of a cluster with these gates: those of PodGroups, of Jobs that use them and of device taint rules
/// bring further rights.
#[must_use]
pub fn policy_with(features: &Features) -> Vec<Object> {
    let mut objects = policy();
    for own in GATED.iter().filter(|own| features.is_on(own.gate)) {
        let is_role =
            |object: &&mut Object| object.kind() == "ClusterRole" && object.name() == own.role;
        let Some(role) = objects.iter_mut().find(is_role) else { continue };
        let mut rules = role.at(&["rules"]).and_then(Value::as_array).cloned().unwrap_or_default();
        rules.push(
            json!({"apiGroups": [own.group], "resources": own.resources, "verbs": own.verbs}),
        );
        role.set(&["rules"], rules);
    }
    if features.is_on("GenericWorkload") {
        objects.extend(protection().into_iter().filter_map(Object::from_value));
    }
    objects
}

/// What the controller may that keeps PodGroups as long as pods are in them: its role, and the binding to it.
fn protection() -> [Value; 2] {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let name = format!("system:controller:{PROTECTION}");
    let metadata = json!({"name": name, "annotations": {AUTO_UPDATE: "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}});
    let version = format!("{GROUP}/v1");
    let role = json!({"apiVersion": version, "kind": "ClusterRole", "metadata": metadata, "rules": [
        {"apiGroups": [SCHEDULING], "resources": ["podgroups"],
            "verbs": ["get", "list", "update", "watch"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": READ},
    ]});
    let account = json!({"kind": "ServiceAccount", "name": PROTECTION, "namespace": "kube-system"});
    let binding = json!({"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": metadata,
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}, "subjects": [account]});
    [role, binding]
}

fn without_nulls(mut object: Object) -> Object {
    object.map_mut().retain(|_, value| !value.is_null());
    object
}

/// What an existing bootstrap object must become so that it grants at least what `wanted` grants: missing
/// rules, subjects, labels and annotations are added, nothing is taken away. `None` when nothing lacks, or
/// the object opted out by setting its [`AUTO_UPDATE`] annotation to `false`. A binding to another role
/// must be deleted and made anew, which is left to its owner.
#[must_use]
pub fn reconciled(existing: &Object, wanted: &Object) -> Option<Object> {
    if existing.annotation(AUTO_UPDATE) == Some("false") {
        return None;
    }
    let mut object = existing.clone();
    for map in ["labels", "annotations"] {
        let lacking: Vec<_> = wanted
            .at(&["metadata", map])
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter(|(key, _)| existing.at(&["metadata", map, key]).is_none())
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !lacking.is_empty() {
            object.map_at_mut(&["metadata", map]).extend(lacking);
        }
    }
    // The rules of aggregated roles are their controller's.
    if wanted.at(&["aggregationRule"]).is_none() {
        add_missing(&mut object, wanted, "rules");
    }
    add_missing(&mut object, wanted, "subjects");
    (object != *existing).then_some(object)
}

fn add_missing(object: &mut Object, wanted: &Object, list: &str) {
    let Some(wanted) = wanted.at(&[list]).and_then(Value::as_array) else { return };
    let mut present = object.at(&[list]).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = present.len();
    for item in wanted {
        if !present.contains(item) {
            present.push(item.clone());
        }
    }
    if present.len() > before {
        object.set(&[list], present);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every object with what it says, each fact on a line of its own, in order.
    const FACTS: &str = include_str!("bootstrap/facts.txt");

    fn texts<'a>(object: &'a Value, list: &str) -> Vec<&'a str> {
        let values = object[list].as_array().into_iter().flatten();
        let mut texts: Vec<_> = values.map(|value| value.as_str().unwrap()).collect();
        texts.sort_unstable();
        texts
    }

    fn fact_of_rule(rule: &Value) -> String {
        let verbs = texts(rule, "verbs").join("+");
        let urls = texts(rule, "nonResourceURLs");
        if !urls.is_empty() {
            return format!("{verbs} {}", urls.join(" "));
        }
        let mut groups = texts(rule, "apiGroups");
        groups.iter_mut().filter(|group| group.is_empty()).for_each(|group| *group = "core");
        groups.sort_unstable();
        let resources = texts(rule, "resources").join(" ");
        let names = texts(rule, "resourceNames");
        let named =
            if names.is_empty() { String::new() } else { format!(" named {}", names.join(" ")) };
        format!("{verbs} {resources} of {}{named}", groups.join(" "))
    }

    fn aggregates(labels: &Value, what: &str) -> Vec<String> {
        let keys = labels.as_object().into_iter().flat_map(|labels| labels.keys());
        let start = "rbac.authorization.k8s.io/aggregate-to-";
        let wholes = keys.filter_map(|key| key.strip_prefix(start));
        wholes.map(|whole| format!("{what} {whole}")).collect()
    }

    fn named(namespace: &Value, name: &Value) -> String {
        let name = name.as_str().unwrap();
        namespace.as_str().map_or(name.to_owned(), |namespace| format!("{namespace}/{name}"))
    }

    /// The facts of an object below its name.
    fn facts(object: &Object) -> String {
        let whole = object.clone().into_value();
        let metadata = &whole["metadata"];
        let list = |key: &str| whole[key].as_array().cloned().unwrap_or_default();
        let mut facts = Vec::new();
        if let Some(kind) = whole["roleRef"]["kind"].as_str() {
            facts.push(format!("{kind} {}", whole["roleRef"]["name"].as_str().unwrap()));
        }
        facts.extend(aggregates(&metadata["labels"], "part of"));
        for selector in
            whole["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten()
        {
            facts.extend(aggregates(&selector["matchLabels"], "made of parts of"));
        }
        let mut rules: Vec<_> = list("rules").iter().map(fact_of_rule).collect();
        rules.sort_unstable();
        facts.extend(rules);
        let of = |subject: &Value| {
            let kind = subject["kind"].as_str().unwrap();
            format!("{kind} {}", named(&subject["namespace"], &subject["name"]))
        };
        let mut subjects: Vec<_> = list("subjects").iter().map(of).collect();
        subjects.sort_unstable();
        facts.extend(subjects);
        let head =
            format!("{} {}", object.kind(), named(&metadata["namespace"], &metadata["name"]));
        facts.iter().fold(head + "\n", |text, fact| text + "  " + fact + "\n")
    }

    #[test]
    fn the_policy_is_whole() {
        let policy = policy();
        let mut told: Vec<String> = policy.iter().map(facts).collect();
        told.sort_unstable();
        let mut known: Vec<String> = Vec::new();
        for line in FACTS.split_inclusive('\n') {
            match known.last_mut() {
                Some(object) if line.starts_with(' ') => object.push_str(line),
                _ => known.push(line.to_owned()),
            }
        }
        known.sort_unstable();
        for (told, known) in told.iter().zip(&known) {
            assert_eq!(told, known);
        }
        assert_eq!((told.len(), known.len()), (135, 135));
        for object in &policy {
            assert_eq!(object.annotation(AUTO_UPDATE), Some("true"), "{}", object.name());
            let label = object.at(&["metadata", "labels", "kubernetes.io/bootstrapping"]);
            assert_eq!(label, Some(&json!("rbac-defaults")), "{}", object.name());
        }
    }

    #[test]
    fn reconciling_only_adds() {
        let policy = policy();
        let wanted = policy.iter().find(|object| object.name() == "system:node-proxier").unwrap();
        assert_eq!(reconciled(wanted, wanted), None);
        let mut less = wanted.clone();
        less.set(&["rules"], serde_json::json!([{"verbs": ["get"], "nonResourceURLs": ["/mine"]}]));
        let mended = reconciled(&less, wanted).unwrap();
        let rules = mended.at(&["rules"]).unwrap().as_array().unwrap();
        assert_eq!(rules.len(), 1 + wanted.at(&["rules"]).unwrap().as_array().unwrap().len());
        less.set(&["metadata", "annotations", AUTO_UPDATE], "false");
        assert_eq!(reconciled(&less, wanted), None);
    }

    #[test]
    fn gates_bring_their_rights() {
        assert_eq!(policy_with(&Features::default()), policy());
        let features = "GenericWorkload=true".parse().unwrap();
        let with = policy_with(&features);
        assert_eq!(with.len(), policy().len() + 2);
        let rules = |objects: &[Object], role: &str| {
            let own = objects.iter().find(|own| own.kind() == "ClusterRole" && own.name() == role);
            own.unwrap().at(&["rules"]).and_then(Value::as_array).cloned().unwrap_or_default()
        };
        let added = |role: &str| {
            let (before, after) = (rules(&policy(), role), rules(&with, role));
            assert_eq!(after[..before.len()], before);
            Value::Array(after[before.len()..].to_vec())
        };
        assert_eq!(
            added("system:kube-scheduler"),
            json!([
                {"apiGroups": [SCHEDULING], "resources": ["podgroups"], "verbs": ["get", "list", "watch"]},
                {"apiGroups": [SCHEDULING], "resources": ["podgroups/status"], "verbs": ["patch", "update"]},
            ])
        );
        assert_eq!(added("system:aggregate-to-view")[0]["resources"][2], "workloads");
        assert_eq!(added("system:aggregate-to-edit")[0]["verbs"][0], "create");
        // Roles of gates that stay off are as they were.
        assert_eq!(added("system:controller:job-controller"), json!([]));
        let own = "system:controller:podgroup-protection-controller";
        assert_eq!(rules(&with, own)[0]["verbs"], json!(["get", "list", "update", "watch"]));
    }

    #[test]
    fn every_role_that_gates_add_to_is_there() {
        for own in &GATED {
            let there = policy().iter().any(|object| object.name() == own.role);
            assert!(there, "{} of {}", own.role, own.gate);
        }
    }
}
