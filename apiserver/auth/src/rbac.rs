//! Role-based access control.

mod policy;
mod rule;

pub use rule::PolicyRule;
pub(crate) use rule::rules_in;

use async_trait::async_trait;
use kubeplane_core::{
    GroupResource,
    auth::{Attributes, Authorizer, Decision, UserInfo, UserRule},
    reader::{ObjectChange, ObjectReader},
    status::ApiResult,
};
use parking_lot::RwLock;
use policy::{Grant, Policy};
use std::sync::Arc;

/// The group of the RBAC kinds.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// Decides by Roles, ClusterRoles and their bindings.
///
/// What it derives from them is kept and follows their changes.
#[derive(Debug)]
pub struct Rbac {
    reader: Arc<dyn ObjectReader>,
    kept: RwLock<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    policy: Policy,
    seen: [Seen; 4],
}

/// How much of a resource the policy shows.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The resource's revision at the last look; `None` before the first.
    revision: Option<u64>,
    /// After which revision its changes are still to be asked for; `None` where it cannot be followed.
    through: Option<u64>,
}

/// The four resources, in the order of [`Kept::seen`].
pub(crate) const RESOURCES: [&str; 4] =
    ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

impl Rbac {
    /// Reads roles and bindings through `reader`.
    #[must_use]
    pub fn new(reader: Arc<dyn ObjectReader>) -> Self {
        Self { reader, kept: RwLock::default() }
    }

    /// Shows `look` what roles and bindings say now.
    async fn policy<R>(&self, look: impl FnOnce(&Policy) -> R) -> Result<R, String> {
        if !self.follow() {
            for name in RESOURCES {
                // What cannot be reached is said by the look at everything.
                let _ = self.reader.catch_up(&GroupResource::new(GROUP, name)).await;
            }
            if !self.follow() {
                self.look().await.map_err(|error| error.to_string())?;
            }
        }
        Ok(look(&self.kept.read().policy))
    }

    /// Brings what is kept up to date; whether that was possible. Of many requests that find it old, one does the work.
    fn follow(&self) -> bool {
        let seen = self.kept.read().seen;
        let current = RESOURCES.into_iter().zip(seen).all(|(name, seen)| {
            seen.revision.is_some()
                && self.reader.revision(&GroupResource::new(GROUP, name)) == seen.revision
        });
        if current {
            return true;
        }
        let mut kept = self.kept.write();
        let Kept { policy, seen } = &mut *kept;
        for (name, seen) in RESOURCES.into_iter().zip(seen.iter_mut()) {
            *seen = self.follow_one(name, policy, *seen);
        }
        seen.iter().all(|seen| seen.revision.is_some())
    }

    fn follow_one(&self, name: &'static str, policy: &mut Policy, seen: Seen) -> Seen {
        let resource = GroupResource::new(GROUP, name);
        let Some(now) = self.reader.revision(&resource) else { return Seen::default() };
        if seen.revision == Some(now) {
            return seen;
        }
        // A store that was put back has other changes after the same revision.
        let known = seen.through.filter(|_| seen.revision.is_some_and(|revision| revision < now));
        let changed = known.and_then(|after| {
            self.reader.changes(&resource, Some(after), &mut |change| policy.note(name, &change))
        });
        // A change is in the cache a moment before it is told of.
        let through = changed.filter(|through| *through >= now).or_else(|| {
            let mut anew = Policy::default();
            let mut note = |change: ObjectChange<'_>| anew.note(name, &change);
            let through = self.reader.changes(&resource, None, &mut note)?;
            policy.replace(name, anew);
            Some(through)
        });
        Seen { revision: through.map(|_| now), through }
    }

    /// Looks at everything, where it cannot be followed.
    async fn look(&self) -> ApiResult<()> {
        let mut whole = Kept::default();
        for (name, seen) in RESOURCES.into_iter().zip(&mut whole.seen) {
            let list = self.reader.list(&GroupResource::new(GROUP, name), "").await?;
            list.items.iter().for_each(|object| whole.policy.add(name, object));
            seen.revision = Some(list.revision);
        }
        *self.kept.write() = whole;
        Ok(())
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
        let mut rules = Vec::new();
        let mut keep = |_: &Grant, rule: &PolicyRule| {
            rules.push(rule.clone());
            false
        };
        self.policy(|policy| policy.visit(user, namespace, &mut keep)).await?;
        Ok(rules)
    }

    /// The rules of the role a binding in `namespace` refers to; `None` when there is no such role.
    pub(crate) async fn role_rules(
        &self,
        kind: &str,
        name: &str,
        namespace: &str,
    ) -> Result<Option<Vec<PolicyRule>>, String> {
        self.policy(|policy| policy.role(kind, name, namespace).map(|rules| rules.to_vec())).await
    }
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, request: &Attributes) -> Decision {
        let mut reason = None;
        let mut allowed = |grant: &Grant, rule: &PolicyRule| {
            let allows = rule.allows(request);
            if allows {
                reason = Some(grant.to_string());
            }
            allows
        };
        let looked = self
            .policy(|policy| policy.visit(&request.user, &request.namespace, &mut allowed))
            .await;
        match (looked, reason) {
            (Err(why), _) => Decision::NoOpinion(format!("RBAC: {why}")),
            (Ok(()), Some(grant)) => Decision::Allow(format!("RBAC: allowed by {grant}")),
            (Ok(()), None) => Decision::NoOpinion(String::new()),
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
