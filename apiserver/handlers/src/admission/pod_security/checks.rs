//! The rules, each with the version it came in.

mod baseline;
mod restricted;

use super::policy::{Level, LevelVersion};
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// A pod, or what a workload makes pods of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pod<'a> {
    metadata: &'a Value,
    pub(super) spec: &'a Value,
}

impl<'a> Pod<'a> {
    pub(super) fn whole(object: &'a kubeplane_core::Object) -> Self {
        let part = |name: &str| object.map().get(name).unwrap_or(&Value::Null);
        Self { metadata: part("metadata"), spec: part("spec") }
    }

    pub(super) fn of(template: &'a Value) -> Self {
        Self { metadata: &template["metadata"], spec: &template["spec"] }
    }

    fn annotations(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.metadata["annotations"].as_object().into_iter().flatten();
        all.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
    }

    fn context(self) -> &'a Value {
        &self.spec["securityContext"]
    }

    fn containers(self) -> impl Iterator<Item = Container<'a>> {
        let lists = ["initContainers", "containers", "ephemeralContainers"];
        let all = lists.into_iter().filter_map(move |list| self.spec[list].as_array()).flatten();
        all.map(Container)
    }

    fn is_windows(self) -> bool {
        self.spec["os"]["name"] == "windows"
    }

    /// Root in it is nobody outside.
    fn is_in_user_namespace(self) -> bool {
        self.spec["hostUsers"] == false
    }

    fn volumes(self) -> impl Iterator<Item = &'a Value> {
        self.spec["volumes"].as_array().into_iter().flatten()
    }
}

#[derive(Debug, Clone, Copy)]
struct Container<'a>(&'a Value);

impl<'a> Container<'a> {
    fn name(self) -> &'a str {
        self.0["name"].as_str().unwrap_or_default()
    }

    fn context(self) -> &'a Value {
        &self.0["securityContext"]
    }
}

/// What a rule has against a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) reason: String,
    detail: String,
}

fn finding(reason: &str, detail: impl Into<String>) -> Option<Finding> {
    Some(Finding { reason: reason.to_owned(), detail: detail.into() })
}

/// What all rules have against a pod; shown with details.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<Finding>);

impl Findings {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Finding { reason, detail }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match detail.as_str() {
                "" => write!(f, "{comma}{reason}")?,
                detail => write!(f, "{comma}{reason} ({detail})")?,
            }
        }
        Ok(())
    }
}

type Rule = fn(Pod<'_>) -> Option<Finding>;

/// A rule through the versions: from which minor version on it reads how.
struct Check {
    versions: &'static [(u32, Rule)],
    /// The stricter rule of the restricted level, if there is one, and since when.
    replaced: Option<u32>,
}

const fn check(versions: &'static [(u32, Rule)], replaced: Option<u32>) -> Check {
    Check { versions, replaced }
}

/// In the order messages have.
const BASELINE: [Check; 12] = [
    check(&[(0, baseline::app_armor)], None),
    check(&[(0, baseline::capabilities)], Some(22)),
    check(&[(0, baseline::host_namespaces)], None),
    check(&[(0, baseline::host_path)], Some(0)),
    check(&[(0, baseline::host_ports)], None),
    check(&[(34, baseline::probe_hosts)], None),
    check(&[(0, baseline::privileged)], None),
    check(
        &[(0, baseline::proc_mount), (35, baseline::proc_mount_outside_user_namespaces)],
        Some(35),
    ),
    check(&[(0, baseline::selinux), (31, baseline::selinux_31)], None),
    check(&[(0, baseline::seccomp_annotations), (19, baseline::seccomp)], Some(19)),
    check(
        &[
            (0, baseline::sysctls),
            (27, baseline::sysctls_27),
            (29, baseline::sysctls_29),
            (32, baseline::sysctls_32),
        ],
        None,
    ),
    check(&[(0, baseline::host_process)], None),
];

const RESTRICTED: [Check; 7] = [
    check(&[(8, restricted::escalation), (25, restricted::escalation_25)], None),
    check(&[(22, restricted::capabilities), (25, restricted::capabilities_25)], None),
    check(&[(35, baseline::proc_mount)], None),
    check(&[(0, restricted::volumes)], None),
    check(&[(0, restricted::non_root), (35, restricted::non_root_35)], None),
    check(&[(23, restricted::user), (35, restricted::user_35)], None),
    check(&[(19, restricted::seccomp), (25, restricted::seccomp_25)], None),
];

/// What a level of a version has against a pod.
pub(super) fn evaluate(policy: LevelVersion, pod: Pod<'_>) -> Findings {
    if policy.level == Level::Privileged {
        return Findings::default();
    }
    let strict = policy.level == Level::Restricted;
    let baseline = BASELINE.iter().filter(|check| {
        let replaced = check.replaced.is_some_and(|since| policy.version.has(since));
        !(strict && replaced)
    });
    let restricted = RESTRICTED.iter().filter(|_| strict);
    let rules = baseline.chain(restricted).filter_map(|check| {
        let known = check.versions.iter().rev();
        known.into_iter().find(|(since, _)| policy.version.has(*since)).map(|(_, rule)| rule)
    });
    Findings(rules.filter_map(|rule| rule(pod)).collect())
}

fn quoted<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.into_iter().collect();
    if items.is_empty() { String::new() } else { format!("\"{}\"", items.join("\", \"")) }
}

fn quoted_set(items: &BTreeSet<String>) -> String {
    quoted(items.iter().map(String::as_str))
}

fn one_or<'a>(count: usize, one: &'a str, more: &'a str) -> &'a str {
    if count == 1 { one } else { more }
}

/// `container "a"` or `containers "a", "b"`.
fn named(containers: &[&str]) -> String {
    let word = one_or(containers.len(), "container", "containers");
    format!("{word} {}", quoted(containers.iter().copied()))
}

/// Who sets something: the pod, containers, or both.
fn setters(pod: bool, containers: &[&str]) -> Vec<String> {
    let pod = pod.then(|| "pod".to_owned());
    let containers = (!containers.is_empty()).then(|| named(containers));
    pod.into_iter().chain(containers).collect()
}

/// The names of containers of which this is true.
fn which<'a>(pod: Pod<'a>, mut bad: impl FnMut(Container<'a>) -> bool) -> Vec<&'a str> {
    pod.containers().filter(|container| bad(*container)).map(Container::name).collect()
}

#[cfg(test)]
mod tests;
