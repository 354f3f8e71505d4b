//! An APIService for every group version this server serves by itself.

use super::Bootstrap;
use futures::future::try_join_all;
use http::StatusCode;
use kubeplane_apiserver::{DeleteOptions, Preconditions};
use kubeplane_core::{GroupResource, GroupVersion, Object, status::ApiResult};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const GROUP: &str = "apiregistration.k8s.io";
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
/// Made once, when a server starts.
const AT_START: &str = "onstart";
/// Made and removed with the CustomResourceDefinitions of its group version.
const ALWAYS: &str = "true";
/// The importance of groups that CustomResourceDefinitions make, and of their versions.
const CUSTOM: (i64, i64) = (1000, 100);

/// The importance of a built-in group and of this version in it; `None` for others.
fn priority(version: &GroupVersion) -> Option<(i64, i64)> {
    let group = match version.group.as_ref() {
        "" => return Some((18_000, 1)),
        "apps" => 17_800,
        "events.k8s.io" => 17_750,
        "authentication.k8s.io" => 17_700,
        "authorization.k8s.io" => 17_600,
        "autoscaling" => 17_500,
        "batch" => 17_400,
        "certificates.k8s.io" => 17_300,
        "networking.k8s.io" => 17_200,
        "policy" => 17_100,
        "rbac.authorization.k8s.io" => 17_000,
        "storage.k8s.io" => 16_800,
        "apiextensions.k8s.io" | "admissionregistration.k8s.io" => 16_700,
        "scheduling.k8s.io" => 16_600,
        "coordination.k8s.io" => 16_500,
        "node.k8s.io" => 16_300,
        "discovery.k8s.io" | "resource.k8s.io" => 16_200,
        "flowcontrol.apiserver.k8s.io" => 16_100,
        _ => return None,
    };
    let version = match (version.group.as_ref(), version.version.as_ref()) {
        ("autoscaling", "v2") => 30,
        ("flowcontrol.apiserver.k8s.io" | "resource.k8s.io", "v1") => 21,
        (_, "v1") => 15,
        ("resource.k8s.io", "v1beta2") => 15,
        ("scheduling.k8s.io", "v1alpha2") => 2,
        (_, version) if version.contains("alpha") => 1,
        _ => 9,
    };
    Some((group, version))
}

fn name(version: &GroupVersion) -> String {
    format!("{}.{}", version.version, version.group)
}

fn resource() -> GroupResource {
    GroupResource::new(GROUP, "apiservices")
}

/// Whether a CustomResourceDefinition has been found good to serve.
fn serves(definition: &Object) -> bool {
    let conditions = definition.at(&["status", "conditions"]).and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Established" && one["status"] == "True")
}

impl Bootstrap {
    fn served(&self) -> BTreeSet<GroupVersion> {
        let all = self.api.registry().all();
        let versions = all.iter().map(|resource| resource.definition().group_version());
        // What registers others is not registered itself.
        versions.filter(|version| version.group != GROUP).collect()
    }

    /// The versions that stored CustomResourceDefinitions are to be served in. After a start they are served a moment
    /// later than the rest; their APIServices stay what they are meanwhile.
    async fn defined(&self) -> ApiResult<BTreeSet<GroupVersion>> {
        let definitions = GroupResource::new("apiextensions.k8s.io", "customresourcedefinitions");
        if self.api.registry().resource(&definitions).is_none() {
            return Ok(BTreeSet::new());
        }
        let stored = self.api.list_stored(&definitions, "").await?;
        let established = stored.iter().filter(|stored| !stored.is_deleting() && serves(stored));
        let versions = established.flat_map(|definition| {
            let group = definition.text(&["spec", "group"]);
            let versions = definition.at(&["spec", "versions"]).and_then(Value::as_array);
            let served = versions.into_iter().flatten().filter(|version| version["served"] == true);
            let names = served.filter_map(|version| version["name"].as_str());
            names.map(|version| GroupVersion::new(group.to_owned(), version.to_owned()))
        });
        Ok(versions.collect())
    }

    /// Makes the APIServices that are missing, and removes those of definitions that are gone.
    pub(super) async fn ensure_api_services(&self) -> ApiResult<()> {
        let served = self.served();
        let made = served.iter().map(|version| {
            let (managed, (group, own)) =
                priority(version).map_or((ALWAYS, CUSTOM), |known| (AT_START, known));
            let service = json!({"metadata": {"name": name(version), "labels": {MANAGED: managed}},
                "spec": {"group": version.group, "version": version.version,
                    "groupPriorityMinimum": group, "versionPriority": own}});
            self.ensure(GROUP, "apiservices", "", service)
        });
        try_join_all(made).await?;
        let mut names: BTreeSet<_> = served.iter().map(name).collect();
        names.extend(self.defined().await?.iter().map(name));
        for service in self.api.list_stored(&resource(), "").await? {
            if service.label(MANAGED) == Some(ALWAYS) && !names.contains(service.name()) {
                self.remove_api_service(&service).await?;
            }
        }
        Ok(())
    }

    async fn remove_api_service(&self, service: &Object) -> ApiResult<()> {
        let uid = Some(service.uid().to_owned());
        let preconditions = Preconditions { uid, resource_version: None };
        let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
        match self.api.delete(&resource(), "", service.name(), options).await {
            Err(error) if !matches!(error.code(), StatusCode::NOT_FOUND | StatusCode::CONFLICT) => {
                Err(error)
            }
            _ => Ok(()),
        }
    }
}
