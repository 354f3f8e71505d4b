//! The parameters of a policy, as a binding names them.

use super::definition::{ParamKind, ParamRef};
use crate::{attributes::namespace, shared::Shared};
use kubeplane_apiserver::Resource;
use kubeplane_core::{GroupVersionKind, Object, admission::Request};
use std::sync::Arc;

/// The resource of a policy's parameters.
///
/// # Errors
/// In the original's words, when it is not served.
pub(super) fn resource(shared: &Shared, kind: &ParamKind) -> Result<Arc<Resource>, String> {
    let found =
        shared.server().and_then(|server| server.registry.of_kind(&kind.version, &kind.kind));
    found.ok_or_else(|| {
        let kind = GroupVersionKind {
            group: kind.version.group.clone(),
            version: kind.version.version.clone(),
            kind: kind.kind.clone().into(),
        };
        format!("failed to find resource referenced by paramKind: '{kind}'")
    })
}

/// The parameters a policy is evaluated with: once for each; once without where a binding names none.
///
/// # Errors
/// In the original's words.
pub(super) async fn collect(
    resource: Option<&Resource>,
    reference: Option<&ParamRef>,
    request: &Request<'_>,
) -> Result<Vec<Option<Arc<Object>>>, String> {
    let (Some(resource), Some(reference)) = (resource, reference) else { return Ok(vec![None]) };
    let definition = resource.definition();
    let own = match (definition.is_namespaced(), reference.namespace.as_str()) {
        (false, "") => "",
        (false, _) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
                .to_owned());
        }
        (true, "") if namespace(request).is_empty() => {
            return Err("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".to_owned());
        }
        (true, "") => namespace(request),
        (true, named) => named,
    };
    let group_resource = resource.group_resource();
    let found: Vec<Arc<Object>> = match &reference.selector {
        _ if !reference.name.is_empty() => {
            let read = request.reader.get(&group_resource, own, &reference.name).await;
            read.map_err(|error| error.to_string())?.into_iter().collect()
        }
        Some(selector) => {
            let selector = selector.as_ref().map_err(Clone::clone)?;
            let list = request.reader.list(&group_resource, own).await;
            let items = list.map_err(|error| error.to_string())?.items;
            items.into_iter().filter(|item| selector.matches_object(item)).collect()
        }
        None => return Err("one of name or selector must be provided".to_owned()),
    };
    if found.is_empty() && reference.deny {
        return Err(
            "no params found for policy binding with `Deny` parameterNotFoundAction".to_owned()
        );
    }
    let version = definition.group_version();
    let mut params = Vec::with_capacity(found.len());
    for object in found {
        if object.api_version() == version.to_string() {
            params.push(Some(object));
            continue;
        }
        let converted = crate::equivalents::converted(&object, definition, &version).await;
        let converted = converted.map_err(|error| error.message().to_owned())?;
        params.push(Some(Arc::new(converted)));
    }
    Ok(params)
}
