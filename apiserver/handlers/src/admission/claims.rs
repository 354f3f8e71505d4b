use super::{is_core, refuse};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    quantity::Quantity,
    status::ApiResult,
};
use serde_json::Value;
use std::{cmp::Reverse, sync::Arc};

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

fn classes() -> GroupResource {
    GroupResource::new("storage.k8s.io", "storageclasses")
}

fn handles_claims(definition: &Definition, subresource: &str) -> bool {
    subresource.is_empty() && is_core(definition, "persistentvolumeclaims")
}

/// Gives claims that name no class the default one; of several, the youngest.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultStorageClass;

#[async_trait]
impl Admission for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && handles_claims(definition, subresource)
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let named = request.object.as_deref().is_none_or(|claim| {
            claim.annotation(CLASS).is_some()
                || claim.at(&["spec", "storageClassName"]).is_some_and(Value::is_string)
        });
        if named || request.reader.revision(&classes()).is_none() {
            return Ok(());
        }
        let all = request.reader.list(&classes(), "").await?.items;
        let is_default =
            |class: &Arc<Object>| DEFAULT.iter().any(|key| class.annotation(key) == Some("true"));
        let made = |class: &Arc<Object>| class.text(&["metadata", "creationTimestamp"]).to_owned();
        let chosen = all
            .into_iter()
            .filter(is_default)
            .min_by_key(|class| (Reverse(made(class)), class.name().to_owned()));
        if let (Some(class), Some(claim)) = (chosen, request.object.as_deref_mut()) {
            claim.set(&["spec", "storageClassName"], class.name());
        }
        Ok(())
    }
}

/// Lets claims grow where their class allows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PersistentVolumeClaimResize;

fn size(claim: &Object) -> Quantity {
    let amount = claim.at(&["spec", "resources", "requests", "storage"]);
    Quantity::from_json(amount.unwrap_or(&Value::Null)).unwrap_or_default()
}

fn class_of(claim: &Object) -> &str {
    claim.annotation(CLASS).unwrap_or_else(|| claim.text(&["spec", "storageClassName"]))
}

#[async_trait]
impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update && handles_claims(definition, subresource)
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let (Some(claim), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        if size(claim) <= size(old) {
            return Ok(());
        }
        if old.text(&["status", "phase"]) != "Bound" {
            return Err(refuse(request, "Only bound persistent volume claims can be expanded"));
        }
        let name = class_of(claim);
        let class = match name.is_empty() || name != class_of(old) {
            true => None,
            // As it is: a class that was changed a moment ago may allow it.
            false => request.reader.get_fresh(&classes(), "", name).await?,
        };
        let grows = class
            .and_then(|class| class.at(&["allowVolumeExpansion"]).and_then(Value::as_bool))
            .unwrap_or_default();
        if grows {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        Err(refuse(request, why))
    }
}
