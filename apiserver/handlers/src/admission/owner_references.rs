use super::{is_core, refuse};
use async_trait::async_trait;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kubeplane_core::{
    Definition, GroupVersion, Object,
    admission::{Admission, Does, Operation, Request},
    auth::{Attributes, Decision},
    status::ApiResult,
};
use std::sync::Arc;

/// Lets those change owners who could delete the object, and those hold up the deletion of an owner who could
/// set finalizers on it.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnerReferencesPermissionEnforcement;

/// Why the user may not, if so.
async fn refusal(request: &Request<'_>, wanted: Attributes) -> Option<String> {
    let wanted = Attributes { user: Arc::new(request.user.clone()), ..wanted };
    match request.authorizer.authorize(&wanted).await {
        Decision::Allow(_) => None,
        Decision::Deny(why) | Decision::NoOpinion(why) => Some(why),
    }
}

async fn may_finalize_anything(request: &Request<'_>) -> bool {
    let any = || "*".to_owned();
    let anything = Attributes {
        verb: "update".to_owned(),
        group: any(),
        version: any(),
        resource: any(),
        subresource: "finalizers".to_owned(),
        name: any(),
        ..Attributes::default()
    };
    refusal(request, anything).await.is_none()
}

/// References that hold up the deletion of their owner, and did not before.
fn newly_blocking(owners: Vec<OwnerReference>, old: &[OwnerReference]) -> Vec<OwnerReference> {
    let blocks = |owner: &OwnerReference| owner.block_owner_deletion == Some(true);
    let blocked =
        |owner: &OwnerReference| old.iter().any(|old| old.uid == owner.uid && blocks(old));
    owners.into_iter().filter(|owner| blocks(owner) && !blocked(owner)).collect()
}

async fn check_owner(request: &Request<'_>, owner: &OwnerReference) -> ApiResult<()> {
    let version = GroupVersion::parse(&owner.api_version);
    let found = version.as_ref().and_then(|of| request.reader.definition(of, &owner.kind));
    let (Some(version), Some(found)) = (version, found) else {
        let (version, kind) = (&owner.api_version, &owner.kind);
        let why = format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {version} Kind {kind}: no matches for kind {kind:?} in version {version:?}"
        );
        return Err(refuse(request, why));
    };
    let finalize = Attributes {
        verb: "update".to_owned(),
        group: version.group.to_string(),
        version: version.version.to_string(),
        resource: found.plural.to_string(),
        subresource: "finalizers".to_owned(),
        name: owner.name.clone(),
        namespace: if found.is_namespaced() { request.namespace.to_owned() } else { String::new() },
        ..Attributes::default()
    };
    match refusal(request, finalize).await {
        None => Ok(()),
        Some(why) => Err(refuse(
            request,
            format!(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {why}, <nil>"
            ),
        )),
    }
}

#[async_trait]
impl Admission for OwnerReferencesPermissionEnforcement {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        let by_kubelet = is_core(definition, "pods") && subresource == "status";
        matches!(operation, Operation::Create | Operation::Update) && !by_kubelet
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        let owners = object.owner_references();
        let old = request.old.map(Object::owner_references).unwrap_or_default();
        if owners == old {
            return Ok(());
        }
        if request.operation != Operation::Create {
            let definition = request.definition;
            let delete = Attributes {
                verb: "delete".to_owned(),
                namespace: request.namespace.to_owned(),
                group: definition.kind.group.to_string(),
                version: definition.kind.version.to_string(),
                resource: definition.plural.to_string(),
                subresource: request.subresource.to_owned(),
                name: request.name.to_owned(),
                ..Attributes::default()
            };
            if let Some(why) = refusal(request, delete).await {
                let why =
                    format!("cannot set an ownerRef on a resource you can't delete: {why}, <nil>");
                return Err(refuse(request, why));
            }
        }
        let blocking = newly_blocking(owners, &old);
        if blocking.is_empty() || may_finalize_anything(request).await {
            return Ok(());
        }
        for owner in &blocking {
            check_owner(request, owner).await?;
        }
        Ok(())
    }
}
