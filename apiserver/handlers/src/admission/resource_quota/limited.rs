use kubeplane_core::{GroupResource, Object};
use kubeplane_workload::{
    quota::{Evaluator, Scope, scopes},
    resources::Resources,
};
use serde::Deserialize;
use std::{collections::BTreeSet, sync::Arc};

/// What a configuration is called, and in which versions.
const KINDS: [(&str, &str); 3] = [
    ("apiserver.config.k8s.io/v1", "ResourceQuotaConfiguration"),
    ("resourcequota.admission.k8s.io/v1beta1", "Configuration"),
    ("resourcequota.admission.k8s.io/v1alpha1", "Configuration"),
];

/// Why a configuration of limited resources is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LimitedResourcesError(String);

/// What may only be taken where a quota of the namespace limits it. By default nothing.
#[derive(Debug, Clone, Default)]
pub struct LimitedResources(Vec<Limited>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    #[serde(default)]
    limited_resources: Vec<Limited>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limited {
    /// Empty for the core group.
    #[serde(default)]
    api_group: String,
    #[serde(default)]
    resource: String,
    /// Parts of names, as `requests.storage`, of what must be limited.
    #[serde(default)]
    match_contains: Vec<String>,
    /// What is in one of these must be in such a scope of a quota.
    #[serde(default)]
    match_scopes: Vec<Requirement>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Requirement {
    scope_name: String,
    operator: String,
    #[serde(default)]
    values: Vec<String>,
}

impl LimitedResources {
    /// Of a `ResourceQuotaConfiguration` of `apiserver.config.k8s.io/v1`, or as it was called before.
    ///
    /// # Errors
    /// When it is none, or does not say of which resource it speaks.
    pub fn from_object(object: &Object) -> Result<Self, LimitedResourcesError> {
        let read: Configuration =
            object.decode().map_err(|why| LimitedResourcesError(why.to_string()))?;
        if !KINDS.contains(&(read.api_version.as_str(), read.kind.as_str())) {
            let (kind, version) = (read.kind, read.api_version);
            let why = format!("no ResourceQuotaConfiguration: {kind} of {version}");
            return Err(LimitedResourcesError(why));
        }
        if let Some(index) = read.limited_resources.iter().position(|own| own.resource.is_empty()) {
            let why = format!("limitedResources[{index}].resource: Required value");
            return Err(LimitedResourcesError(why));
        }
        Ok(Self(read.limited_resources))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What of this use of a resource must be limited.
    pub(super) fn names<'u>(&self, of: &GroupResource, usage: &'u Resources) -> BTreeSet<&'u str> {
        let own =
            |limited: &&Limited| of.group == limited.api_group && of.resource == limited.resource;
        let parts: Vec<&str> = self
            .0
            .iter()
            .filter(own)
            .flat_map(|limited| limited.match_contains.iter().map(String::as_str))
            .collect();
        let taken = usage.iter().filter(|(_, amount)| amount.sign() > 0);
        taken
            .map(|(name, _)| name.as_str())
            .filter(|name| parts.iter().any(|part| name.contains(*part)))
            .collect()
    }

    /// The scopes the object is in that must be those of a quota and are not, as the original prints them.
    pub(super) fn open_scopes(
        &self,
        evaluator: &Evaluator,
        object: &Object,
        quotas: &[Arc<Object>],
    ) -> Vec<String> {
        let holds = |scope: &Scope<'_>| evaluator.in_scopes(std::slice::from_ref(scope), object);
        let is_limited = |wanted: &Scope<'_>| {
            quotas
                .iter()
                .any(|quota| scopes(quota).iter().any(|own| own.name == wanted.name && holds(own)))
        };
        let all = self.0.iter().flat_map(|limited| &limited.match_scopes).map(Requirement::scope);
        all.filter(|scope| holds(scope) && !is_limited(scope))
            .map(|scope| {
                format!("{{{} {} [{}]}}", scope.name, scope.operator, scope.values.join(" "))
            })
            .collect()
    }
}

impl Requirement {
    fn scope(&self) -> Scope<'_> {
        Scope {
            name: &self.scope_name,
            operator: &self.operator,
            values: self.values.iter().map(String::as_str).collect(),
        }
    }
}
