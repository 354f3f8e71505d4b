use async_trait::async_trait;
use kubeplane_core::auth::{Attributes, Authorizer, Decision, GROUP_MASTERS};

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
}
