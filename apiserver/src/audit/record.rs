use super::{
    AuditLog, AuthenticationMetadata, Event, Level, ObjectReference, Stage, User, Verdict,
};
use crate::info::RequestInfo;
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    ApiError, Definition, Object,
    auth::{PeerAddress, UserInfo},
    decode::conform,
    protobuf::{self, Message},
    yaml,
};
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::{io::Read, net::IpAddr, sync::Arc};

const LONGEST_AGENT: usize = 1024;
/// How large an answer may be that is unpacked for the log, in bytes.
const LARGEST: u64 = 1 << 30;

/// What is recorded of one request.
#[derive(Debug)]
pub(crate) struct Record {
    log: Arc<AuditLog>,
    clock: SharedClock,
    verdict: Verdict,
    event: Mutex<Event>,
    /// The body, as far as it was read.
    sent: Mutex<Vec<Bytes>>,
}

impl Record {
    /// The record of a request, if it is to be audited. `user` is `None` when nobody was found behind it.
    pub(crate) fn begin(
        log: &Arc<AuditLog>,
        clock: &SharedClock,
        head: &Parts,
        info: &RequestInfo,
        user: Option<&Arc<UserInfo>>,
    ) -> Option<Arc<Self>> {
        let attributes = info.attributes(&user.cloned().unwrap_or_default());
        let verdict = log.judge(&attributes);
        if verdict.level == Level::None {
            return None;
        }
        let text = |name: &str| {
            let value = head.headers.get(name).map(HeaderValue::as_bytes);
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        };
        let mut event = Event::new(verdict.level, text("audit-id"), clock.now());
        event.request_uri = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        event.verb.clone_from(&info.verb);
        event.user = user.map(|user| User::from(user.as_ref())).unwrap_or_default();
        event.source_ips = source_ips(head);
        event.user_agent = shortened(text("user-agent"));
        event.object_ref = info.is_resource().then(|| ObjectReference {
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
            api_group: info.group.clone(),
            api_version: info.version.clone(),
            subresource: info.subresource.clone(),
            ..ObjectReference::default()
        });
        let (log, clock) = (log.clone(), clock.clone());
        let record = Self { log, clock, verdict, event: Mutex::new(event), sent: Mutex::default() };
        Some(Arc::new(record))
    }

    pub(crate) fn level(&self) -> Level {
        self.verdict.level
    }

    /// Notes what a step has to say; the first value of a key stays.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        let mut event = self.event.lock();
        event.annotations.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }

    /// Notes as whom the request goes on, and the verb that allows it where that says in which way.
    pub(crate) fn impersonated(&self, user: &UserInfo, constraint: Option<String>) {
        let mut event = self.event.lock();
        event.impersonated_user = Some(User::from(user));
        event.authentication_metadata = constraint
            .map(|impersonation_constraint| AuthenticationMetadata { impersonation_constraint });
    }

    pub(crate) fn read(&self, data: Bytes) {
        self.sent.lock().push(data);
    }

    fn at(&self, stage: Stage) -> Option<Event> {
        if self.verdict.omit_stages.contains(&stage) {
            return None;
        }
        let mut event = self.event.lock().clone();
        event.stage = stage;
        event.stage_timestamp = match stage {
            Stage::RequestReceived => event.request_received_timestamp,
            _ => self.clock.now(),
        };
        Some(event)
    }

    /// Records that the request has come so far. False when it may not go on, because that could not be written.
    pub(crate) async fn stage(&self, stage: Stage) -> bool {
        match self.at(stage) {
            Some(event) => self.log.send(event).await,
            None => true,
        }
    }

    /// Counts the request as one that was not served because it could not be recorded.
    pub(crate) fn rejected(&self) {
        self.log.rejected();
    }

    pub(crate) fn stage_now(&self, stage: Stage) {
        if let Some(event) = self.at(stage) {
            self.log.send_now(event);
        }
    }

    /// Notes what was sent, once it was read.
    pub(crate) fn request(
        &self,
        verb: &str,
        headers: &HeaderMap,
        definition: Option<&Arc<Definition>>,
    ) {
        let parts = std::mem::take(&mut *self.sent.lock());
        let body = parts.concat();
        if body.is_empty() {
            return;
        }
        let Some(mut value) = parsed(headers, &body) else { return };
        match verb {
            "create" | "update" => value = with_defaults(value, definition),
            "delete" | "deletecollection" => {
                value["kind"] = "DeleteOptions".into();
                value["apiVersion"] = "meta.k8s.io/__internal".into();
            }
            _ => {}
        }
        let mut event = self.event.lock();
        if let Some(object) = event.object_ref.as_mut().filter(|_| verb != "patch") {
            refer(object, &value);
        }
        if event.level >= Level::Request {
            event.request_object = Some(self.trimmed(value));
        }
    }

    /// Notes how the request ended.
    pub(crate) fn failed(&self, error: &ApiError) {
        let status = error.to_status();
        self.status(&status, error.code());
        let mut event = self.event.lock();
        if event.level >= Level::RequestResponse && event.object_ref.is_some() {
            event.response_object = Some(status);
        }
    }

    /// Notes the code of the answer.
    pub(crate) fn answered(&self, code: StatusCode) {
        self.event.lock().response_status = Some(json!({"metadata": {}, "code": code.as_u16()}));
    }

    /// Notes the answer itself.
    pub(crate) fn response(&self, code: StatusCode, headers: &HeaderMap, body: &[u8]) {
        let packed = headers.get(header::CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let mut plain = Vec::new();
        let body = match packed {
            true if GzDecoder::new(body).take(LARGEST).read_to_end(&mut plain).is_ok() => &plain,
            _ => body,
        };
        let Some(value) = parsed(headers, body) else { return };
        if value["kind"] == "Status" && value["apiVersion"] == "v1" {
            self.status(&value, code);
        }
        let mut event = self.event.lock();
        if event.level >= Level::RequestResponse && event.object_ref.is_some() {
            event.response_object = Some(self.trimmed(value));
        }
    }

    fn status(&self, status: &Value, code: StatusCode) {
        let mut noted = Map::from_iter([("metadata".to_owned(), json!({}))]);
        for key in ["status", "message", "reason", "details"] {
            if let Some(value) = status.get(key) {
                noted.insert(key.to_owned(), value.clone());
            }
        }
        noted.insert("code".to_owned(), code.as_u16().into());
        self.event.lock().response_status = Some(Value::Object(noted));
    }

    fn trimmed(&self, mut value: Value) -> Value {
        if self.verdict.omit_managed_fields {
            drop_managed_fields(&mut value);
            for (list, inner) in [("items", None), ("rows", Some("object"))] {
                for item in value.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
                {
                    match inner {
                        Some(inner) => {
                            item.get_mut(inner).into_iter().for_each(drop_managed_fields)
                        }
                        None => drop_managed_fields(item),
                    }
                }
            }
        }
        value
    }
}

fn drop_managed_fields(object: &mut Value) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.remove("managedFields");
    }
}

/// A body as JSON, whatever it was written in; `None` for what is none of the known forms.
fn parsed(headers: &HeaderMap, body: &[u8]) -> Option<Value> {
    let kind = crate::decode::media_type(headers);
    if kind.contains("yaml") {
        return yaml::parse(body).ok();
    }
    if kind != protobuf::CONTENT_TYPE {
        return serde_json::from_slice(body).ok();
    }
    let sent = protobuf::unwrap(body).ok()?;
    let message = Message::of_kind(&sent.api_version, &sent.kind)?;
    let mut map = message.decode(sent.raw).ok()?;
    map.insert("kind".to_owned(), sent.kind.into());
    map.insert("apiVersion".to_owned(), sent.api_version.into());
    Some(Value::Object(map))
}

/// What the original logs is decoded already, and decoding fills defaults in.
fn with_defaults(value: Value, definition: Option<&Arc<Definition>>) -> Value {
    let (Some(definition), true) = (definition, value.is_object()) else { return value };
    let Some(mut object) = Object::from_value(value.clone()) else { return value };
    let kind = &definition.kind;
    if !object.kind().is_empty() && object.kind() != kind.kind {
        return value;
    }
    object.set(&["kind"], kind.kind.as_ref());
    object.set(&["apiVersion"], definition.group_version().to_string());
    if conform(&mut object, &definition.schema).is_err() {
        return value;
    }
    definition.strategy.default(&mut object);
    object.into_value()
}

/// What the path does not say, the object may.
fn refer(reference: &mut ObjectReference, object: &Value) {
    let metadata = &object["metadata"];
    for (field, key) in [
        (&mut reference.namespace, "namespace"),
        (&mut reference.name, "name"),
        (&mut reference.uid, "uid"),
        (&mut reference.resource_version, "resourceVersion"),
    ] {
        if field.is_empty() {
            *field = metadata[key].as_str().unwrap_or_default().to_owned();
        }
    }
}

fn shortened(agent: String) -> String {
    if agent.len() <= LONGEST_AGENT {
        return agent;
    }
    let end = (0..=LONGEST_AGENT).rev().find(|end| agent.is_char_boundary(*end));
    format!("{}...TRUNCATED", &agent[..end.unwrap_or_default()])
}

/// The proxies a request says that it came over, then who connected, if that is not the last of them.
fn source_ips(head: &Parts) -> Vec<String> {
    let texts = |name: &str| -> Vec<String> {
        let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).map(|part| part.trim().to_owned()).collect()
    };
    let parse = |text: &String| text.parse::<IpAddr>().ok();
    let mut found: Vec<IpAddr> = texts("x-forwarded-for").iter().filter_map(parse).collect();
    if let Some(real) = texts("x-real-ip").first().and_then(parse).filter(|ip| !found.contains(ip))
    {
        found.push(real);
    }
    if let Some(PeerAddress(peer)) = head.extensions.get::<PeerAddress>()
        && found.last() != Some(peer)
    {
        found.push(*peer);
    }
    found.iter().map(ToString::to_string).collect()
}
