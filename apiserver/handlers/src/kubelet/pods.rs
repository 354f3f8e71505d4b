use super::KubeletClient;
use async_trait::async_trait;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};
use hyper::body::Incoming;
use kubeplane_apiserver::{Body, Handler, HandlerRequest, Query, body, forward::switch};
use kubeplane_core::{
    GroupKind, GroupResource, Object,
    auth::Decision,
    decode::misfit,
    features::Features,
    field::{self, Path},
    schema::{Kind, Schema},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::fmt::Write as _;

const ALL: &str = "All";
const STREAMS: [&str; 3] = [ALL, "Stderr", "Stdout"];

/// `pods/log`.
#[derive(Debug, Clone)]
pub struct PodLog(pub KubeletClient);

#[async_trait]
impl Handler for PodLog {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let query = request.query();
        let errors = log_errors(&request)?;
        if !errors.is_empty() {
            return Err(ApiError::invalid(
                &GroupKind::new("", "PodLogOptions"),
                &request.info.name,
                &errors,
            ));
        }
        let pod = pod_of(&request).await?;
        let container = container_of(&pod, query.text("container"))?;
        let node = pod.text(&["spec", "nodeName"]);
        if node.is_empty() {
            let mut nothing = Response::new(body::empty());
            *nothing.status_mut() = StatusCode::NO_CONTENT;
            return Ok(nothing);
        }
        let mut path = format!("/containerLogs/{}/{}/{container}?", pod.namespace(), pod.name());
        for flag in ["follow", "previous", "timestamps"] {
            if query.flag(flag) == Some(true) {
                let _ = write!(path, "{flag}=true&");
            }
        }
        for value in ["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"] {
            if let Some(text) = query.first(value).filter(|text| !text.is_empty()) {
                let _ = write!(path, "{value}={}&", escaped(text));
            }
        }
        let answer = self
            .0
            .send(
                &request.api,
                node,
                Method::GET,
                path.trim_end_matches(['&', '?']),
                HeaderMap::new(),
            )
            .await?;
        if answer.status() == StatusCode::OK {
            return Ok(request.stream(plain(body::boxed(answer.into_body()))));
        }
        Err(kubelet_error(answer, &container, pod.name()).await)
    }
}

fn plain(content: Body) -> Response<Body> {
    let mut response = Response::new(content);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    response
}

fn log_errors(request: &HandlerRequest) -> ApiResult<field::Errors> {
    let query = request.query();
    let time = Schema::anonymous(Kind::Time { micro: false });
    let since = Value::from(query.text("sinceTime"));
    if let Some(why) = misfit(&since, &time).filter(|_| since != "") {
        return Err(ApiError::bad_request(why));
    }
    let mut errors = Vec::new();
    let mut least = |name: &str, least: i64, why: &str| -> ApiResult<()> {
        let low = query.integer(name)?.filter(|value| *value < least);
        errors.extend(low.map(|value| field::Error::invalid(&Path::new(name), value, why)));
        Ok(())
    };
    least("tailLines", 0, "must be greater than or equal to 0")?;
    least("limitBytes", 1, "must be greater than 0")?;
    if query.integer("sinceSeconds")?.is_none() || query.text("sinceTime").is_empty() {
        least("sinceSeconds", 1, "must be greater than 0")?;
    } else {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        errors.push(field::Error::forbidden(&Path::new("[]"), why));
    }
    errors.extend(stream_errors(&query, request.api.features()));
    Ok(errors)
}

/// What is wrong with which of a container's streams are asked for.
fn stream_errors(query: &Query, features: &Features) -> field::Errors {
    let Some(stream) = query.first("stream") else { return Vec::new() };
    let at = Path::new("stream");
    if !features.is_on("PodLogsQuerySplitStreams") {
        return vec![field::Error::forbidden(&at, "may not be specified")];
    }
    let mut errors = Vec::new();
    if !STREAMS.contains(&stream) {
        errors.push(field::Error::not_supported(&at, stream, &STREAMS));
    }
    if stream != ALL && !query.text("tailLines").is_empty() {
        let why = "`tailLines` and specific `stream` are mutually exclusive for now";
        errors.push(field::Error::forbidden(&Path::new("[]"), why));
    }
    errors
}

/// What the kubelet says of its failure.
async fn text_of(answer: Response<Incoming>) -> String {
    match body::read(body::boxed(answer.into_body())).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(error) => error.message().to_owned(),
    }
}

/// Why there is no stream, in the words clients of the original have for it.
async fn no_stream(answer: Response<Incoming>) -> ApiError {
    let code = answer.status();
    let why = format!("unable to upgrade connection: {}", text_of(answer).await);
    match code {
        StatusCode::BAD_REQUEST => ApiError::bad_request(why),
        StatusCode::NOT_FOUND => ApiError::new(code, "NotFound", why),
        _ => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", why),
    }
}

/// The kubelet's plain-text failure as a Status.
async fn kubelet_error(answer: Response<Incoming>, container: &str, pod: &str) -> ApiError {
    let code = answer.status();
    let text = text_of(answer).await;
    match code {
        StatusCode::BAD_REQUEST => ApiError::bad_request(text),
        StatusCode::NOT_FOUND => ApiError::new(
            code,
            "NotFound",
            format!("the server could not find the requested resource ( pods/log {pod}): {text}"),
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            ApiError::internal(format!("the kubelet refused the API server: {text}"))
        }
        _ => ApiError::internal(format!("container {container:?}: {text}")),
    }
}

/// `pods/exec`, `pods/attach` and `pods/portforward`: a connection taken over and passed through, for those who may
/// create it. A WebSocket begins as a `GET`, for which authorization has asked whether they may `get` it; that alone does
/// not open it while the gate `AuthorizePodWebsocketUpgradeCreatePermission` is on.
#[derive(Debug, Clone)]
pub struct PodStream(pub KubeletClient);

#[async_trait]
impl Handler for PodStream {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let options = stream_options(&request);
        request.api.admit_connect(&request, &options).await?;
        ensure_may_create(&request).await?;
        let pod = pod_of(&request).await?;
        let path = stream_path(&request, &pod)?;
        let node = pod.text(&["spec", "nodeName"]).to_owned();
        if node.is_empty() {
            let why = format!("pod {} does not have a host assigned", pod.name());
            return Err(ApiError::bad_request(why));
        }
        let Some(client_side) = request.upgrade() else {
            return Err(ApiError::bad_request("Upgrade request required"));
        };
        let method = request.head.method.clone();
        let headers = passed_headers(&request.head.headers);
        let answer = self.0.send(&request.api, &node, method, &path, headers).await?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(no_stream(answer).await);
        }
        Ok(switch(&request.api, answer, client_side, request.held()))
    }
}

async fn ensure_may_create(request: &HandlerRequest) -> ApiResult<()> {
    const GATE: &str = "AuthorizePodWebsocketUpgradeCreatePermission";
    let info = &request.info;
    if info.verb == "create" || !request.api.features().is_on(GATE) {
        return Ok(());
    }
    let mut attributes = info.attributes(&request.user);
    attributes.verb = "create".to_owned();
    match request.api.authorizer().authorize(&attributes).await {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            Err(ApiError::forbidden(&info.group_resource(), &info.name, reason))
        }
    }
}

fn passed_headers(sent: &HeaderMap) -> HeaderMap {
    let passed = |name: &HeaderName| {
        name == header::CONNECTION
            || name == header::UPGRADE
            || name.as_str().starts_with("sec-websocket-")
            || name.as_str().starts_with("x-stream-protocol-version")
    };
    let kept = sent.iter().filter(|(name, _)| passed(name));
    kept.filter_map(|(name, value)| Some((name.clone(), without_token(name, value)?))).collect()
}

/// Browsers send their token as a WebSocket subprotocol: it is not for the kubelet.
pub(crate) fn without_token(
    name: &HeaderName,
    value: &header::HeaderValue,
) -> Option<header::HeaderValue> {
    if name != header::SEC_WEBSOCKET_PROTOCOL {
        return Some(value.clone());
    }
    let names = value.to_str().ok()?.split(',').map(str::trim);
    let others: Vec<_> =
        names.filter(|name| !name.starts_with("base64url.bearer.authorization.k8s.io.")).collect();
    (!others.is_empty()).then(|| others.join(", ").parse().ok()).flatten()
}

fn stream_path(request: &HandlerRequest, pod: &Object) -> ApiResult<String> {
    let query = request.query();
    let (namespace, name) = (pod.namespace(), pod.name());
    if request.info.subresource == "portforward" {
        let ports: Vec<_> = query.all("ports").collect();
        let mut path = format!("/portForward/{namespace}/{name}");
        if !ports.is_empty() {
            let _ = write!(path, "?port={}", escaped(&ports.join(",")));
        }
        return Ok(path);
    }
    let container = container_of(pod, query.text("container"))?;
    let mut path = format!("/{}/{namespace}/{name}/{container}?", request.info.subresource);
    for (flag, name) in
        [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
    {
        if query.flag(flag) == Some(true) {
            let _ = write!(path, "{name}=1&");
        }
    }
    for word in query.all("command") {
        let _ = write!(path, "command={}&", escaped(word));
    }
    Ok(path.trim_end_matches('&').to_owned())
}

fn stream_options(request: &HandlerRequest) -> Object {
    let query = request.query();
    let kind = match request.info.subresource.as_str() {
        "exec" => "PodExecOptions",
        "attach" => "PodAttachOptions",
        _ => "PodPortForwardOptions",
    };
    let flag = |name: &str| query.flag(name).unwrap_or_default();
    let value = json!({
        "apiVersion": "v1", "kind": kind,
        "stdin": flag("stdin"), "stdout": flag("stdout"), "stderr": flag("stderr"), "tty": flag("tty"),
        "container": query.text("container"), "command": query.all("command").collect::<Vec<_>>(),
    });
    Object::from_value(value).unwrap_or_default()
}

async fn pod_of(request: &HandlerRequest) -> ApiResult<Object> {
    request
        .api
        .get(&GroupResource::new("", "pods"), &request.info.namespace, &request.info.name)
        .await
}

/// The container asked for; without a name the default one, or the only one.
fn container_of(pod: &Object, asked: &str) -> ApiResult<String> {
    let names = |list: &str| -> Vec<String> {
        let items = pod.at(&["spec", list]).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(|item| item["name"].as_str())
            .map(str::to_owned)
            .collect()
    };
    let containers = names("containers");
    let (init, ephemeral) = (names("initContainers"), names("ephemeralContainers"));
    if asked.is_empty() {
        return match containers.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {}",
                pod.name()
            ))),
            _ => {
                let all = [init, containers, ephemeral].concat().join(" ");
                let why = format!(
                    "a container name must be specified for pod {}, choose one of: [{all}]",
                    pod.name()
                );
                Err(ApiError::bad_request(why))
            }
        };
    }
    if [&containers, &init, &ephemeral].iter().any(|names| names.iter().any(|name| name == asked)) {
        return Ok(asked.to_owned());
    }
    Err(ApiError::bad_request(format!("container {asked} is not valid for pod {}", pod.name())))
}

/// Percent-encodes everything but unreserved characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_of_a_container_is_asked_for_without_a_number_of_lines() {
        let errors = |gate: &str, query: &str| {
            let found = stream_errors(&Query::parse(query), &gate.parse().unwrap());
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let (on, off) = ("PodLogsQuerySplitStreams=true", "PodLogsQuerySplitStreams=false");
        let none = Vec::<String>::new();
        assert_eq!(errors(off, "tailLines=1"), none);
        assert_eq!(errors(off, "stream=All"), ["stream: Forbidden: may not be specified"]);
        for query in ["tailLines=1", "stream=All&tailLines=1", "stream=Stderr"] {
            assert_eq!(errors(on, query), none, "{query}");
        }
        let exclusive =
            "[]: Forbidden: `tailLines` and specific `stream` are mutually exclusive for now";
        assert_eq!(errors(on, "stream=Stdout&tailLines=1"), [exclusive]);
        let unknown =
            "stream: Unsupported value: \"x\": supported values: \"All\", \"Stderr\", \"Stdout\"";
        assert_eq!(errors(on, "stream=x"), [unknown]);
    }
}
