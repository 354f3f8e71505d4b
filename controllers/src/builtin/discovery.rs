//! Which resources the API server serves.

use crate::Error;
use kube::{
    Discovery,
    discovery::{ApiResource, Scope},
};
use std::collections::HashMap;

/// A resource with what can be done to it.
#[derive(Debug, Clone)]
pub(super) struct Served {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
    verbs: Vec<String>,
}

impl Served {
    pub(super) fn supports(&self, verb: &str) -> bool {
        self.verbs.iter().any(|present| present == verb)
    }
}

/// Everything served, at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Resources {
    /// Each resource once, in its preferred version.
    pub(super) preferred: Vec<Served>,
    /// Every version, by apiVersion and kind.
    pub(super) by_kind: HashMap<(String, String), Served>,
    /// The versions of each group, the preferred one first.
    pub(super) versions: HashMap<String, Vec<String>>,
}

/// Asks the API server.
pub(super) async fn discover(client: kube::Client) -> Result<Resources, Error> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        // Servers of before 1.26 have only the form with one request a group.
        Err(_) => Discovery::new(client).run().await?,
    };
    let mut resources = Resources::default();
    let mut groups: Vec<_> = discovery.groups().collect();
    groups.sort_by_key(|group| group.name());
    for group in groups {
        let preferred = group.preferred_version_or_latest();
        let mut seen: Vec<String> = Vec::new();
        let versions = std::iter::once(preferred)
            .chain(group.versions().filter(|version| *version != preferred));
        for version in versions {
            let known = resources.versions.entry(group.name().to_owned()).or_default();
            known.push(version.to_owned());
            for (resource, capabilities) in group.versioned_resources(version) {
                let namespaced = capabilities.scope == Scope::Namespaced;
                let served = Served {
                    resource: resource.clone(),
                    namespaced,
                    verbs: capabilities.operations,
                };
                let kind = (resource.api_version.clone(), resource.kind.clone());
                resources.by_kind.entry(kind).or_insert_with(|| served.clone());
                if !seen.contains(&resource.plural) {
                    seen.push(resource.plural.clone());
                    resources.preferred.push(served);
                }
            }
        }
    }
    Ok(resources)
}

/// The group versions, as in `metrics.k8s.io/v1beta1`, of which the API server does not know now what they serve, since
/// those who serve them do not answer. Servers of before 1.26 tell of none.
pub(super) async fn stale(client: &kube::Client) -> Vec<String> {
    let Ok(groups) = client.list_api_groups_aggregated().await else { return Vec::new() };
    let mut stale = Vec::new();
    for group in groups.items {
        let name = group.metadata.and_then(|meta| meta.name).unwrap_or_default();
        let versions = group.versions.into_iter();
        let old = versions.filter(|version| version.freshness.as_deref() == Some("Stale"));
        let old = old.filter_map(|version| version.version);
        stale.extend(old.map(|version| format!("{name}/{version}")));
    }
    stale.sort();
    stale
}
