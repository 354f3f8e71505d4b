//! `/statusz` and `/flagz`: how the server is, and what it was started with. In plain text for people, and as objects of
//! `config.k8s.io` for programs that ask for those (KEP-4827, KEP-4828).

use crate::{
    api::Api,
    body::Body,
    discovery,
    handler::Route,
    output::{self, Media, PageForm, Wish},
};
use async_trait::async_trait;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use jiff::Timestamp;
use kubeplane_core::{ApiError, status::ApiResult, yaml};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The name of this component in what it says of itself.
const COMPONENT: &str = "apiserver";
const STATUS: &str = "/statusz";
const FLAGS: &str = "/flagz";
/// What stands between a name and a value: another one each time, so that nobody reads the text by a program.
const DELIMITERS: [&str; 4] = [":", ": ", "=", " "];
/// What is not there for a look inside.
const SERVING: [&str; 5] = ["/api", "/apis", "/openid", "/openapi", "/.well-known"];

/// The route of `/statusz`.
#[derive(Debug)]
pub(crate) struct StatusPage {
    started: Timestamp,
    /// The same on the clock's own count.
    since: Duration,
}

impl StatusPage {
    pub(crate) const PATH: &str = STATUS;

    /// Of a server that starts at this time, and at this one on its clock's own count.
    pub(crate) fn new(started: Timestamp, since: Duration) -> Self {
        Self { started, since }
    }

    fn object(&self, api: &Api) -> Value {
        let up = api.clock().elapsed().saturating_sub(self.since);
        json!({
            "startTime": self.started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "uptimeSeconds": up.as_secs(),
            "goVersion": discovery::GO_VERSION,
            "binaryVersion": discovery::KUBERNETES_VERSION.trim_start_matches('v'),
            "emulationVersion": discovery::EMULATED_VERSION,
            "paths": folders(&discovery::listed(api)),
        })
    }

    fn text(&self, api: &Api, delimiter: &str) -> String {
        let up = api.clock().elapsed().saturating_sub(self.since).as_secs();
        let (hours, minutes, seconds) = (up / 3600, up / 60 % 60, up % 60);
        let started = self.started.strftime("%a %b %e %H:%M:%S UTC %Y");
        let lines = [
            ("Started", started.to_string()),
            ("Up", format!("{hours} hr {minutes:02} min {seconds:02} sec")),
            ("Go version", discovery::GO_VERSION.to_owned()),
            ("Binary version", discovery::KUBERNETES_VERSION.trim_start_matches('v').to_owned()),
            ("Emulation version", discovery::EMULATED_VERSION.to_owned()),
            ("Paths", folders(&discovery::listed(api)).join(" ")),
        ];
        let lines = lines.map(|(name, value)| format!("{name}{delimiter} {value}\n"));
        format!("{}\n{}", heading("statusz"), lines.concat())
    }
}

#[async_trait]
impl Route for StatusPage {
    async fn serve(&self, api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let text = |delimiter: &str| self.text(api, delimiter);
        page(api, head, STATUS, "Statusz", text, || self.object(api))
    }
}

/// The route of `/flagz`.
#[derive(Debug)]
pub(crate) struct FlagsPage(BTreeMap<String, String>);

impl FlagsPage {
    pub(crate) const PATH: &str = FLAGS;

    /// Of a server that was started with these, by name.
    pub(crate) fn new(flags: BTreeMap<String, String>) -> Self {
        Self(flags)
    }

    fn text(&self, delimiter: &str) -> String {
        let lines = self.0.iter().map(|(name, value)| format!("{name}{delimiter}{value}\n"));
        lines.fold(heading("flagz"), |text, line| text + &line)
    }
}

#[async_trait]
impl Route for FlagsPage {
    async fn serve(&self, api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let text = |delimiter: &str| self.text(delimiter);
        page(api, head, FLAGS, "Flagz", text, || json!({"flags": self.0}))
    }
}

fn heading(name: &str) -> String {
    format!(
        "\n{COMPONENT} {name}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.\n"
    )
}

/// Answers in the form asked for; below the path there is nothing.
fn page(
    api: &Api,
    head: &Parts,
    path: &str,
    kind: &str,
    text: impl FnOnce(&str) -> String,
    object: impl FnOnce() -> Value,
) -> ApiResult<Response<Body>> {
    if head.uri.path() != path {
        return Ok(output::nowhere());
    }
    let (media, version, pretty) = match output::page_form(head, kind) {
        Ok(PageForm::Text) => {
            let [chance] = api.seed().bytes::<1>();
            let delimiter = DELIMITERS[usize::from(chance) % DELIMITERS.len()];
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            let body = crate::body::full(text(delimiter));
            return Ok(output::with_type(StatusCode::OK, plain, body));
        }
        Ok(PageForm::Object { media, version, pretty }) => (media, version, pretty),
        Err(error) => return Ok(refused(head, &error)),
    };
    let mut object = object();
    object["kind"] = kind.into();
    object["apiVersion"] = format!("config.k8s.io/{version}").into();
    object["metadata"] = json!({"name": COMPONENT});
    let bytes = match media {
        Media::Yaml => yaml::print(&object).map_err(ApiError::internal)?.into_bytes(),
        _ => output::document(&object, pretty).map_err(ApiError::internal)?,
    };
    let sent = format!("{};g=config.k8s.io;v={version};as={kind}", media.name());
    let sent = HeaderValue::from_str(&sent).map_err(ApiError::internal)?;
    let mut response = output::with_type(StatusCode::OK, sent, crate::body::full(bytes));
    if version == "v1alpha1" {
        let why = format!(
            "299 - \"This version of the {} endpoint is deprecated. Please use a newer version.\"",
            path.trim_start_matches('/')
        );
        let why = HeaderValue::from_str(&why).map_err(ApiError::internal)?;
        response.headers_mut().insert(header::WARNING, why);
    }
    Ok(response)
}

/// A Status that has no protobuf form here, as the pages have none.
fn refused(head: &Parts, error: &ApiError) -> Response<Body> {
    let mut head = head.clone();
    let protobuf =
        |value: &HeaderValue| value.as_bytes().starts_with(Media::Protobuf.name().as_bytes());
    if head.headers.get(header::ACCEPT).is_some_and(protobuf) {
        head.headers.insert(header::ACCEPT, HeaderValue::from_static("none/none"));
    }
    output::failure(&Wish::of(&head), error)
}

/// The first parts of paths, each once, without those that are the API itself.
fn folders(paths: &[String]) -> Vec<String> {
    let first = |path: &String| path.split('/').nth(1).map(|part| format!("/{part}"));
    let found: BTreeSet<String> = paths.iter().filter_map(first).collect();
    found.into_iter().filter(|path| path != "/" && !SERVING.contains(&path.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_those_that_look_inside() {
        let paths = ["/", "/api/v1", "/healthz", "/healthz/etcd", "/openid/v1/jwks", "/version"];
        let paths: Vec<String> = paths.map(str::to_owned).to_vec();
        assert_eq!(folders(&paths), ["/healthz", "/version"]);
    }
}
