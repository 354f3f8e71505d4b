//! Whether an extension API server can be reached: the checks of the original, in its words.

use crate::{
    proxy::Extension,
    services::{Condition, Registered, Service},
};
use futures::{StreamExt, stream::FuturesUnordered};
use http::Response;
use kubeplane_apiserver::Api;
use kubeplane_core::{
    ApiError, GroupResource, Object,
    auth::{GROUP_MASTERS, UserInfo},
};
use serde_json::Value;
use std::sync::Arc;

/// How many tries a check has: one may meet the one endpoint that is bad.
const TRIES: usize = 5;

/// As whom extensions are asked about themselves.
pub(crate) fn aggregator() -> UserInfo {
    UserInfo::new("system:kube-aggregator", [GROUP_MASTERS])
}

/// Looks for the Service and its endpoints, then asks the extension for its discovery.
pub(crate) async fn check(
    api: &Api,
    registered: &Registered,
    wanted: &Service,
    extension: &Extension,
) -> Condition {
    let (name, namespace) = (&wanted.name, &wanted.namespace);
    let services = GroupResource::new("", "services");
    // The change that this check follows was told by the store; the caches, by which the extension is reached, too, may
    // yet have to see it, and nobody would say when they have.
    let caught_up = api.reader().catch_up(&services).await;
    let service = match caught_up {
        Ok(()) => api.reader().get(&services, namespace, name).await,
        Err(error) => Err(error),
    };
    let service = match service {
        Ok(Some(service)) => service,
        Ok(None) => {
            let why = format!("service/{name} in {namespace:?} is not present");
            return Condition::failed("ServiceNotFound", why);
        }
        Err(error) => {
            let why = format!("service/{name} in {namespace:?} cannot be checked due to: {error}");
            return Condition::unknown("ServiceAccessError", why);
        }
    };
    if matches!(service.text(&["spec", "type"]), "" | "ClusterIP")
        && let Err(condition) = endpoints(api, &service, wanted).await
    {
        return condition;
    }
    match asked(api, registered, &url(registered, wanted, &service), extension).await {
        Ok(()) => Condition::passed(),
        Err(why) => Condition::failed("FailedDiscoveryCheck", why),
    }
}

/// Where the original would look, for its messages.
fn url(registered: &Registered, wanted: &Service, service: &Object) -> String {
    let host = match service.text(&["spec", "type"]) {
        "ExternalName" => service.text(&["spec", "externalName"]),
        _ => service.text(&["spec", "clusterIP"]),
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("https://{host}:{}{}", wanted.port, registered.path())
}

async fn endpoints(api: &Api, service: &Object, wanted: &Service) -> Result<(), Condition> {
    let (name, namespace, port) = (&wanted.name, &wanted.namespace, wanted.port);
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array);
    let mut ports = ports.into_iter().flatten();
    let declared = ports.find(|declared| declared["port"].as_u64() == Some(port.into()));
    let Some(declared) = declared else {
        let why = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(Condition::failed("ServicePortError", why));
    };
    let port_name = declared["name"].as_str().unwrap_or_default();
    let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
    let unread = |error: ApiError| {
        let why = format!("service/{name} in {namespace:?} cannot be checked due to: {error}");
        Condition::unknown("EndpointsAccessError", why)
    };
    api.reader().catch_up(&slices).await.map_err(unread)?;
    let slices = api.reader().list(&slices, namespace).await.map_err(unread)?;
    let own = |slice: &&Arc<Object>| slice.label("kubernetes.io/service-name") == Some(name);
    let own: Vec<_> = slices.items.iter().filter(own).collect();
    if own.is_empty() {
        let why = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return Err(Condition::failed("EndpointsNotFound", why));
    }
    if !own.iter().any(|slice| has_address(slice, port_name)) {
        let why = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
        );
        return Err(Condition::failed("MissingEndpoints", why));
    }
    Ok(())
}

/// Whether a slice has a ready endpoint, and a port of this name.
fn has_address(slice: &Object, port_name: &str) -> bool {
    let list = |key: &str| slice.at(&[key]).and_then(Value::as_array).into_iter().flatten();
    let ready = |endpoint: &Value| endpoint["conditions"]["ready"].as_bool().unwrap_or(true);
    list("endpoints").any(ready)
        && list("ports")
            .any(|port| port["name"].as_str() == Some(port_name) && port["port"].is_u64())
}

async fn asked(
    api: &Api,
    registered: &Registered,
    url: &str,
    extension: &Extension,
) -> Result<(), String> {
    let mut last = match once(api, registered, url, extension).await {
        Ok(()) => return Ok(()),
        Err(why) => why,
    };
    extension.reconnect();
    let tries = (1..TRIES).map(|_| once(api, registered, url, extension));
    let mut tries: FuturesUnordered<_> = tries.collect();
    while let Some(outcome) = tries.next().await {
        match outcome {
            Ok(()) => return Ok(()),
            Err(why) => last = why,
        }
    }
    Err(last)
}

async fn once(
    api: &Api,
    registered: &Registered,
    url: &str,
    extension: &Extension,
) -> Result<(), String> {
    let answer = extension.fetch(api, &aggregator(), &registered.path(), "*/*").await;
    match answer.as_ref().map(Response::status) {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => Err(format!(
            "failing or missing response from {url}: bad status from {url}: {}",
            status.as_u16()
        )),
        Err(why) => Err(format!("failing or missing response from {url}: Get {url:?}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_endpoint_that_says_nothing_is_ready() {
        let slice = |endpoints: Value, ports: Value| {
            Object::from_value(json!({"endpoints": endpoints, "ports": ports})).unwrap()
        };
        let ports = json!([{"name": "https", "port": 8443}]);
        let silent = json!([{"addresses": ["10.0.0.1"]}]);
        let unready = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}]);
        assert!(has_address(&slice(silent.clone(), ports.clone()), "https"));
        assert!(!has_address(&slice(silent, ports.clone()), ""));
        assert!(!has_address(&slice(unready, ports), "https"));
    }
}
