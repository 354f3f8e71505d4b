use async_trait::async_trait;
use kubeplane_core::auth::{Attributes, Authorizer, Decision, GROUP_MASTERS, UserInfo, UserRule};

/// Lets members of `system:masters` do everything; has no opinion on others. As in the original this is no rule that is
/// told to who asks for rules.
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

    async fn rules(&self, _user: &UserInfo, _namespace: &str) -> (Vec<UserRule>, bool) {
        (Vec::new(), false)
    }
}
