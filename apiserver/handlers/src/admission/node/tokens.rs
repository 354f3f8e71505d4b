//! Tokens: a node asks for them only on behalf of pods that run on it, and for whom these pods name.

use super::pods;
use crate::admission::{joined, refuse};
use kubeplane_core::{
    GroupResource, Object,
    admission::{Operation, Request},
    auth::{Attributes, Decision},
    status::{ApiError, ApiResult},
};
use serde_json::Value;
use std::sync::Arc;

pub(super) async fn check(request: &Request<'_>, node: &str, any_audience: bool) -> ApiResult<()> {
    let Some(review) = request.object.as_deref().filter(|_| request.operation == Operation::Create)
    else {
        return Ok(());
    };
    let reference = |key: &str| review.text(&["spec", "boundObjectRef", key]);
    let (name, uid) = (reference("name"), reference("uid"));
    if reference("kind") != "Pod" || reference("apiVersion") != "v1" || name.is_empty() {
        return Err(refuse(request, "node requested token not bound to a pod"));
    }
    if uid.is_empty() {
        return Err(refuse(request, "node requested token with a pod binding without a uid"));
    }
    let pod = pods::pod(request, name).await?;
    if pod.uid() != uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(refuse(request, why));
    }
    if pod.text(&["spec", "nodeName"]) != node {
        let why = "node requested token bound to a pod scheduled on a different node";
        return Err(refuse(request, why));
    }
    if any_audience {
        return Ok(());
    }
    audience(request, review, &pod).await.map_err(|why| refuse(request, why))
}

/// Whom a token is for must stand in a volume of the pod, unless the node has a right to ask for it.
async fn audience(request: &Request<'_>, review: &Object, pod: &Object) -> Result<(), String> {
    let audiences = review.at(&["spec", "audiences"]).and_then(Value::as_array);
    let audience = match audiences.map_or(&[][..], Vec::as_slice) {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    let named = in_volumes(request, pod, audience).await;
    if named.map_err(|why| format!("error validating audience {audience:?}: {why}"))? {
        return Ok(());
    }
    let wanted = Attributes {
        user: Arc::new(request.user.clone()),
        verb: "request-serviceaccounts-token-audience".to_owned(),
        namespace: request.namespace.to_owned(),
        version: "v1".to_owned(),
        resource: audience.to_owned(),
        name: request.name.to_owned(),
        ..Attributes::default()
    };
    match request.authorizer.authorize(&wanted).await {
        Decision::Allow(_) => Ok(()),
        _ => Err(format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            request.user.name
        )),
    }
}

/// Whether a volume of the pod, or the driver behind one, wants tokens for this audience.
async fn in_volumes(request: &Request<'_>, pod: &Object, audience: &str) -> Result<bool, String> {
    let mut errors = Vec::new();
    let volumes = pod.at(&["spec", "volumes"]).and_then(Value::as_array);
    for volume in volumes.into_iter().flatten() {
        let sources = volume["projected"]["sources"].as_array().into_iter().flatten();
        let tokens = sources.map(|source| &source["serviceAccountToken"]);
        let mut tokens = tokens.filter(|token| token.is_object());
        if tokens.any(|token| token["audience"].as_str().unwrap_or_default() == audience) {
            return Ok(true);
        }
        match driver_wants(request, pod, volume, audience).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) => errors.push(error.message().to_owned()),
        }
    }
    joined(errors).map_or(Ok(false), Err)
}

async fn driver_wants(
    request: &Request<'_>,
    pod: &Object,
    volume: &Value,
    audience: &str,
) -> ApiResult<bool> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let claim = match () {
        () if volume["ephemeral"]["volumeClaimTemplate"].is_object() => {
            Some(format!("{}-{}", pod.name(), text(&volume["name"])))
        }
        () if volume["persistentVolumeClaim"].is_object() => {
            Some(text(&volume["persistentVolumeClaim"]["claimName"]))
        }
        () => None,
    };
    let driver = match claim {
        None => text(&volume["csi"]["driver"]),
        Some(name) => {
            let claim =
                one(request, ["", "persistentvolumeclaims"], request.namespace, &name).await?;
            let name = claim.text(&["spec", "volumeName"]);
            let volume = one(request, ["", "persistentvolumes"], "", name).await?;
            volume.text(&["spec", "csi", "driver"]).to_owned()
        }
    };
    if driver.is_empty() {
        return Ok(false);
    }
    let driver = one(request, ["storage.k8s.io", "csidrivers"], "", &driver).await?;
    let asked = driver.at(&["spec", "tokenRequests"]).and_then(Value::as_array);
    let mut asked = asked.into_iter().flatten();
    Ok(asked.any(|one| one["audience"].as_str().unwrap_or_default() == audience))
}

/// An object that must be there.
async fn one(
    request: &Request<'_>,
    [group, plural]: [&'static str; 2],
    namespace: &str,
    name: &str,
) -> ApiResult<Arc<Object>> {
    let found = request.reader.get(&GroupResource::new(group, plural), namespace, name).await?;
    let singular = plural.trim_end_matches('s');
    found.ok_or_else(|| ApiError::not_found(&GroupResource::new(group, singular), name))
}
