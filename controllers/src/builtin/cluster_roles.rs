use super::pods::selects;
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_client::ObjectKey;
use serde_json::json;

/// Fills aggregated ClusterRoles with the rules of those they select.
pub(super) struct ClusterRoles;

#[async_trait]
impl Controller for ClusterRoles {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "clusterrole-aggregation-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let roles = sources.informer::<ClusterRole>();
        sources.watch::<ClusterRole>(move |_| {
            // Any role may be selected by any aggregated one, and there are few of those.
            let all = roles.list();
            let aggregated = all.iter().filter(|role| role.aggregation_rule.is_some());
            aggregated.map(|role| ObjectKey::of(&**role)).collect()
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let roles = context.informers().of::<ClusterRole>();
        let Some(role) = roles.get("", &request.name) else { return Ok(Action::Done) };
        let Some(aggregation) = &role.aggregation_rule else { return Ok(Action::Done) };
        let mut rules: Vec<PolicyRule> = Vec::new();
        for selector in aggregation.cluster_role_selectors.iter().flatten() {
            // The list is ordered by name, so equal input gives equal rules.
            for other in roles.list() {
                let itself = other.metadata.name == role.metadata.name;
                if itself || !selects(selector, other.metadata.labels.as_ref()) {
                    continue;
                }
                for rule in other.rules.iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
        }
        if role.rules.as_deref().unwrap_or_default() == rules {
            return Ok(Action::Done);
        }
        let api: Api<ClusterRole> = Api::all(context.client());
        // The uid keeps it from being made again.
        let patch = Patch::Apply(json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": request.name, "uid": role.metadata.uid}, "rules": rules,
        }));
        let params = PatchParams::apply(self.name()).force();
        api.patch(&request.name, &params, &patch).await?;
        Ok(Action::Done)
    }
}
