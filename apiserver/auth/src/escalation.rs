use crate::{
    Rbac,
    rbac::{GROUP, PolicyRule, rules_in},
};
use async_trait::async_trait;
use k8s_openapi::api::rbac::v1::RoleRef;
use kubeplane_core::{
    Definition, Object,
    admission::{Admission, Does, Operation, Request},
    auth::{Attributes, Authorizer, Decision, GROUP_MASTERS},
    status::{ApiError, ApiResult},
};
use serde::Deserialize;
use std::{collections::BTreeSet, sync::Arc};

/// Keeps users from granting what they do not hold: a role may be written by those who hold all of its
/// rules (or the verb `escalate` on it), a binding by those who hold all rules of its role (or the verb
/// `bind` on it).
#[derive(Debug)]
pub struct RbacEscalation {
    rbac: Arc<Rbac>,
}

impl RbacEscalation {
    /// Asks `rbac` who holds what.
    #[must_use]
    pub fn new(rbac: Arc<Rbac>) -> Self {
        Self { rbac }
    }

    async fn may(&self, request: &Request<'_>, verb: &str, resource: &str, name: &str) -> bool {
        let attributes = Attributes {
            user: Arc::new(request.user.clone()),
            verb: verb.into(),
            namespace: request.namespace.into(),
            group: GROUP.into(),
            version: "*".into(),
            resource: resource.into(),
            name: name.into(),
            ..Attributes::default()
        };
        matches!(self.rbac.authorize(&attributes).await, Decision::Allow(_))
    }

    async fn check_role(&self, request: &Request<'_>, object: &Object) -> ApiResult<()> {
        if self.may(request, "escalate", &request.definition.plural, request.name).await {
            return Ok(());
        }
        let rules = rules_in(object);
        self.confirm(request, &rules).await?;
        let aggregates =
            |object: &Object| object.at(&["aggregationRule"]).is_some_and(|rule| !rule.is_null());
        if aggregates(object) || request.old.is_some_and(aggregates) {
            let everything = PolicyRule {
                verbs: vec!["*".into()],
                api_groups: vec!["*".into()],
                resources: vec!["*".into()],
                ..PolicyRule::default()
            };
            let every_path = PolicyRule {
                verbs: vec!["*".into()],
                non_resource_urls: vec!["*".into()],
                ..PolicyRule::default()
            };
            if self.confirm(request, &[everything, every_path]).await.is_err() {
                let why = "must have cluster-admin privileges to use the aggregationRule";
                return Err(ApiError::forbidden(
                    &request.definition.resource(),
                    object.name(),
                    why,
                ));
            }
        }
        Ok(())
    }

    async fn check_binding(&self, request: &Request<'_>, object: &Object) -> ApiResult<()> {
        let role = object
            .at(&["roleRef"])
            .and_then(|value| RoleRef::deserialize(value).ok())
            .unwrap_or_default();
        let resource = if role.kind == "Role" { "roles" } else { "clusterroles" };
        if self.may(request, "bind", resource, &role.name).await {
            return Ok(());
        }
        let rules = self.rbac.role_rules(&role.kind, &role.name, request.namespace).await;
        let rules = rules.map_err(ApiError::internal)?.ok_or_else(|| {
            ApiError::not_found(&kubeplane_core::GroupResource::new(GROUP, resource), &role.name)
        })?;
        self.confirm(request, &rules).await
    }

    async fn confirm(&self, request: &Request<'_>, wanted: &[PolicyRule]) -> ApiResult<()> {
        let held = self
            .rbac
            .rules_of(request.user, request.namespace)
            .await
            .map_err(ApiError::internal)?;
        let missing: BTreeSet<_> = wanted
            .iter()
            .flat_map(PolicyRule::pieces)
            .filter(|piece| !held.iter().any(|rule| rule.covers(piece)))
            .map(|piece| piece.to_string())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let user = request.user;
        let groups: Vec<_> = user.groups.iter().map(|group| format!("{group:?}")).collect();
        let why = format!(
            "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            groups.join(" "),
            missing.into_iter().collect::<Vec<_>>().join("\n")
        );
        Err(ApiError::forbidden(&request.definition.resource(), request.name, why))
    }
}

/// Whether an update touches only metadata the garbage collector works with.
fn only_metadata(object: &Object, old: &Object) -> bool {
    let rest = |object: &Object| {
        let mut map = object.map().clone();
        map.remove("metadata");
        map
    };
    let metadata = |object: &Object| {
        let mut map = object
            .at(&["metadata"])
            .and_then(serde_json::Value::as_object)
            .cloned()
            .unwrap_or_default();
        for key in ["ownerReferences", "finalizers", "managedFields", "resourceVersion"] {
            map.remove(key);
        }
        map
    };
    rest(object) == rest(old) && metadata(object) == metadata(old)
}

#[async_trait]
impl Admission for RbacEscalation {
    fn name(&self) -> &'static str {
        "RbacEscalation"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        definition.kind.group == GROUP
            && subresource.is_empty()
            && matches!(operation, Operation::Create | Operation::Update)
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        if request.user.is_in(GROUP_MASTERS)
            || request.old.is_some_and(|old| only_metadata(object, old))
        {
            return Ok(());
        }
        if request.definition.plural.ends_with("bindings") {
            self.check_binding(request, object).await
        } else {
            self.check_role(request, object).await
        }
    }
}
