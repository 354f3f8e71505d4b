//! What is refused, with which Status, and that it loses nothing.

use crate::{
    cluster::{Cluster, Ground},
    raw::Raw,
};
use kubeplane::{
    store::{Revision, Store},
    store_etcd::{EtcdOptions, EtcdStore},
};
use serde_json::{Value, json};

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
}

fn fields(status: &Value) -> Vec<&str> {
    let causes = status["details"]["causes"].as_array().unwrap();
    causes.iter().map(|cause| cause["field"].as_str().unwrap()).collect()
}

/// One cluster for all: what is refused must leave no trace.
#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_lose_nothing() {
    let ground = Ground::simulated();
    refused(&ground.start()).await;
}

async fn refused(cluster: &Cluster) {
    let raw = Raw::admin(cluster).await;
    let answer = raw.post(CONFIG_MAPS, config_map("kept").to_string()).await;
    assert_eq!(answer.code, 201, "{}", answer.text);
    let before = answer.json();
    bodies(&raw).await;
    field_validation(&raw).await;
    names_and_labels(&raw).await;
    immutable_fields(&raw).await;
    versions(&raw, &before).await;
    paths(&raw).await;
    queries(&raw).await;
    credentials(cluster).await;
    let after = raw.get(&format!("{CONFIG_MAPS}/kept")).await.json();
    assert_eq!(after, before);
    let named = raw.get(CONFIG_MAPS).await.json();
    let names: Vec<&str> = named["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ignored", "kept", "kube-root-ca.crt", "warned"]);
}

async fn bodies(raw: &Raw) {
    let unrecognized = "the object provided is unrecognized (must be of type ConfigMap): ";
    raw.post(CONFIG_MAPS, "{\"kind\": ").await.refused(
        400,
        "BadRequest",
        &[unrecognized, "unexpected end of JSON input"],
    );
    for body in ["[]", "\"text\"", "", "{} {}"] {
        raw.post(CONFIG_MAPS, body).await.refused(400, "BadRequest", &[]);
    }
    let mut wrong = config_map("wrong");
    wrong["data"]["a"] = 1.into();
    let cannot = "cannot be handled as a ConfigMap";
    raw.post(CONFIG_MAPS, wrong.to_string()).await.refused(400, "BadRequest", &[cannot, "data"]);
    let yaml = raw.send("POST", CONFIG_MAPS, Some("application/yaml"), b"a: [1".to_vec()).await;
    yaml.refused(400, "BadRequest", &["yaml"]);
    let mut other = config_map("other");
    other["kind"] = "Secret".into();
    raw.post(CONFIG_MAPS, other.to_string()).await.refused(
        400,
        "BadRequest",
        &["Secret in version \"v1\" cannot be handled as a ConfigMap"],
    );
    other = config_map("other");
    other["apiVersion"] = "apps/v1".into();
    raw.post(CONFIG_MAPS, other.to_string()).await.refused(400, "BadRequest", &["apps/v1"]);
    let strange = raw.send("POST", CONFIG_MAPS, Some("text/plain"), b"hello".to_vec()).await;
    strange.refused(415, "UnsupportedMediaType", &["application/json"]);
    let mut large = config_map("large");
    large["data"]["a"] = "x".repeat(3 << 20).into();
    raw.post(CONFIG_MAPS, large.to_string()).await.refused(
        413,
        "RequestEntityTooLarge",
        &["Request entity too large: limit is 3145728"],
    );
    large["data"]["a"] = "x".repeat(2 << 20).into();
    let status = raw.post(CONFIG_MAPS, large.to_string()).await.refused(
        422,
        "Invalid",
        &["ConfigMap \"large\" is invalid: []: Too long: may not be more than 1048576 bytes"],
    );
    assert_eq!(fields(&status), ["[]"]);
    let patch = raw
        .send(
            "PATCH",
            &format!("{CONFIG_MAPS}/kept"),
            Some("application/json-patch+json"),
            b"{}".to_vec(),
        )
        .await;
    assert_eq!(patch.code, 400, "{}", patch.text);
}

async fn field_validation(raw: &Raw) {
    let body = |name: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","shoe":"size"}},"data":{{"a":"1"}},"data":{{"b":"2"}}}}"#
        )
    };
    let path = |how: &str| format!("{CONFIG_MAPS}?fieldValidation={how}");
    let ignored = raw.post(&path("Ignore"), body("ignored")).await;
    assert_eq!((ignored.code, ignored.warnings.len()), (201, 0), "{ignored:?}");
    let warned = raw.post(&path("Warn"), body("warned")).await;
    assert_eq!(warned.code, 201, "{warned:?}");
    let warnings = warned.warnings.join("\n");
    assert!(warnings.contains(r#"299 - "unknown field \"metadata.shoe\"""#), "{warnings}");
    assert!(warnings.contains(r#"299 - "duplicate field \"data\"""#), "{warnings}");
    let strict = raw.post(&path("Strict"), body("strict")).await;
    strict.refused(
        400,
        "BadRequest",
        &["strict decoding error", "unknown field \"metadata.shoe\"", "duplicate field \"data\""],
    );
    let odd = raw.post(&path("Loose"), body("loose")).await;
    odd.refused(422, "Invalid", &["fieldValidation", "Ignore", "Warn", "Strict"]);
}

async fn names_and_labels(raw: &Raw) {
    let mut bad = config_map("Bad_Name");
    bad["metadata"]["labels"] = json!({"a b": "ok", "c": "no spaces"});
    bad["metadata"]["annotations"] = json!({"/": ""});
    let status = raw.post(CONFIG_MAPS, bad.to_string()).await.refused(
        422,
        "Invalid",
        &["ConfigMap \"Bad_Name\" is invalid: ", "a lowercase RFC 1123 subdomain"],
    );
    let named = fields(&status);
    for field in ["metadata.name", "metadata.labels", "metadata.annotations"] {
        assert!(named.contains(&field), "{field} in {named:?}");
    }
    assert_eq!(status["details"]["name"], "Bad_Name");
    assert_eq!(status["details"]["kind"], "ConfigMap");
    let mut nameless = config_map("x");
    nameless["metadata"] = json!({});
    raw.post(CONFIG_MAPS, nameless.to_string()).await.refused(
        422,
        "Invalid",
        &["name or generateName is required"],
    );
    let mut elsewhere = config_map("x");
    elsewhere["metadata"]["namespace"] = "kube-system".into();
    raw.post(CONFIG_MAPS, elsewhere.to_string()).await.refused(
        400,
        "BadRequest",
        &["does not match the namespace"],
    );
    raw.post("/api/v1/namespaces/nowhere/configmaps", config_map("x").to_string()).await.refused(
        404,
        "NotFound",
        &["namespaces \"nowhere\" not found"],
    );
    raw.post(CONFIG_MAPS, config_map("kept").to_string()).await.refused(
        409,
        "AlreadyExists",
        &["configmaps \"kept\" already exists"],
    );
}

async fn immutable_fields(raw: &Raw) {
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let deployment = |label: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "fixed"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": label}},
                "template": {
                    "metadata": {"labels": {"app": label}},
                    "spec": {"containers": [{"name": "a", "image": "a"}]},
                },
            },
        })
    };
    assert_eq!(raw.post(deployments, deployment("one").to_string()).await.code, 201);
    let path = format!("{deployments}/fixed");
    let status =
        raw.put(&path, &deployment("two")).await.refused(422, "Invalid", &["field is immutable"]);
    assert_eq!(fields(&status), ["spec.selector"]);
    let mut crooked = deployment("one");
    crooked["spec"]["template"]["metadata"]["labels"]["app"] = "two".into();
    crooked["spec"]["template"]["spec"]["containers"][0] = json!({"name": "a"});
    let status = raw.put(&path, &crooked).await.refused(
        422,
        "Invalid",
        &["Deployment.apps \"fixed\" is invalid"],
    );
    assert_eq!(
        fields(&status),
        ["spec.template.metadata.labels", "spec.template.spec.containers[0].image"]
    );
    let mut typed = deployment("one");
    typed["spec"]["replicas"] = "three".into();
    raw.put(&path, &typed).await.refused(400, "BadRequest", &["cannot be handled as a Deployment"]);
    assert_eq!(raw.send("DELETE", &path, None, Vec::new()).await.code, 200);

    let secrets = "/api/v1/namespaces/default/secrets";
    let secret = |immutable: bool| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "immutable": immutable, "stringData": {"k": "v"}});
    assert_eq!(raw.post(secrets, secret(true).to_string()).await.code, 201);
    let status = raw.put(&format!("{secrets}/s"), &secret(false)).await.refused(
        422,
        "Invalid",
        &["immutable"],
    );
    assert_eq!(fields(&status)[0], "immutable");
}

async fn versions(raw: &Raw, kept: &Value) {
    let path = format!("{CONFIG_MAPS}/kept");
    let mut stale = kept.clone();
    stale["metadata"]["resourceVersion"] = "1".into();
    stale["data"]["a"] = "2".into();
    raw.put(&path, &stale).await.refused(
        409,
        "Conflict",
        &["Operation cannot be fulfilled on configmaps \"kept\": the object has been modified"],
    );
    stale["metadata"]["resourceVersion"] = "first".into();
    let answer = raw.put(&path, &stale).await;
    // The original's own answer, code and words.
    let why = "strconv.ParseUint: parsing \"first\": invalid syntax";
    assert_eq!((answer.code, answer.json()["message"].as_str()), (500, Some(why)));
    stale["metadata"]["resourceVersion"] = kept["metadata"]["resourceVersion"].clone();
    stale["metadata"]["uid"] = "0a0a0a0a-0000-0000-0000-000000000000".into();
    assert_eq!(raw.put(&path, &stale).await.code, 409);
    let condition = json!({"preconditions": {"resourceVersion": "1"}}).to_string();
    let answer = raw.send("DELETE", &path, Some("application/json"), condition.into_bytes()).await;
    answer.refused(
        409,
        "Conflict",
        &["the ResourceVersion in the precondition (1) does not match"],
    );
    raw.put(&format!("{CONFIG_MAPS}/other"), kept).await.refused(
        400,
        "BadRequest",
        &["the name of the object"],
    );
}

async fn paths(raw: &Raw) {
    let nothing = "the server could not find the requested resource";
    for path in [
        "/api/v1/shoes",
        "/apis/shop/v1/shoes",
        "/api/v2/pods",
        "/apis/apps/v1/namespaces/default/pods",
    ] {
        let answer = raw.get(path).await;
        assert_eq!(answer.code, 404, "{path}: {}", answer.text);
    }
    raw.get("/api/v1/namespaces/default/shoes").await.refused(404, "NotFound", &[nothing]);
    raw.get(&format!("{CONFIG_MAPS}/nobody")).await.refused(
        404,
        "NotFound",
        &["configmaps \"nobody\" not found"],
    );
    let answer = raw.send("PUT", CONFIG_MAPS, Some("application/json"), b"{}".to_vec()).await;
    answer.refused(
        405,
        "MethodNotAllowed",
        &["the server does not allow this method on the requested resource"],
    );
}

async fn queries(raw: &Raw) {
    for (query, message) in [
        ("labelSelector=a%20b", "unable to parse requirement"),
        ("fieldSelector=spec.shoe%3D1", "is not a known field selector"),
        ("resourceVersion=first", "first"),
        ("continue=nonsense", "continue"),
        ("limit=many", "many"),
    ] {
        let answer = raw.get(&format!("{CONFIG_MAPS}?{query}")).await;
        assert!((400..500).contains(&answer.code), "{query}: {answer:?}");
        assert!(answer.text.contains(message), "{query}: {answer:?}");
    }
}

async fn credentials(cluster: &Cluster) {
    let stranger = Raw::with_token(cluster, "nonsense").await;
    stranger.get(CONFIG_MAPS).await.refused(401, "Unauthorized", &["Unauthorized"]);
    let nobody = Raw::anonymous(cluster).await;
    nobody.get(CONFIG_MAPS).await.refused(
        403,
        "Forbidden",
        &["configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\""],
    );
    let token = cluster.kubectl().ok(&["create", "token", "default"]);
    let account = Raw::with_token(cluster, token.trim()).await;
    account.get(CONFIG_MAPS).await.refused(
        403,
        "Forbidden",
        &["User \"system:serviceaccount:default:default\" cannot list resource \"configmaps\""],
    );
    account.post(CONFIG_MAPS, config_map("mine").to_string()).await.refused(
        403,
        "Forbidden",
        &["cannot create"],
    );
}

/// Whoever sends far too much reads the answer, whether it was announced or not.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_too_large_is_answered() {
    let ground = Ground::simulated();
    let cluster = ground.start();
    let file = ground.data.path().join("large");
    std::fs::write(&file, "x".repeat(12 << 20)).unwrap();
    let (_, said) = cluster.kubectl().fails(&[
        "create",
        "configmap",
        "large",
        &format!("--from-file={}", file.display()),
    ]);
    assert!(said.contains("Request entity too large: limit is 3145728"), "{said}");
    let raw = Raw::admin(&cluster).await;
    for size in [4 << 20, 12 << 20] {
        raw.post(CONFIG_MAPS, vec![b'x'; size]).await.refused(
            413,
            "RequestEntityTooLarge",
            &["Request entity too large: limit is 3145728"],
        );
    }
    assert_eq!(raw.get(CONFIG_MAPS).await.code, 200);
}

/// The same on etcd; and a watch from a revision that is not there any more is told so.
#[tokio::test(flavor = "multi_thread")]
async fn etcd_refuses_the_same_and_watches_of_what_is_compacted() {
    let ground = Ground::simulated().on_etcd();
    let mut cluster = ground.start();
    refused(&cluster).await;
    let raw = Raw::admin(&cluster).await;
    let mut last = Value::Null;
    for index in 0..20 {
        let answer = raw.post(CONFIG_MAPS, config_map(&format!("m{index}")).to_string()).await;
        assert_eq!(answer.code, 201);
        last = answer.json()["metadata"]["resourceVersion"].clone();
    }
    assert!(cluster.process.interrupt().success());
    let url = ground.etcd.as_ref().unwrap().url();
    let store = EtcdStore::connect(EtcdOptions::new([url])).await.unwrap();
    let through = Revision(last.as_str().unwrap().parse().unwrap());
    store.compact(through).await.unwrap();
    let cluster = ground.start();
    let raw = Raw::admin(&cluster).await;
    let answer =
        raw.get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=2&timeoutSeconds=5")).await;
    let first: Value =
        serde_json::from_str(answer.text.lines().next().unwrap_or_default()).unwrap();
    let status = if answer.code == 200 { first["object"].clone() } else { first };
    assert_eq!(
        (&status["code"], &status["reason"]),
        (&410.into(), &"Expired".into()),
        "{}",
        answer.text
    );
    assert!(
        status["message"].as_str().unwrap().starts_with("too old resource version: 2"),
        "{status}"
    );
    assert_eq!(answer.text.lines().count(), 1, "a watch that cannot go on ends");
}
