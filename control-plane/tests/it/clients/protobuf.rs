//! Protobuf requests with bytes made here, tag by tag, so that no table of the server can agree with itself.

use crate::{
    cluster::Ground,
    raw::{Exchange, Raw},
};
use serde_json::Value;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of bytes.
fn field(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

fn entry(key: &str, value: &str) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value.as_bytes())].concat()
}

/// The body of an object of version v1.
fn body(kind: &str, message: &[u8]) -> Vec<u8> {
    let what = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &what), field(2, message)].concat()
}

/// A ConfigMap with metadata and data.
fn map(metadata: &[u8], data: &[(&str, &str)]) -> Vec<u8> {
    let entries = data.iter().map(|(key, value)| field(2, &entry(key, value)));
    [field(1, metadata)].into_iter().chain(entries).flatten().collect()
}

/// The fields of a message: tag, and the bytes or the number.
#[derive(Debug, Clone, Default)]
struct Fields(Vec<(u64, Vec<u8>, u64)>);

impl Fields {
    fn of(mut message: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !message.is_empty() {
            let key = number(&mut message);
            match key & 7 {
                0 => fields.push((key >> 3, Vec::new(), number(&mut message))),
                2 => {
                    let length = usize::try_from(number(&mut message)).unwrap();
                    let (value, rest) = message.split_at(length);
                    message = rest;
                    fields.push((key >> 3, value.to_vec(), 0));
                }
                other => panic!("wire type {other}"),
            }
        }
        Self(fields)
    }

    fn all(&self, tag: u64) -> Vec<Vec<u8>> {
        self.0.iter().filter(|field| field.0 == tag).map(|field| field.1.clone()).collect()
    }

    #[track_caller]
    fn one(&self, tag: u64) -> Vec<u8> {
        let all = self.all(tag);
        assert_eq!(all.len(), 1, "field {tag} of {self:?}");
        all[0].clone()
    }

    #[track_caller]
    fn text(&self, tag: u64) -> String {
        String::from_utf8(self.one(tag)).unwrap()
    }

    fn within(&self, tag: u64) -> Self {
        Self::of(&self.one(tag))
    }

    fn entries(&self, tag: u64) -> Vec<(String, String)> {
        let entries = self.all(tag).into_iter().map(|bytes| Self::of(&bytes));
        entries.map(|entry| (entry.text(1), entry.text(2))).collect()
    }
}

fn number(message: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = message[0];
        *message = &message[1..];
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

/// The version and kind of a body, and the message.
#[track_caller]
fn open(bytes: &[u8]) -> (String, Vec<u8>) {
    let unknown = Fields::of(bytes.strip_prefix(b"k8s\0").expect("the prefix"));
    let what = unknown.within(1);
    (format!("{} {}", what.text(1), what.text(2)), unknown.one(2))
}

/// That an answer is an object in protobuf; gives its message.
#[track_caller]
fn opened(answer: &Exchange, code: u16, kind: &str) -> Vec<u8> {
    assert_eq!((answer.code, answer.content.as_str()), (code, PROTOBUF), "{answer:?}");
    let (found, message) = open(&answer.body);
    assert_eq!(found, kind);
    message
}

/// That an answer is a Status of this code and reason; gives its message text.
#[track_caller]
fn refused(answer: &Exchange, code: u16, reason: &str) -> String {
    let status = Fields::of(&opened(answer, code, "v1 Status"));
    assert_eq!((status.text(2), status.text(4)), ("Failure".to_owned(), reason.to_owned()));
    let number = status.0.iter().find(|field| field.0 == 6).map(|field| field.2);
    assert_eq!(number, Some(u64::from(code)));
    status.text(3)
}

/// The user with protobuf both ways.
struct Client(Raw);

impl Client {
    async fn send(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Exchange {
        let mut headers = vec![("accept", PROTOBUF)];
        if body.is_some() {
            headers.push(("content-type", PROTOBUF));
        }
        self.0.exchange(method, path, &headers, body.unwrap_or_default()).await
    }

    async fn get(&self, path: &str) -> Exchange {
        self.send("GET", path, None).await
    }

    async fn create(&self, name: &str, data: &[(&str, &str)]) -> Exchange {
        let labels = field(11, &entry("app", "bytes"));
        let metadata = [field(1, name.as_bytes()), labels].concat();
        self.send("POST", MAPS, Some(body("ConfigMap", &map(&metadata, data)))).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_of_our_own_making_are_understood_and_answered() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let raw = Raw::admin(&cluster).await;
    let client = Client(raw.clone());
    let message = write(&client, &raw).await;
    refuse(&client).await;
    let begin = list(&client, &message).await;
    watch(&client, &begin).await;
    unserved(&client, &raw).await;
}

/// Create, get, update and delete; gives the message of what stays.
async fn write(client: &Client, raw: &Raw) -> Vec<u8> {
    let made = client.create("first", &[("b", "2"), ("a", "1")]).await;
    let message = opened(&made, 201, "v1 ConfigMap");
    let fields = Fields::of(&message);
    let metadata = fields.within(1);
    assert_eq!((metadata.text(1), metadata.text(3)), ("first".to_owned(), "default".to_owned()));
    assert_eq!(metadata.text(5).len(), 36, "a uid");
    assert_eq!(metadata.entries(11), [("app".to_owned(), "bytes".to_owned())]);
    let data = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())];
    assert_eq!(fields.entries(2), data, "in the order of the keys");
    let path = format!("{MAPS}/first");
    assert_eq!(client.get(&path).await.body, made.body);

    // The metadata goes back as it came.
    let next = map(&fields.one(1), &[("c", "3")]);
    let changed = client.send("PUT", &path, Some(body("ConfigMap", &next))).await;
    let message = opened(&changed, 200, "v1 ConfigMap");
    assert_eq!(Fields::of(&message).entries(2), [("c".to_owned(), "3".to_owned())]);
    let stale = client.send("PUT", &path, Some(body("ConfigMap", &next))).await;
    let said = refused(&stale, 409, "Conflict");
    assert!(said.contains("the object has been modified"), "{said}");

    let seen: Value = raw.get(&path).await.json();
    assert_eq!(seen["data"], serde_json::json!({"c": "3"}));
    assert_eq!(seen["metadata"]["uid"], metadata.text(5).as_str());

    opened(&client.create("second", &[]).await, 201, "v1 ConfigMap");
    let gone = client.send("DELETE", &format!("{MAPS}/second"), None).await;
    let status = Fields::of(&opened(&gone, 200, "v1 Status"));
    assert_eq!(status.text(2), "Success");
    message
}

/// Failures come in protobuf too, and bytes that are none are told so.
async fn refuse(client: &Client) {
    let said = refused(&client.get(&format!("{MAPS}/nobody")).await, 404, "NotFound");
    assert_eq!(said, "configmaps \"nobody\" not found");
    let said = refused(&client.create("Bad_Name", &[]).await, 422, "Invalid");
    assert!(said.contains("metadata.name: Invalid value: \"Bad_Name\""), "{said}");
    let said = refused(&client.send("POST", MAPS, Some(b"{}".to_vec())).await, 400, "BadRequest");
    assert!(said.contains("does not appear to be a protobuf message"), "{said}");
    let torn = body("ConfigMap", &[0x0a, 0x7f, 0x00]);
    let said = refused(&client.send("POST", MAPS, Some(torn)).await, 400, "BadRequest");
    assert!(said.contains("EOF"), "{said}");
    let other = client.send("POST", MAPS, Some(body("Secret", &map(b"", &[])))).await;
    refused(&other, 400, "BadRequest");
}

/// A list holds the bytes of each item, and its revision; gives that.
async fn list(client: &Client, item: &[u8]) -> String {
    let path = format!("{MAPS}?labelSelector=app%3Dbytes");
    let answer = client.get(&path).await;
    let list = Fields::of(&opened(&answer, 200, "v1 ConfigMapList"));
    assert_eq!(list.all(2), [item.to_vec()]);
    let begin = list.within(1).text(2);
    assert!(begin.parse::<u64>().is_ok(), "{begin}");
    for name in ["p", "q"] {
        client.create(name, &[]).await;
    }
    let page = client.get(&format!("{path}&limit=1")).await;
    let list = Fields::of(&opened(&page, 200, "v1 ConfigMapList"));
    assert_eq!(list.all(2).len(), 1);
    let token = list.within(1).text(3);
    let rest = client.get(&format!("{path}&limit=5&continue={token}")).await;
    let rest = Fields::of(&opened(&rest, 200, "v1 ConfigMapList")).all(2);
    let name = |message: &Vec<u8>| Fields::of(message).within(1).text(1);
    assert_eq!(rest.iter().map(name).collect::<Vec<_>>(), ["p", "q"]);
    begin
}

/// A watch is frames of a length and an event.
async fn watch(client: &Client, begin: &str) {
    client.send("DELETE", &format!("{MAPS}/q"), None).await;
    let path = format!(
        "{MAPS}?watch=true&resourceVersion={begin}&timeoutSeconds=1&labelSelector=app%3Dbytes"
    );
    let headers = [("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    let answer = client.0.exchange("GET", &path, &headers, Vec::new()).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert_eq!(answer.content, "application/vnd.kubernetes.protobuf;stream=watch");
    let (mut rest, mut seen) = (&answer.body[..], Vec::new());
    while let Some((length, frame)) = rest.split_first_chunk::<4>() {
        let (event, next) = frame.split_at(u32::from_be_bytes(*length) as usize);
        rest = next;
        let event = Fields::of(event);
        let (kind, message) = open(&event.within(2).one(1));
        assert_eq!(kind, "v1 ConfigMap");
        seen.push(format!("{} {}", event.text(1), Fields::of(&message).within(1).text(1)));
    }
    assert!(rest.is_empty());
    assert_eq!(seen, ["ADDED p", "ADDED q", "DELETED q"]);
}

/// What has no protobuf form is refused, unless the client takes JSON as well.
async fn unserved(client: &Client, raw: &Raw) {
    let definition = serde_json::json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.bytes.example.com"},
        "spec": {
            "group": "bytes.example.com",
            "scope": "Namespaced",
            "names": {"plural": "boats", "kind": "Boat"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {
                "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            }}],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(raw.post(path, definition.to_string()).await.code, 201);
    let path = "/apis/bytes.example.com/v1/namespaces/default/boats";
    let answer = loop {
        let answer = client.get(path).await;
        if answer.code != 404 {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(answer.code, 406, "{answer:?}");
    let both = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
    let answer = client.0.exchange("GET", path, &both, Vec::new()).await;
    assert_eq!((answer.code, answer.content.as_str()), (200, "application/json"), "{answer:?}");
}
