use super::{is_core, joined, refuse};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, Object,
    admission::{Admission, Operation, Request},
    field::{Error, Path},
    status::{ApiError, ApiResult},
};
use serde_json::Value;
use std::collections::BTreeSet;

const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Has every container pull its image anew, so that nobody uses one that others had the right to pull.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlwaysPullImages;

fn list<'a>(pod: &'a Object, name: &str) -> impl Iterator<Item = &'a Value> {
    pod.at(&["spec", name]).and_then(Value::as_array).into_iter().flatten()
}

fn images(pod: &Object) -> BTreeSet<&str> {
    LISTS.iter().flat_map(|name| list(pod, name)).filter_map(|one| one["image"].as_str()).collect()
}

fn is_ignored(request: &Request<'_>) -> bool {
    let (Some(pod), Some(old)) = (request.object.as_deref(), request.old) else { return false };
    request.operation == Operation::Update && images(pod).is_subset(&images(old))
}

#[async_trait]
impl Admission for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && subresource.is_empty()
            && is_core(definition, "pods")
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        if is_ignored(request) {
            return Ok(());
        }
        let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
        let spec = pod.map_at_mut(&["spec"]);
        for name in LISTS {
            let all = spec.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten();
            for container in all.filter_map(Value::as_object_mut) {
                container.insert("imagePullPolicy".to_owned(), "Always".into());
            }
        }
        let volumes = spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten();
        for image in volumes.filter_map(|volume| volume.get_mut("image")?.as_object_mut()) {
            image.insert("pullPolicy".to_owned(), "Always".into());
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(pod) = request.object.as_deref().filter(|_| !is_ignored(request)) else {
            return Ok(());
        };
        let spec = Path::new("spec");
        let mut errors: Vec<ApiError> = Vec::new();
        let mut check = |path: Path, policy: &Value| {
            let policy = policy.as_str().unwrap_or_default();
            if policy != "Always" {
                errors.push(refuse(request, Error::not_supported(&path, policy, &["Always"])));
            }
        };
        for name in LISTS {
            for (index, container) in list(pod, name).enumerate() {
                let path = spec.child(name).index(index).child("imagePullPolicy");
                check(path, &container["imagePullPolicy"]);
            }
        }
        for (index, volume) in list(pod, "volumes").enumerate() {
            if volume["image"].is_object() {
                let path = spec.child("volumes").index(index).child("image").child("pullPolicy");
                check(path, &volume["image"]["pullPolicy"]);
            }
        }
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => {
                let all = errors.iter().map(|error| error.message().to_owned()).collect();
                let why = joined(all).unwrap_or_default();
                Err(ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", why))
            }
        }
    }
}
