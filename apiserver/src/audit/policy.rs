//! What is audited, and how closely: `audit.k8s.io/v1` Policy.

use super::{Level, Stage};
use kubeplane_core::{
    auth::Attributes,
    field::{Error, Errors, Path},
    names, yaml,
};
use serde::Deserialize;
use serde_json::Value;

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No YAML.
    #[error("failed decoding: {0}")]
    Yaml(String),
    /// Not of the shape of a policy.
    #[error("failed decoding: {0}")]
    Shape(#[from] serde_json::Error),
    /// Something else.
    #[error("unknown group version field {0} in policy")]
    Kind(String),
    /// It says nothing.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
    /// Rules that make no sense.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Invalid(Errors),
}

/// Which requests are audited: the first rule that matches decides, and what none matches is not audited.
///
/// ```
/// let policy: kubeplane_apiserver::audit::Policy = "
/// apiVersion: audit.k8s.io/v1
/// kind: Policy
/// omitStages: [RequestReceived]
/// rules:
/// - level: Request
///   resources: [{group: '', resources: [configmaps]}]
/// - level: Metadata
/// ".parse()?;
/// assert_eq!(policy.rules().len(), 2);
/// # Ok::<_, kubeplane_apiserver::audit::PolicyError>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

/// One rule.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// How one request is audited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How closely.
    pub level: Level,
    /// Stages at which no event is made.
    pub omit_stages: Vec<Stage>,
    /// Leave `managedFields` out of what is recorded.
    pub omit_managed_fields: bool,
}

impl std::str::FromStr for Policy {
    type Err = PolicyError;

    /// From YAML or JSON.
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let value =
            yaml::parse(text.as_bytes()).map_err(|error| PolicyError::Yaml(error.to_string()))?;
        let named = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let (version, kind) = (named("apiVersion"), named("kind"));
        if version != "audit.k8s.io/v1" || kind != "Policy" {
            return Err(PolicyError::Kind(format!("{version}, Kind={kind}")));
        }
        let policy: Self = serde_json::from_value(without_nulls(value))?;
        let errors = policy.errors();
        match (errors.is_empty(), policy.rules.is_empty()) {
            (false, _) => Err(PolicyError::Invalid(errors)),
            (true, true) => Err(PolicyError::Empty),
            (true, false) => Ok(policy),
        }
    }
}

/// Nothing and null mean the same in Go.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

impl Policy {
    /// The rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// How a request is audited.
    #[must_use]
    pub fn judge(&self, request: &Attributes) -> Verdict {
        let Some(rule) = self.rules.iter().find(|rule| rule.matches(request)) else {
            return Verdict {
                level: Level::None,
                omit_stages: Vec::new(),
                omit_managed_fields: false,
            };
        };
        let omitted = rule.omit_stages.iter().chain(&self.omit_stages);
        Verdict {
            level: Level::parse(&rule.level).unwrap_or(Level::None),
            omit_stages: omitted.filter_map(|stage| Stage::parse(stage)).collect(),
            omit_managed_fields: rule.omit_managed_fields.unwrap_or(self.omit_managed_fields),
        }
    }

    fn errors(&self) -> Errors {
        let mut errors = Errors::new();
        stages(&self.omit_stages, &Path::new("omitStages"), &mut errors);
        for (index, rule) in self.rules.iter().enumerate() {
            rule.check(&Path::new("rules").index(index), &mut errors);
        }
        errors
    }
}

fn stages(named: &[String], path: &Path, errors: &mut Errors) {
    for (index, stage) in named.iter().enumerate() {
        if Stage::parse(stage).is_none() {
            let names = Stage::ALL.map(Stage::as_str).join(",");
            let why = format!("allowed stages are {names}");
            errors.push(Error::invalid(&path.index(index), stage.as_str(), why));
        }
    }
}

impl Rule {
    fn check(&self, path: &Path, errors: &mut Errors) {
        let level = path.child("level");
        if self.level.is_empty() {
            errors.push(Error::required(&level, ""));
        } else if Level::parse(&self.level).is_none() {
            errors.push(Error::not_supported(&level, &*self.level, &Level::ALL.map(Level::as_str)));
        }
        let urls = path.child("nonResourceURLs");
        for (index, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*")
        {
            if !url.starts_with('/') {
                let why = "non-resource URL rules must begin with a '/' character";
                errors.push(Error::invalid(&urls.index(index), url.as_str(), why));
            }
            if url.find('*').is_some_and(|star| star + 1 < url.len()) {
                let why = "non-resource URL wildcards '*' must be the final character of the rule";
                errors.push(Error::invalid(&urls.index(index), url.as_str(), why));
            }
        }
        let resources = path.child("resources");
        for one in &self.resources {
            if !one.group.is_empty() && one.group != "*" {
                let problems = names::is_dns1123_subdomain(&one.group).join(",");
                if !problems.is_empty() {
                    errors.push(Error::invalid(&resources.child("group"), &*one.group, problems));
                }
            }
            if !one.resource_names.is_empty() && one.resources.is_empty() {
                let why = "using resourceNames requires at least one resource";
                let names = serde_json::json!(one.resource_names);
                errors.push(Error::invalid(&resources.child("resourceNames"), names, why));
            }
        }
        stages(&self.omit_stages, &path.child("omitStages"), errors);
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if !self.non_resource_urls.is_empty() && of_resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(Error::invalid(&urls, serde_json::json!(self.non_resource_urls), why));
        }
    }

    fn matches(&self, request: &Attributes) -> bool {
        let among = |list: &[String], value: &str| list.iter().any(|one| one == value);
        let user = &request.user;
        if !self.users.is_empty() && !among(&self.users, &user.name)
            || !self.user_groups.is_empty()
                && !user.groups.iter().any(|group| among(&self.user_groups, group))
            || !self.verbs.is_empty() && !among(&self.verbs, &request.verb)
        {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return request.is_resource()
                && (self.namespaces.is_empty() || among(&self.namespaces, &request.namespace))
                && (self.resources.is_empty()
                    || self.resources.iter().any(|one| one.matches(request)));
        }
        self.non_resource_urls.is_empty()
            || !request.is_resource()
                && self.non_resource_urls.iter().any(|url| path_matches(&request.path, url))
    }
}

fn path_matches(path: &str, wanted: &str) -> bool {
    let begin = wanted.strip_suffix('*');
    wanted == path || begin.is_some_and(|begin| path.starts_with(begin))
}

impl GroupResources {
    fn matches(&self, request: &Attributes) -> bool {
        if self.group != request.group && self.group != "*" {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let names = &self.resource_names;
        let named = names.is_empty() || names.contains(&request.name);
        let (resource, part) = (request.resource.as_str(), request.subresource.as_str());
        let whole = match part {
            "" => resource.to_owned(),
            part => format!("{resource}/{part}"),
        };
        named
            && self.resources.iter().any(|wanted| {
                *wanted == whole
                    || wanted == "*"
                    || !part.is_empty() && wanted.strip_prefix("*/") == Some(part)
                    || wanted.strip_suffix("/*") == Some(resource)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_core::auth::UserInfo;
    use std::sync::Arc;

    fn policy(rules: &str) -> Policy {
        format!(
            "{{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [Panic], rules: {rules}}}"
        )
        .parse()
        .unwrap()
    }

    fn wanted(verb: &str, resource: &str, part: &str) -> Attributes {
        Attributes {
            user: Arc::new(UserInfo::new("ann", ["people"])),
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            subresource: part.to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            path: "/healthz/etcd".to_owned(),
            ..Attributes::default()
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = policy(
            "[{level: None, users: [bob]}, {level: RequestResponse, userGroups: [people], verbs: [update]}, \
              {level: Request, resources: [{resources: ['*/log', pods/exec, services]}], omitStages: [RequestReceived]}, \
              {level: Metadata, namespaces: [default], resources: [{resources: [pods/*], resourceNames: [web]}]}]",
        );
        let level = |verb, resource, part| policy.judge(&wanted(verb, resource, part)).level;
        assert_eq!(level("update", "pods", ""), Level::RequestResponse);
        assert_eq!(level("get", "pods", "log"), Level::Request);
        assert_eq!(level("get", "pods", "exec"), Level::Request);
        assert_eq!(level("get", "services", "proxy"), Level::None);
        assert_eq!(level("get", "pods", ""), Level::Metadata);
        assert_eq!(level("get", "", ""), Level::None);
        let omitted = policy.judge(&wanted("get", "services", "")).omit_stages;
        assert_eq!(omitted, [Stage::RequestReceived, Stage::Panic]);
    }

    #[test]
    fn paths_are_matched_to_their_end_or_to_a_star() {
        let level = |url: &str| {
            let policy = policy(&format!("[{{level: Metadata, nonResourceURLs: ['{url}']}}]"));
            (
                policy.judge(&wanted("get", "", "")).level,
                policy.judge(&wanted("get", "pods", "")).level,
            )
        };
        assert_eq!(level("/healthz*"), (Level::Metadata, Level::None));
        assert_eq!(level("/healthz"), (Level::None, Level::None));
        assert_eq!(level("*"), (Level::Metadata, Level::None));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let error = |rules: &str| {
            let text = format!("{{apiVersion: audit.k8s.io/v1, kind: Policy, rules: {rules}}}");
            text.parse::<Policy>().unwrap_err().to_string()
        };
        assert_eq!(error("[]"), "loaded illegal policy with 0 rules");
        assert_eq!(error("[{}]"), "rules[0].level: Required value");
        assert!(error("[{level: All}]").starts_with("rules[0].level: Unsupported value: \"All\""));
        assert!(error("[{level: None, nonResourceURLs: [a*b]}]").contains("must be the final"));
        assert!(error("[{level: None, omitStages: [Late]}]").contains("allowed stages are"));
        let other = "{apiVersion: v1, kind: Pod}".parse::<Policy>().unwrap_err().to_string();
        assert!(other.contains("unknown group version"), "{other}");
    }
}
