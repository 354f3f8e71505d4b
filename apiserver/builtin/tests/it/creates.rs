//! Decode, default, prepare and validate, as the handlers do for a create, and compare with what was recorded.
//!
//! The sample holds one record a line, in the form of the reference's `differential.jsonl`. With `KUBEPLANE_DIFFERENTIAL` a
//! file of more of them is taken instead and the differences are counted by kind.

use kubeplane_builtin::all;
use kubeplane_core::{
    ApiError, Definition, Object,
    admission::Warnings,
    auth::UserInfo,
    decode::{FieldValidation, Format, decode},
    definition::Context,
    features::Features,
    metadata::validate_created,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// What the server gives every new object.
const UID: &str = "00000000-0000-0000-0000-000000000001";

/// What the comparison looks at.
#[derive(Debug, PartialEq)]
struct Answer {
    code: u16,
    reason: Value,
    causes: Vec<(String, String)>,
    object: Value,
    message: String,
}

fn refused(error: &ApiError) -> Answer {
    let causes = error.details().map(|details| details.causes.clone()).unwrap_or_default();
    let mut causes: Vec<_> = causes.into_iter().map(|cause| (cause.field, cause.reason)).collect();
    causes.sort();
    Answer {
        code: error.code().as_u16(),
        reason: error.reason().into(),
        causes,
        object: Value::Null,
        message: error.message().to_owned(),
    }
}

/// The recorded server was of a distribution that mounts one more certificate.
fn without_extras(mut object: Value) -> Value {
    let volumes = object.pointer_mut("/spec/volumes").and_then(Value::as_array_mut);
    for volume in volumes.into_iter().flatten() {
        let sources = volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut);
        if let Some(sources) = sources {
            sources.retain(|source| source["configMap"]["name"] != "openshift-service-ca.crt");
        }
    }
    object
}

fn recorded(answer: &Value) -> Answer {
    let pair = |cause: &Value| {
        let text = |index: usize| cause[index].as_str().unwrap_or_default().to_owned();
        (text(0), text(1))
    };
    let mut causes: Vec<_> = answer["causes"].as_array().into_iter().flatten().map(pair).collect();
    causes.sort();
    Answer {
        code: u16::try_from(answer["code"].as_u64().unwrap()).unwrap(),
        reason: answer["reason"].clone(),
        causes,
        object: if answer["object"].is_null() {
            Value::Null
        } else {
            without_extras(answer["object"].clone())
        },
        message: answer["message"].as_str().unwrap_or_default().to_owned(),
    }
}

/// What handlers and admission of the whole server do between the hooks, as far as these records see it.
mod server {
    use super::*;

    pub(super) fn pod(object: &mut Object) {
        let spec = object.map_at_mut(&["spec"]);
        if spec.get("serviceAccountName").is_none_or(|name| name == "") {
            spec.insert("serviceAccountName".into(), "default".into());
            spec.insert("serviceAccount".into(), "default".into());
        }
        if spec.get("automountServiceAccountToken") != Some(&json!(false)) {
            let mut mounted = false;
            let mount = json!({"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "name": "kube-api-access-abcde", "readOnly": true});
            for list in ["initContainers", "containers"] {
                for container in
                    spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
                {
                    let path = &mount["mountPath"];
                    let has = container["volumeMounts"]
                        .as_array()
                        .is_some_and(|m| m.iter().any(|m| m["mountPath"] == *path));
                    if !has && container.is_object() {
                        if !container["volumeMounts"].is_array() {
                            container["volumeMounts"] = json!([]);
                        }
                        container["volumeMounts"].as_array_mut().unwrap().push(mount.clone());
                        mounted = true;
                    }
                }
            }
            if mounted {
                let volume = json!({"name": "kube-api-access-abcde", "projected": {"defaultMode": 420, "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
                    {"downwardAPI": {"items": [{"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}, "path": "namespace"}]}},
                ]}});
                let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
                volumes.as_array_mut().unwrap().push(volume);
            }
        }
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            let list =
                spec.entry("tolerations").or_insert_with(|| json!([])).as_array_mut().unwrap();
            let covers = |t: &Value| {
                let text = |field: &str| t[field].as_str().unwrap_or_default().to_owned();
                (text("key") == key || text("key").is_empty())
                    && (text("effect") == "NoExecute" || text("effect").is_empty())
            };
            if !list.iter().any(covers) {
                list.push(json!({"effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300}));
            }
        }
        spec.entry("priority").or_insert(0.into());
        spec.entry("preemptionPolicy").or_insert("PreemptLowerPriority".into());
    }

    pub(super) fn node(object: &mut Object) {
        let taints = object
            .map_at_mut(&["spec"])
            .entry("taints")
            .or_insert_with(|| json!([]))
            .as_array_mut()
            .unwrap();
        taints.push(json!({"effect": "NoSchedule", "key": "node.kubernetes.io/not-ready"}));
    }

    pub(super) fn protect(object: &mut Object, finalizer: &str) {
        object.set(&["metadata", "finalizers"], json!([finalizer]));
    }

    pub(super) fn service(object: &mut Object) {
        let kind = object.text(&["spec", "type"]).to_owned();
        let local = object.text(&["spec", "externalTrafficPolicy"]) == "Local";
        let spec = object.map_at_mut(&["spec"]);
        if kind == "ExternalName" {
            return;
        }
        if spec.get("clusterIP").is_none_or(|ip| ip == "") {
            spec.insert("clusterIP".into(), "10.96.0.5".into());
            spec.insert("clusterIPs".into(), json!(["10.96.0.5"]));
        }
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
        let headless = spec["clusterIP"] == "None" && spec.get("selector").is_none();
        if headless {
            spec.insert("ipFamilies".into(), json!(["IPv4", "IPv6"]));
        }
        let policy = if headless { "RequireDualStack" } else { "SingleStack" };
        spec.entry("ipFamilyPolicy").or_insert_with(|| json!(policy));
        let allocates = spec.get("allocateLoadBalancerNodePorts") != Some(&json!(false));
        if kind == "NodePort" || kind == "LoadBalancer" && allocates {
            let ports = spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten();
            for port in ports {
                if port["nodePort"].as_i64().unwrap_or_default() == 0 {
                    port["nodePort"] = (30_000 + port["port"].as_i64().unwrap_or_default()).into();
                }
            }
        }
        if kind == "LoadBalancer" && local {
            spec.entry("healthCheckNodePort").or_insert(30_400.into());
        }
    }
}

fn create(definition: &Definition, record: &Value) -> Answer {
    let path = record["path"].as_str().unwrap();
    let strict = path.contains("fieldValidation=Strict");
    let body = serde_json::to_vec(&record["body"]).unwrap();
    let validation = if strict { FieldValidation::Strict } else { FieldValidation::Warn };
    let mut object = match decode(&body, Format::Json, definition, validation) {
        Ok(decoded) => decoded.object,
        Err(error) => return refused(&error),
    };
    let namespace = path
        .split_once("/namespaces/")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map(|(name, _)| name);
    if let Some(namespace) = namespace.filter(|_| definition.is_namespaced()) {
        if !object.namespace().is_empty() && object.namespace() != namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return refused(&ApiError::bad_request(message));
        }
        object.set(&["metadata", "namespace"], namespace);
    }
    // Who wrote what was recorded.
    let mut user = UserInfo::new("admin", ["system:masters", "system:authenticated"]);
    user.uid = "admin".to_owned();
    let (warnings, features) = (Warnings::default(), Features::default());
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let context =
        Context { now, user: &user, subresource: "", warnings: &warnings, features: &features };
    let strategy = &definition.strategy;
    strategy.default(&mut object);
    for field in [
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
    ] {
        object.remove(&["metadata", field]);
    }
    object.remove(&["metadata", "generation"]);
    if definition.verbs.len() > 1 {
        object.set(&["metadata", "uid"], UID);
    }
    strategy.prepare_create(&context, &mut object);
    match &*definition.plural {
        "pods" => server::pod(&mut object),
        "services" => server::service(&mut object),
        "nodes" => server::node(&mut object),
        "persistentvolumes" => server::protect(&mut object, "kubernetes.io/pv-protection"),
        "persistentvolumeclaims" => server::protect(&mut object, "kubernetes.io/pvc-protection"),
        "volumeattributesclasses" => {
            server::protect(&mut object, "kubernetes.io/vac-protection");
        }
        _ => {}
    }
    strategy.default(&mut object);
    let mut errors = Vec::new();
    if definition.verbs.len() > 1 {
        errors = validate_created(&object, definition);
    }
    errors.extend(strategy.validate(&context, &object));
    if !errors.is_empty() {
        let name = object.name().to_owned();
        return refused(&ApiError::invalid(&definition.group_kind(), &name, &errors));
    }
    Answer {
        code: 201,
        reason: Value::Null,
        causes: Vec::new(),
        object: normal(object),
        message: String::new(),
    }
}

/// Without what differs from server to server.
fn normal(mut object: Object) -> Value {
    for field in ["uid", "creationTimestamp", "resourceVersion", "managedFields"] {
        object.remove(&["metadata", field]);
    }
    let mut value = object.into_value();
    let text = value.to_string().replace("kube-api-access-abcde", "kube-api-access-*");
    let text = text.replace(UID, "*");
    value = serde_json::from_str(&text).unwrap();
    if let Some(time) = value.pointer_mut("/status/lastPhaseTransitionTime") {
        *time = "*".into();
    }
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        for field in ["clusterIP", "clusterIPs", "healthCheckNodePort"] {
            if let Some(slot) =
                spec.get_mut(field).filter(|slot| **slot != "None" && **slot != json!(["None"]))
            {
                *slot = "*".into();
            }
        }
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if port.get("nodePort").is_some_and(|number| *number != 0) {
                port["nodePort"] = "*".into();
            }
        }
    }
    value
}

fn records() -> (Vec<Value>, bool) {
    let full = std::env::var("KUBEPLANE_DIFFERENTIAL").ok();
    let text = full.as_ref().map(|path| std::fs::read_to_string(path).unwrap());
    let text = text.unwrap_or_else(|| include_str!("creates.jsonl").to_owned());
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), full.is_some())
}

#[test]
fn creates_are_answered_as_recorded() {
    let kinds: BTreeMap<String, Arc<Definition>> = all()
        .into_iter()
        .map(|kind| (format!("{}/{}", kind.group_version(), kind.kind.kind), kind))
        .collect();
    let (records, full) = records();
    let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut differences = Vec::new();
    for record in &records {
        let id = record["id"].as_str().unwrap();
        let kind = id.split('#').next().unwrap();
        let Some(definition) = kinds.get(kind) else {
            continue;
        };
        let (got, mut want) = (create(definition, record), recorded(&record["answer"]));
        if definition.verbs.len() == 1 && want.code == 201 {
            want.object = got.object.clone();
        }
        let mut same_words = true;
        if got.message != want.message {
            same_words = false;
            want.message.clone_from(&got.message);
        }
        let count = counts.entry(kind).or_default();
        count[2] += 1;
        count[1] += usize::from(same_words);
        if got == want {
            count[0] += 1;
        } else {
            differences.push(format!(
                "{id}\n  want {}\n  got  {}",
                shown(&want, &got),
                shown(&got, &want)
            ));
        }
        if !same_words && got == want && std::env::var("KUBEPLANE_MESSAGES").is_ok() {
            differences.push(format!(
                "{id}\n  want {}\n  got  {}",
                record["answer"]["message"], got.message
            ));
        }
    }
    if full {
        for line in &differences {
            println!("{line}");
        }
        for (kind, [same, words, all]) in &counts {
            println!("{same:5}/{all:<5} words {words:5} {kind}");
        }
        let sum = |index: usize| counts.values().map(|count| count[index]).sum::<usize>();
        println!("{}/{} words {}", sum(0), sum(2), sum(1));
    } else {
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    }
}

/// One answer, of the object only what differs.
fn shown(answer: &Answer, other: &Answer) -> String {
    let mut lines = Vec::new();
    different("", &answer.object, &other.object, &mut lines);
    format!("{} {} {:?} {}", answer.code, answer.reason, answer.causes, lines.join(" "))
}

fn different(path: &str, a: &Value, b: &Value, lines: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let none = Value::Null;
                different(
                    &format!("{path}.{key}"),
                    a.get(key).unwrap_or(&none),
                    b.get(key).unwrap_or(&none),
                    lines,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                different(&format!("{path}[{index}]"), a, b, lines);
            }
        }
        _ if a != b => {
            lines.push(format!("{path}={}", a.to_string().chars().take(200).collect::<String>()))
        }
        _ => {}
    }
}
