//! Role-based access control.

mod policy;
mod rule;

pub use rule::PolicyRule;

use async_trait::async_trait;
use kubeplane_core::{
    GroupResource,
    auth::{Attributes, Authorizer, Decision, UserInfo, UserRule},
    reader::ObjectReader,
};
use parking_lot::Mutex;
use policy::Policy;
use std::sync::Arc;

/// The group of the RBAC kinds.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// Decides by Roles, ClusterRoles and their bindings.
///
/// What it derives from them is kept until one of the four resources changes.
#[derive(Debug)]
pub struct Rbac {
    reader: Arc<dyn ObjectReader>,
    kept: Mutex<Option<(Revisions, Arc<Policy>)>>,
}

type Revisions = [Option<u64>; 4];

/// The four resources, in the order of [`Policy::read`].
pub(crate) const RESOURCES: [&str; 4] =
    ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

impl Rbac {
    /// Reads roles and bindings through `reader`.
    #[must_use]
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader, kept: Mutex::new(None) }
    }

    async fn policy(&self) -> Result<Arc<Policy>, String> {
        let revisions =
            RESOURCES.map(|name| self.reader.revision(&GroupResource::new(GROUP, name)));
        if let Some((at, policy)) = &*self.kept.lock()
            && *at == revisions
            && revisions.iter().all(Option::is_some)
        {
            return Ok(policy.clone());
        }
        let (read, policy) =
            Policy::read(&*self.reader).await.map_err(|error| error.to_string())?;
        let policy = Arc::new(policy);
        *self.kept.lock() = Some((read.map(Some), policy.clone()));
        Ok(policy)
    }

    /// Every rule that holds for a user in a namespace (empty: cluster-wide only).
    ///
    /// # Errors
    /// When roles or bindings cannot be read.
    pub(crate) async fn rules_of(
        &self,
        user: &UserInfo,
        namespace: &str,
    ) -> Result<Vec<PolicyRule>, String> {
        let policy = self.policy().await?;
        let mut rules = Vec::new();
        policy.visit(user, namespace, &mut |_, rule| {
            rules.push(rule.clone());
            false
        });
        Ok(rules)
    }

    /// The rules of the role a binding in `namespace` refers to; `None` when there is no such role.
    pub(crate) async fn role_rules(
        &self,
        kind: &str,
        name: &str,
        namespace: &str,
    ) -> Result<Option<Vec<PolicyRule>>, String> {
        let policy = self.policy().await?;
        Ok(policy.role(kind, name, namespace).map(|rules| rules.to_vec()))
    }
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, request: &Attributes) -> Decision {
        let policy = match self.policy().await {
            Ok(policy) => policy,
            Err(why) => return Decision::NoOpinion(format!("RBAC: {why}")),
        };
        let mut reason = None;
        policy.visit(&request.user, &request.namespace, &mut |grant, rule| {
            let allows = rule.allows(request);
            if allows {
                reason = Some(grant.to_string());
            }
            allows
        });
        match reason {
            Some(grant) => Decision::Allow(format!("RBAC: allowed by {grant}")),
            None => Decision::NoOpinion(String::new()),
        }
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> (Vec<UserRule>, bool) {
        match self.rules_of(user, namespace).await {
            Ok(rules) => (rules.into_iter().map(PolicyRule::into_user_rule).collect(), false),
            Err(_) => (Vec::new(), true),
        }
    }
}

#[cfg(test)]
mod tests;
