//! Which writes a webhook, a policy or a binding looks at: rules, selectors, and other versions.

use crate::{
    attributes::{Matched, is_namespace, namespace, operation},
    shared::Shared,
};
use kubeplane_core::{
    Definition, GroupResource,
    admission::{Operation, Request},
    selector::LabelSelector,
    status::{ApiError, ApiResult},
};
use serde_json::Value;
use std::sync::Arc;

/// One rule with its operations.
#[derive(Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    scope: String,
    /// The names it is for; empty for all.
    names: Vec<String>,
}

fn texts(value: &Value, key: &str) -> Vec<String> {
    let list = value.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn any_or(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        let split = |name: String| match name.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (name, String::new()),
        };
        Self {
            operations: texts(rule, "operations"),
            groups: texts(rule, "apiGroups"),
            versions: texts(rule, "apiVersions"),
            resources: texts(rule, "resources").into_iter().map(split).collect(),
            scope: rule.get("scope").and_then(Value::as_str).unwrap_or("*").to_owned(),
            names: texts(rule, "resourceNames"),
        }
    }

    fn list(rules: Option<&Value>) -> Vec<Self> {
        let rules = rules.and_then(Value::as_array).into_iter().flatten();
        rules.map(Self::parse).collect()
    }

    fn matches(&self, request: &Request<'_>, definition: &Definition) -> bool {
        let is = |own: &str, wanted: &str| own == "*" || own == wanted;
        let clustered = is_namespace(definition) || namespace(request).is_empty();
        let in_scope = match self.scope.as_str() {
            "Namespaced" => !clustered,
            "Cluster" => clustered,
            scope => scope == "*",
        };
        in_scope
            && any_or(&self.operations, operation(request.operation))
            && any_or(&self.groups, &definition.kind.group)
            && any_or(&self.versions, &definition.kind.version)
            && self.resources.iter().any(|(resource, subresource)| {
                is(resource, &definition.plural) && is(subresource, request.subresource)
            })
            && (self.names.is_empty() || self.names.iter().any(|name| name == request.name))
    }
}

/// Everything that decides, before expressions, whether a write is looked at.
#[derive(Debug)]
pub(crate) struct Matching {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    /// No rules mean everything, as in a policy.
    open: bool,
    equivalent: bool,
    namespaces: Result<LabelSelector, String>,
    objects: Result<LabelSelector, String>,
}

fn selector(value: Option<&Value>) -> Result<LabelSelector, String> {
    match value {
        None | Some(Value::Null) => Ok(LabelSelector::everything()),
        value => LabelSelector::from_json(value).map_err(|error| error.to_string()),
    }
}

impl Matching {
    /// Of a webhook.
    pub(crate) fn of_webhook(webhook: &Value) -> Self {
        Self { open: false, ..Self::parse(webhook, "rules") }
    }

    /// Of the MatchResources of a policy or a binding.
    pub(crate) fn of_resources(resources: &Value) -> Self {
        Self::parse(resources, "resourceRules")
    }

    fn parse(value: &Value, rules: &str) -> Self {
        Self {
            rules: Rule::list(value.get(rules)),
            excluded: Rule::list(value.get("excludeResourceRules")),
            open: true,
            equivalent: value.get("matchPolicy").and_then(Value::as_str) == Some("Equivalent"),
            namespaces: selector(value.get("namespaceSelector")),
            objects: selector(value.get("objectSelector")),
        }
    }

    /// The version in which a write is looked at; `None` when it is not.
    ///
    /// # Errors
    /// When a selector is malformed or the namespace cannot be read.
    pub(crate) async fn matches(
        &self,
        shared: &Shared,
        request: &Request<'_>,
    ) -> ApiResult<Option<Matched>> {
        if !self.excluded.is_empty() && self.by_rules(&self.excluded, shared, request).is_some() {
            return Ok(None);
        }
        let found = match self.open && self.rules.is_empty() {
            true => Some(request.definition.clone()),
            false => self.by_rules(&self.rules, shared, request),
        };
        let Some(definition) = found else { return Ok(None) };
        if !self.objects_match(request)? || !self.namespace_matches(request).await? {
            return Ok(None);
        }
        Ok(Some(Matched::new(&definition, request.subresource)))
    }

    fn by_rules(
        &self,
        rules: &[Rule],
        shared: &Shared,
        request: &Request<'_>,
    ) -> Option<Arc<Definition>> {
        if rules.iter().any(|rule| rule.matches(request, request.definition)) {
            return Some(request.definition.clone());
        }
        let server = shared.server().filter(|_| self.equivalent && !rules.is_empty())?;
        let others =
            server.equivalents.of(&server.registry, request.definition, request.subresource);
        let mut pairs = rules.iter().flat_map(|rule| others.iter().map(move |other| (rule, other)));
        let found = pairs.find(|(rule, other)| rule.matches(request, other));
        found.map(|(_, other)| other.clone())
    }

    fn objects_match(&self, request: &Request<'_>) -> ApiResult<bool> {
        let selector = self.objects.as_ref().map_err(ApiError::internal)?;
        if selector.is_everything() {
            return Ok(true);
        }
        // What is connected with has no labels, not even none.
        let new = request.object.as_deref().filter(|_| request.operation != Operation::Connect);
        Ok(new.into_iter().chain(request.old).any(|object| selector.matches_object(object)))
    }

    async fn namespace_matches(&self, request: &Request<'_>) -> ApiResult<bool> {
        let selector = self.namespaces.as_ref().map_err(ApiError::internal)?;
        let own = is_namespace(request.definition);
        let name = namespace(request);
        if selector.is_everything() || name.is_empty() && !own {
            return Ok(true);
        }
        let written = matches!(request.operation, Operation::Create | Operation::Update);
        if own && request.subresource.is_empty() && written {
            return Ok(request.object.as_deref().is_some_and(|new| selector.matches_object(new)));
        }
        let namespaces = GroupResource::new("", "namespaces");
        let mut found = request.reader.get(&namespaces, "", name).await?;
        if found.is_none() {
            found = request.reader.get_fresh(&namespaces, "", name).await?;
        }
        let found = found.ok_or_else(|| ApiError::not_found(&namespaces, name))?;
        Ok(selector.matches_object(&found))
    }
}
