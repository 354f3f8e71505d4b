use super::{is_core, items, refuse};
use async_trait::async_trait;
use kubeplane_core::{
    Definition,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};

/// Refuses new external addresses of Services, which could take traffic that is not theirs.
#[derive(Debug, Clone, Copy, Default)]
pub struct DenyServiceExternalIPs;

#[async_trait]
impl Admission for DenyServiceExternalIPs {
    fn name(&self) -> &'static str {
        "DenyServiceExternalIPs"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && subresource.is_empty()
            && is_core(definition, "services")
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(service) = request.object.as_deref() else { return Ok(()) };
        let path = ["spec", "externalIPs"];
        let old = request.old.map(|old| items(old, &path)).unwrap_or_default();
        if items(service, &path).iter().all(|address| old.contains(address)) {
            return Ok(());
        }
        Err(refuse(request, "Use of external IPs is denied by admission control"))
    }
}
