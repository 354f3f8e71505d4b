use async_trait::async_trait;
use kubeplane_core::{
    ApiError, Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    status::{ApiResult, Cause},
};

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Lets objects be written into namespaces that exist, and created in those that are not terminating.
#[derive(Debug, Default)]
pub struct NamespaceLifecycle;

#[async_trait]
impl Admission for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, _subresource: &str) -> bool {
        match operation {
            Operation::Delete => is_namespace(definition),
            Operation::Create | Operation::Update => {
                definition.is_namespaced() && definition.plural != "localsubjectaccessreviews"
            }
            Operation::Connect => false,
        }
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        if request.operation == Operation::Delete {
            let immortal = IMMORTAL.contains(&request.name) && request.subresource.is_empty();
            if immortal {
                let resource = request.definition.resource();
                return Err(ApiError::forbidden(
                    &resource,
                    request.name,
                    "this namespace may not be deleted",
                ));
            }
            return Ok(());
        }
        if request.namespace.is_empty() {
            return Ok(());
        }
        let namespaces = GroupResource::new("", "namespaces");
        // A namespace made or deleted a moment ago must be seen as it is, not as the cache has it.
        let found = match request.operation {
            Operation::Create => {
                request.reader.get_fresh(&namespaces, "", request.namespace).await?
            }
            _ => match request.reader.get(&namespaces, "", request.namespace).await? {
                None => request.reader.get_fresh(&namespaces, "", request.namespace).await?,
                known => known,
            },
        };
        let found = found.ok_or_else(|| ApiError::not_found(&namespaces, request.namespace))?;
        let terminating = found.text(&["status", "phase"]) == "Terminating" || found.is_deleting();
        if request.operation == Operation::Create && terminating {
            return Err(refused(request));
        }
        Ok(())
    }
}

fn is_namespace(definition: &Definition) -> bool {
    definition.plural == "namespaces" && definition.kind.group.is_empty()
}

fn refused(request: &Request<'_>) -> ApiError {
    let namespace = request.namespace;
    let object = request.object.as_deref();
    let name = match request.name {
        "" => object.map(Object::name).filter(|name| !name.is_empty()),
        name => Some(name),
    };
    let generated = object.map(|object| object.text(&["metadata", "generateName"]));
    let name = name.or(generated.filter(|name| !name.is_empty())).unwrap_or("Unknown");
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let error = ApiError::forbidden(&request.definition.resource(), name, why);
    let mut details = error.details().cloned().unwrap_or_default();
    details.causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    error.with_details(details)
}
