//! What is served: `/api`, `/apis` and below, in the old forms and the aggregated one; and `/version`.

mod aggregated;
mod groups;
mod packed;
mod resources;

pub use groups::version_rank;

use crate::{
    api::Api,
    body::{self, Body},
    output::{self, Accepted, Media, Offer, Wish},
};
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use kubeplane_core::{ApiError, GroupVersion, status::ApiResult, yaml};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

/// The Kubernetes version whose API is served.
pub const KUBERNETES_VERSION: &str = "v1.36.0";
/// The version whose behaviour is shown, without its patch level.
pub(crate) const EMULATED_VERSION: &str = "1.36";
/// What stands where the original tells the version of Go it was made with.
pub(crate) const GO_VERSION: &str = "none";

/// The one group whose discovery is a route of the server's own.
const REGISTRATION: &str = "apiregistration.k8s.io";

/// Serves a path that names no resource. As in the original, the server's own group versions, `/api` and `/version` are read
/// only, and the rest is told whatever the method is.
pub(crate) fn serve(api: &Api, head: &Parts) -> ApiResult<Response<Body>> {
    let registry = api.registry();
    let path = head.uri.path();
    let hashed = api.features().is_on("StorageVersionHash");
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    let value = match parts.as_slice() {
        ["version"] => {
            reads(head)?;
            output::accepts_only(&head.headers, Media::Json.name())?;
            return output::indented(&version());
        }
        [""] | ["index.html"] if matches!(path, "/" | "/index.html") => {
            return output::indented(&paths(api));
        }
        ["apis"] if !matches!(path, "/apis" | "/apis/") => return Err(ApiError::no_such_path()),
        ["api" | "apis"] => {
            if parts[0] == "api" {
                reads(head)?;
            }
            if let Some((version, media)) = aggregated::wanted(&head.headers) {
                let document = aggregated::document(registry, parts[0], version);
                return tagged(head, &document, version, media);
            }
            match parts[0] {
                "api" => groups::core(registry, api.0.advertised.get()),
                _ => groups::all(registry),
            }
        }
        ["api", version] => {
            let version = GroupVersion::new("", (*version).to_owned());
            let list = resources::list(registry, &version, hashed);
            let list = list.ok_or_else(|| api.no_such_path())?;
            reads(head)?;
            list
        }
        ["apis", group] => {
            let described = groups::one(registry, group).ok_or_else(|| api.no_such_path())?;
            if *group == REGISTRATION {
                reads(head)?;
            }
            described
        }
        ["apis", group, version] => {
            let version = GroupVersion::new((*group).to_owned(), (*version).to_owned());
            let list = resources::list(registry, &version, hashed);
            let list = list.ok_or_else(|| api.no_such_path())?;
            if registry.is_own(group) {
                reads(head)?;
            }
            list
        }
        _ => return Err(api.no_such_path()),
    };
    // What stands behind a route of the original's is refused by the route.
    let late = match parts.as_slice() {
        ["apis"] | ["apis", _] => true,
        ["apis", group, _] => !registry.is_own(group),
        _ => false,
    };
    answer(head, if late { Offer::GROUPS } else { Offer::PLAIN }, &value)
}

fn answer(head: &Parts, offer: Offer, value: &Value) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(head, offer)?;
    match packed::body(value).filter(|_| accepted.media == Media::Protobuf) {
        Some(bytes) => {
            let kind = HeaderValue::from_static(Media::Protobuf.name());
            Ok(output::with_type(StatusCode::OK, kind, body::full(bytes)))
        }
        None => output::value(&accepted, StatusCode::OK, value),
    }
}

/// Refuses whatever is no read.
fn reads(head: &Parts) -> ApiResult<()> {
    match head.method {
        Method::GET => Ok(()),
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// An aggregated document with its tag; `304 Not Modified` to a client that has it.
fn tagged(
    head: &Parts,
    document: &Value,
    version: &str,
    media: Media,
) -> ApiResult<Response<Body>> {
    let text = document.to_string();
    // One tag for all forms, as in the original.
    let hash: String = Sha512::digest(&text).iter().map(|byte| format!("{byte:02X}")).collect();
    let bytes = match media {
        Media::Json if Wish::of(head).pretty => {
            serde_json::to_vec_pretty(document).map_err(ApiError::internal)?
        }
        Media::Json => text.into_bytes(),
        Media::Yaml => yaml::print(document).map_err(ApiError::internal)?.into_bytes(),
        Media::Protobuf => packed::body(document).unwrap_or_default(),
    };
    let tag = format!("\"{hash}\"");
    let known = head
        .headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|sent| sent.as_bytes() == tag.as_bytes());
    let kind =
        format!("{};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList", media.name());
    let kind = HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("application/json"));
    let (code, body) = if known {
        (StatusCode::NOT_MODIFIED, body::empty())
    } else {
        (StatusCode::OK, body::full(bytes))
    };
    let mut response = output::with_type(code, kind, body);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    Ok(response)
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "36",
        "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": format!("{KUBERNETES_VERSION}+kubeplane"),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-04-22T00:00:00Z",
        "goVersion": GO_VERSION, "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, go_arch()),
    })
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn paths(api: &Api) -> Value {
    json!({"paths": listed(api)})
}

/// The paths that `/` names, in order.
pub(crate) fn listed(api: &Api) -> Vec<String> {
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned()];
    for version in groups::versions(api.registry()) {
        if version.group.is_empty() {
            paths.push(format!("/api/{}", version.version));
        } else {
            paths.push(format!("/apis/{}", version.group));
            paths.push(format!("/apis/{version}"));
        }
    }
    paths.extend(["/healthz", "/livez", "/metrics", "/readyz", "/version"].map(str::to_owned));
    // As in the original, what is there for a look inside is not listed.
    let listed = api.0.routes.iter().filter(|(prefix, _)| !prefix.starts_with("/debug/"));
    paths.extend(listed.map(|(prefix, _)| prefix.clone()));
    paths.sort();
    paths.dedup();
    paths
}
