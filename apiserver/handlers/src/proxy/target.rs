//! Where a request goes: the name in the URL, as `web`, `web:80` or `https:web:443`, and the path behind.

use super::backend::Backends;
use http::StatusCode;
use kubeplane_apiserver::{Api, HandlerRequest, RequestInfo};
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use serde_json::Value;
use std::net::{IpAddr, Ipv6Addr};

/// How a target is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaks {
    Http,
    Https,
    /// TLS with the API server's certificate.
    Kubelet,
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) speaks: Speaks,
    pub(super) host: String,
    pub(super) port: u16,
    /// Whose port it is, where a node was asked for.
    pub(super) node: Option<String>,
}

/// A name of the URL in its parts.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    scheme: &'a str,
    name: &'a str,
    port: &'a str,
}

impl<'a> Asked<'a> {
    fn parse(id: &'a str) -> Option<Self> {
        let parts: Vec<_> = id.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https");
        (known && !name.is_empty()).then_some(Self { scheme, name, port })
    }

    fn speaks(&self) -> Speaks {
        if self.scheme == "https" { Speaks::Https } else { Speaks::Http }
    }

    fn number(&self) -> ApiResult<u16> {
        match (self.port, self.speaks()) {
            ("", Speaks::Https) => Ok(443),
            ("", _) => Ok(80),
            (port, _) => port.parse().map_err(|_| {
                let why = format!("dial tcp: lookup tcp/{port}: unknown port");
                ApiError::unavailable(format!("error trying to reach service: {why}"))
            }),
        }
    }
}

impl Target {
    pub(super) async fn find(backends: &Backends, request: &HandlerRequest) -> ApiResult<Self> {
        let (info, api) = (&request.info, &request.api);
        let singular = info.resource.strip_suffix('s').unwrap_or_default();
        let asked = Asked::parse(&info.name).ok_or_else(|| {
            ApiError::bad_request(format!("invalid {singular} request {:?}", info.name))
        })?;
        match singular {
            "node" => node(backends, api, &asked).await,
            "pod" => pod(api, &info.namespace, &asked).await,
            _ => service(api, &info.namespace, &info.name, &asked).await,
        }
    }

    /// As in a URL.
    pub(super) fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

fn not_allowed() -> ApiError {
    ApiError::bad_request("address not allowed")
}

async fn node(backends: &Backends, api: &Api, asked: &Asked<'_>) -> ApiResult<Target> {
    let (host, port) = backends.kubelets.address(api, asked.name).await?;
    let node = Some(asked.name.to_owned());
    // The kubelet's port is where logs and exec go too, wherever it is.
    if asked.port.is_empty() || asked.port == port.to_string() {
        return Ok(Target { speaks: Speaks::Kubelet, host, port, node });
    }
    let addresses = backends.dial.resolve(&host).await;
    let addresses = addresses.map_err(|error| ApiError::bad_request(error.to_string()))?;
    if addresses.is_empty() || !addresses.into_iter().all(is_global_unicast) {
        return Err(not_allowed());
    }
    Ok(Target { speaks: asked.speaks(), host, port: asked.number()?, node })
}

async fn pod(api: &Api, namespace: &str, asked: &Asked<'_>) -> ApiResult<Target> {
    let pod = api.get(&GroupResource::new("", "pods"), namespace, asked.name).await?;
    let first = ports(&pod).next().map(|port| port.to_string()).unwrap_or_default();
    let asked =
        if asked.port.is_empty() { Asked { port: &first, ..*asked } } else { Asked { ..*asked } };
    let address = addresses(&pod).next().and_then(|address| address.parse().ok());
    let address: IpAddr = address.filter(|ip| is_global_unicast(*ip)).ok_or_else(not_allowed)?;
    let (speaks, port) = (asked.speaks(), asked.number()?);
    Ok(Target { speaks, host: address.to_string(), port, node: None })
}

/// The ports its containers name.
fn ports(pod: &Object) -> impl Iterator<Item = u64> {
    let containers = pod.at(&["spec", "containers"]).and_then(Value::as_array);
    let ports =
        containers.into_iter().flatten().filter_map(|container| container["ports"].as_array());
    ports.flatten().filter_map(|port| port["containerPort"].as_u64())
}

/// Its addresses, the preferred one first.
fn addresses(pod: &Object) -> impl Iterator<Item = &str> {
    let all = pod.at(&["status", "podIPs"]).and_then(Value::as_array);
    let all = all.into_iter().flatten().filter_map(|address| address["ip"].as_str());
    let one = pod.text(&["status", "podIP"]);
    all.chain((!one.is_empty()).then_some(one))
}

async fn service(api: &Api, namespace: &str, id: &str, asked: &Asked<'_>) -> ApiResult<Target> {
    let mut wanted = asked.port.to_owned();
    if let Ok(number) = asked.port.parse::<i64>() {
        let service = api.get(&GroupResource::new("", "services"), namespace, asked.name).await?;
        let declared = service.at(&["spec", "ports"]).and_then(Value::as_array);
        let declared = declared.into_iter().flatten();
        let port = declared.clone().find(|port| port["port"].as_i64() == Some(number));
        let port = port.ok_or_else(|| {
            let why = format!("no service port {number} found for service {:?}", asked.name);
            ApiError::unavailable(why)
        })?;
        wanted = port["name"].as_str().unwrap_or_default().to_owned();
    }
    // Whoever asks for a Service is told of that, not of its endpoints.
    let missing = |error: ApiError| match error.code() {
        StatusCode::NOT_FOUND => {
            ApiError::not_found(&GroupResource::new("", "services"), asked.name)
        }
        _ => error,
    };
    let endpoints = api.get(&GroupResource::new("", "endpoints"), namespace, asked.name).await;
    let endpoints = endpoints.map_err(missing)?;
    let subsets = endpoints.at(&["subsets"]).and_then(Value::as_array).cloned().unwrap_or_default();
    if subsets.is_empty() {
        let why = format!("no endpoints available for service {:?}", asked.name);
        return Err(ApiError::unavailable(why));
    }
    for subset in from_anywhere(api, &subsets) {
        let ports = subset["ports"].as_array().into_iter().flatten();
        let mut ports = ports.filter(|port| port["name"].as_str().unwrap_or_default() == wanted);
        let number = ports.next().and_then(|port| port["port"].as_u64());
        let Some(port) = number.and_then(|port| u16::try_from(port).ok()) else { continue };
        let addresses = subset["addresses"].as_array().cloned().unwrap_or_default();
        for address in from_anywhere(api, &addresses) {
            if let Some(host) = pod_address(api, address).await {
                return Ok(Target { speaks: asked.speaks(), host, port, node: None });
            }
        }
    }
    Err(ApiError::unavailable(format!("no endpoints available for service {id:?}")))
}

/// All of them, beginning with any.
fn from_anywhere<'a>(api: &Api, all: &'a [Value]) -> impl Iterator<Item = &'a Value> {
    let count = u64::try_from(all.len()).unwrap_or(u64::MAX).max(1);
    let start = usize::try_from(api.seed().below(count)).unwrap_or_default();
    all.iter().cycle().skip(start).take(all.len())
}

/// An address of endpoints, if it is that of a pod: nobody is led elsewhere.
async fn pod_address(api: &Api, address: &Value) -> Option<String> {
    let target = &address["targetRef"];
    let text = |key: &str| target[key].as_str().unwrap_or_default();
    if text("kind") != "Pod" {
        return None;
    }
    let pods = GroupResource::new("", "pods");
    let pod = api.get(&pods, text("namespace"), text("name")).await.ok()?;
    let host = address["ip"].as_str()?;
    addresses(&pod).any(|own| own == host).then(|| host.to_owned())
}

/// Whether an address can be one of a pod or another machine.
fn is_global_unicast(address: IpAddr) -> bool {
    let never = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !never
        && match address {
            IpAddr::V4(address) => !address.is_link_local() && !address.is_broadcast(),
            IpAddr::V6(address) => !address.is_unicast_link_local() && !is_mapped_local(address),
        }
}

fn is_mapped_local(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some_and(|address| !is_global_unicast(address.into()))
}

/// The path behind `proxy`, without `.` and `..`: empty, or with a slash in front.
pub(super) fn path(info: &RequestInfo) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in info.rest.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let slash = info.path.ends_with('/');
    match (kept.is_empty(), slash) {
        (true, false) => String::new(),
        (true, true) => "/".to_owned(),
        (false, _) => format!("/{}{}", kept.join("/"), if slash { "/" } else { "" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Method, Uri};

    #[test]
    fn names_have_a_scheme_and_a_port_if_they_like() {
        let asked = |scheme, name, port| Some(Asked { scheme, name, port });
        assert_eq!(Asked::parse("web"), asked("", "web", ""));
        assert_eq!(Asked::parse("web:http"), asked("", "web", "http"));
        assert_eq!(Asked::parse("https:web:443"), asked("https", "web", "443"));
        assert_eq!(Asked::parse("http:web:"), asked("http", "web", ""));
        for bad in ["", ":80", "ftp:web:21", "a:b:c:d"] {
            assert_eq!(Asked::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_lead_nowhere_else() {
        let of = |rest: &str| {
            let uri: Uri = format!("/api/v1/nodes/n/proxy{rest}").parse().unwrap();
            path(&RequestInfo::parse(&Method::GET, &uri).unwrap())
        };
        assert_eq!(of(""), "");
        assert_eq!(of("/"), "/");
        assert_eq!(of("/a/b"), "/a/b");
        assert_eq!(of("/a//b/"), "/a/b/");
        assert_eq!(of("/../../pods"), "/pods");
        assert_eq!(of("/%2e%2e/x%20y"), "/x y");
    }

    #[test]
    fn the_machine_itself_is_no_target() {
        for no in [
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "::1",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_global_unicast(no.parse().unwrap()), "{no}");
        }
        for yes in ["10.244.0.5", "192.0.2.2", "fd00::2"] {
            assert!(is_global_unicast(yes.parse().unwrap()), "{yes}");
        }
    }
}
