use async_trait::async_trait;
use kubeplane_core::auth::{Attributes, Authorizer, Decision, GROUP_MASTERS, UserInfo, UserRule};

/// Lets members of `system:masters` do everything; has no opinion on others.
#[derive(Debug, Clone, Copy, Default)]
pub struct Masters;

#[async_trait]
impl Authorizer for Masters {
    async fn authorize(&self, request: &Attributes) -> Decision {
        if request.user.is_in(GROUP_MASTERS) {
            Decision::Allow(String::new())
        } else {
            Decision::NoOpinion(String::new())
        }
    }

    async fn rules(&self, user: &UserInfo, _namespace: &str) -> (Vec<UserRule>, bool) {
        if !user.is_in(GROUP_MASTERS) {
            return (Vec::new(), false);
        }
        let every = || vec!["*".to_owned()];
        let resources = UserRule {
            verbs: every(),
            api_groups: every(),
            resources: every(),
            ..UserRule::default()
        };
        let paths = UserRule { verbs: every(), non_resource_urls: every(), ..UserRule::default() };
        (vec![resources, paths], false)
    }
}
