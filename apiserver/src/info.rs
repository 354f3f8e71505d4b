//! What a request asks for, read from its method and path alone.

use crate::query::{Query, decode_segment};
use http::{Method, Uri};
use kubeplane_core::{
    GroupResource, GroupVersion,
    auth::{Attributes, UserInfo},
    selector::FieldSelector,
    status::{ApiError, ApiResult},
};
use std::sync::Arc;

/// What a request asks for.
///
/// ```text
/// /api/v1/namespaces/{ns}/pods/{name}/log     /apis/{group}/{version}/{resource}
/// /api/v1/watch/namespaces/{ns}/pods          /healthz, /version, ... (no resource)
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo {
    /// The verb: `get`, `list`, `watch`, `create`, ... or the lower-case method for other paths.
    pub verb: String,
    /// The path as sent.
    pub path: String,
    /// The group; empty for the core group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The namespace, or the empty text.
    pub namespace: String,
    /// The plural resource; empty when the path names none.
    pub resource: String,
    /// The subresource, or the empty text.
    pub subresource: String,
    /// The name, or the empty text.
    pub name: String,
    /// What follows the subresource, as in `services/x/proxy/{rest}`; no leading slash.
    pub rest: String,
    /// The field selector as sent.
    pub field_selector: String,
    /// The label selector as sent.
    pub label_selector: String,
}

/// Subresources of a namespace, which could else be taken for a resource in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

impl RequestInfo {
    /// Reads a request's method and URI.
    ///
    /// # Errors
    /// 400 for `/watch` without a resource.
    pub fn parse(method: &Method, uri: &Uri) -> ApiResult<Self> {
        let verb = method.as_str().to_ascii_lowercase();
        let mut info = Self { verb, path: uri.path().to_owned(), ..Self::default() };
        let parts: Vec<String> = match uri.path().trim_matches('/') {
            "" => return Ok(info),
            path => path.split('/').map(decode_segment).collect(),
        };
        let mut rest = match parts[0].as_str() {
            "api" if parts.len() >= 3 => &parts[1..],
            "apis" if parts.len() >= 4 => {
                info.group.clone_from(&parts[1]);
                &parts[2..]
            }
            _ => return Ok(info),
        };
        info.version.clone_from(&rest[0]);
        rest = &rest[1..];
        let by_path = rest[0] == "watch";
        if by_path {
            if rest.len() < 2 {
                let asked = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
                let why = format!("unable to determine kind and namespace from url, {asked}");
                return Err(ApiError::bad_request(why));
            }
            rest = &rest[1..];
        }
        info.verb = if by_path { "watch".to_owned() } else { verb_of(method).to_owned() };
        info.locate(rest);
        info.refine(&Query::of(uri), by_path);
        Ok(info)
    }

    fn locate(&mut self, mut parts: &[String]) {
        if parts[0] == "namespaces" && parts.len() > 1 {
            self.namespace.clone_from(&parts[1]);
            if parts.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&parts[2].as_str()) {
                parts = &parts[2..];
            }
        }
        self.resource.clone_from(&parts[0]);
        self.name = parts.get(1).cloned().unwrap_or_default();
        self.subresource = parts.get(2).cloned().unwrap_or_default();
        if parts.len() > 3 {
            self.rest = parts[3..].join("/");
        }
    }

    fn refine(&mut self, query: &Query, by_path: bool) {
        if self.name.is_empty() && self.verb == "get" {
            let watch = query.flag("watch").unwrap_or(false);
            self.verb = if watch { "watch" } else { "list" }.to_owned();
            let fields = FieldSelector::parse(query.text("fieldSelector")).unwrap_or_default();
            let name = fields.exact("metadata.name");
            if let Some(name) = name.filter(|name| is_path_segment(name)) {
                self.name = name.to_owned();
            }
        }
        if self.name.is_empty() && self.verb == "delete" {
            self.verb = "deletecollection".to_owned();
        }
        if !by_path && matches!(self.verb.as_str(), "list" | "watch" | "deletecollection") {
            self.field_selector = query.text("fieldSelector").to_owned();
            self.label_selector = query.text("labelSelector").to_owned();
        }
    }

    /// Whether the path names a resource.
    #[must_use]
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// Group and resource.
    #[must_use]
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.clone(), self.resource.clone())
    }

    /// Group and version.
    #[must_use]
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(self.group.clone(), self.version.clone())
    }

    /// Whether the request may run for as long as it likes: watches, and connections into pods.
    #[must_use]
    pub fn is_long_running(&self) -> bool {
        self.verb == "watch"
            || (self.is_resource()
                && matches!(
                    self.subresource.as_str(),
                    "exec" | "attach" | "portforward" | "log" | "proxy"
                ))
    }

    /// The same for an authorizer.
    #[must_use]
    pub fn attributes(&self, user: &Arc<UserInfo>) -> Attributes {
        Attributes {
            user: user.clone(),
            verb: self.verb.clone(),
            namespace: self.namespace.clone(),
            group: self.group.clone(),
            version: self.version.clone(),
            resource: self.resource.clone(),
            subresource: self.subresource.clone(),
            name: self.name.clone(),
            path: self.path.clone(),
            field_selector: self.field_selector.clone(),
            label_selector: self.label_selector.clone(),
        }
    }
}

fn verb_of(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    }
}

fn is_path_segment(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(method: Method, uri: &'static str) -> RequestInfo {
        RequestInfo::parse(&method, &Uri::from_static(uri)).unwrap()
    }

    fn summary(method: Method, uri: &'static str) -> [String; 6] {
        let info = parsed(method, uri);
        [info.verb, info.group, info.namespace, info.resource, info.name, info.subresource]
    }

    #[test]
    fn paths_are_read_as_the_original_reads_them() {
        let cases: [(Method, &'static str, [&str; 6]); 13] = [
            (Method::GET, "/api/v1/namespaces", ["list", "", "", "namespaces", "", ""]),
            (Method::GET, "/api/v1/namespaces/a", ["get", "", "a", "namespaces", "a", ""]),
            (
                Method::PUT,
                "/api/v1/namespaces/a/finalize",
                ["update", "", "a", "namespaces", "a", "finalize"],
            ),
            (Method::GET, "/api/v1/namespaces/a/pods", ["list", "", "a", "pods", "", ""]),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods?watch=true",
                ["watch", "", "a", "pods", "", ""],
            ),
            (Method::GET, "/api/v1/watch/namespaces/a/pods/x", ["watch", "", "a", "pods", "x", ""]),
            (
                Method::POST,
                "/api/v1/namespaces/a/pods/x/exec",
                ["create", "", "a", "pods", "x", "exec"],
            ),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments",
                ["deletecollection", "apps", "a", "deployments", "", ""],
            ),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments/d",
                ["delete", "apps", "a", "deployments", "d", ""],
            ),
            (Method::PATCH, "/api/v1/nodes/n/status", ["patch", "", "", "nodes", "n", "status"]),
            (
                Method::GET,
                "/api/v1/pods?fieldSelector=metadata.name%3Dx",
                ["list", "", "", "pods", "x", ""],
            ),
            (Method::GET, "/healthz", ["get", "", "", "", "", ""]),
            (Method::GET, "/apis/apps/v1", ["get", "", "", "", "", ""]),
        ];
        for (method, uri, expected) in cases {
            assert_eq!(summary(method, uri), expected, "{uri}");
        }
    }

    #[test]
    fn a_watch_path_without_a_resource_is_refused() {
        let uri = Uri::from_static("/api/v1/watch");
        assert_eq!(RequestInfo::parse(&Method::GET, &uri).unwrap_err().code().as_u16(), 400);
    }
}
