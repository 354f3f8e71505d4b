use k8s_openapi::api::rbac::v1 as api;
use kubeplane_core::{
    Object,
    auth::{Attributes, UserRule},
};
use serde::Deserialize;

/// One rule of a role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyRule {
    /// The verbs, or `*`.
    pub verbs: Vec<String>,
    /// The groups, or `*`.
    pub api_groups: Vec<String>,
    /// The resources, `resource/subresource`, `*/subresource` or `*`.
    pub resources: Vec<String>,
    /// The names; empty for all.
    pub resource_names: Vec<String>,
    /// The paths; a trailing `*` stands for anything.
    pub non_resource_urls: Vec<String>,
}

impl From<api::PolicyRule> for PolicyRule {
    fn from(rule: api::PolicyRule) -> Self {
        Self {
            verbs: rule.verbs,
            api_groups: rule.api_groups.unwrap_or_default(),
            resources: rule.resources.unwrap_or_default(),
            resource_names: rule.resource_names.unwrap_or_default(),
            non_resource_urls: rule.non_resource_urls.unwrap_or_default(),
        }
    }
}

/// The rules of a role that can be read.
pub(crate) fn rules_in(object: &Object) -> Vec<PolicyRule> {
    let rules = object.at(&["rules"]).and_then(serde_json::Value::as_array);
    let rules = rules.into_iter().flatten();
    rules.filter_map(|rule| api::PolicyRule::deserialize(rule).ok()).map(Into::into).collect()
}

fn has(list: &[String], value: &str) -> bool {
    list.iter().any(|item| item == "*" || item == value)
}

impl PolicyRule {
    /// Whether the rule allows the request.
    #[must_use]
    pub fn allows(&self, request: &Attributes) -> bool {
        if !has(&self.verbs, &request.verb) {
            return false;
        }
        if !request.is_resource() {
            return self.non_resource_urls.iter().any(|url| url_covers(url, &request.path));
        }
        has(&self.api_groups, &request.group)
            && self
                .resources
                .iter()
                .any(|own| resource_covers(own, &request.resource, &request.subresource))
            && (self.resource_names.is_empty() || self.resource_names.contains(&request.name))
    }

    /// The rule cut into pieces of one verb and one group, resource and name (or path) each.
    pub(crate) fn pieces(&self) -> Vec<Self> {
        let mut pieces = Vec::new();
        for verb in &self.verbs {
            let verbs = vec![verb.clone()];
            for group in &self.api_groups {
                for resource in &self.resources {
                    let piece = Self {
                        verbs: verbs.clone(),
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Self::default()
                    };
                    if self.resource_names.is_empty() {
                        pieces.push(piece);
                        continue;
                    }
                    let named = self.resource_names.iter();
                    pieces.extend(
                        named.map(|name| Self {
                            resource_names: vec![name.clone()],
                            ..piece.clone()
                        }),
                    );
                }
            }
            let paths = self.non_resource_urls.iter();
            pieces.extend(paths.map(|url| Self {
                verbs: verbs.clone(),
                non_resource_urls: vec![url.clone()],
                ..Self::default()
            }));
        }
        pieces
    }

    /// Whether this rule grants all that `piece` (see [`pieces`](Self::pieces)) grants.
    pub(crate) fn covers(&self, piece: &Self) -> bool {
        let all = |own: &[String], theirs: &[String]| theirs.iter().all(|value| has(own, value));
        let resources = |theirs: &str| {
            let (resource, subresource) = theirs.split_once('/').unwrap_or((theirs, ""));
            self.resources
                .iter()
                .any(|own| own == theirs || resource_covers(own, resource, subresource))
        };
        all(&self.verbs, &piece.verbs)
            && all(&self.api_groups, &piece.api_groups)
            && piece.resources.iter().all(|theirs| resources(theirs))
            && (self.resource_names.is_empty()
                || (!piece.resource_names.is_empty()
                    && piece.resource_names.iter().all(|name| self.resource_names.contains(name))))
            && piece
                .non_resource_urls
                .iter()
                .all(|url| self.non_resource_urls.iter().any(|own| url_covers(own, url)))
    }

    pub(crate) fn into_user_rule(self) -> UserRule {
        UserRule {
            verbs: self.verbs,
            api_groups: self.api_groups,
            resources: self.resources,
            resource_names: self.resource_names,
            non_resource_urls: self.non_resource_urls,
        }
    }
}

fn resource_covers(own: &str, resource: &str, subresource: &str) -> bool {
    if own == "*" {
        return true;
    }
    match own.split_once('/') {
        None => subresource.is_empty() && own == resource,
        Some((first, second)) => {
            !subresource.is_empty() && second == subresource && (first == "*" || first == resource)
        }
    }
}

fn url_covers(own: &str, path: &str) -> bool {
    own == "*"
        || own == path
        || own.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// As the original prints a rule in messages.
impl std::fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown = fields.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| {
            let items: Vec<_> = list.iter().map(|item| format!("{item:?}")).collect();
            format!("{name}:[{}]", items.join(" "))
        });
        write!(f, "{{{}}}", shown.collect::<Vec<_>>().join(", "))
    }
}
