//! PodSecurity as users see it: refusals, warnings, labels and exemptions.

use crate::harness::{Answer, Server};
use kubeplane_apiserver::audit::{AuditLog, AuditSink, Event};
use kubeplane_handlers::admission::{LevelVersion, PodSecurity, PodSecurityOptions};
use serde_json::{Value, json};
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

const NAMESPACES: &str = "/api/v1/namespaces";
const PRIVILEGED: &str =
    "privileged (container \"c\" must not set securityContext.privileged=true)";

async fn server() -> Server {
    let none = LevelVersion::default();
    let options = PodSecurityOptions::new().defaults(none, none, none).exempt(
        vec!["operator".into()],
        vec!["free".into()],
        vec!["sandboxed".into()],
    );
    Server::with(|builder| builder.admit(PodSecurity::new(options))).await
}

async fn label(server: &Server, namespace: &str, labels: Value) -> Answer {
    let labels: serde_json::Map<_, _> = labels
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (format!("pod-security.kubernetes.io/{key}"), value.clone()))
        .collect();
    let change = json!({"metadata": {"labels": labels}});
    let answer = server.admin("PATCH", &format!("{NAMESPACES}/{namespace}"), &change).await;
    server.admin("GET", NAMESPACES, &Value::Null).await.expect(200);
    answer
}

fn warnings(answer: &Answer) -> Vec<String> {
    let all = answer.headers.get_all("warning").iter();
    let texts = all.map(|value| value.to_str().unwrap().replace("\\\"", "\""));
    let inner = |text: &str| Some(text.strip_prefix("299 - \"")?.strip_suffix('"')?.to_owned());
    texts.map(|text| inner(&text).unwrap_or(text)).collect()
}

fn spec() -> Value {
    json!({"containers": [{"name": "c", "image": "i", "securityContext": {"privileged": true}}]})
}

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": spec()})
}

fn pods(namespace: &str) -> String {
    format!("{NAMESPACES}/{namespace}/pods")
}

#[tokio::test]
async fn a_level_is_enforced_for_pods_and_warned_of_for_workloads() {
    let server = server().await;
    server.admin("POST", &pods("default"), &pod("before")).await.expect(201);
    let made = label(&server, "default", json!({"enforce": "baseline"})).await;
    made.expect(200);
    assert_eq!(
        warnings(&made),
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "before: privileged",
        ]
    );
    let refused = server.admin("POST", &pods("default"), &pod("p")).await;
    refused.forbidden(&format!(
        "pods \"p\" is forbidden: violates PodSecurity \"baseline:latest\": {PRIVILEGED}"
    ));
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": spec()}}});
    let path = "/apis/apps/v1/namespaces/default/deployments";
    let made = server.admin("POST", path, &deployment).await;
    made.expect(201);
    assert_eq!(
        warnings(&made),
        [format!("would violate PodSecurity \"baseline:latest\": {PRIVILEGED}")]
    );
    let annotated = json!({"metadata": {"annotations": {"a": "b"}}});
    server.admin("PATCH", &format!("{}/before", pods("default")), &annotated).await.expect(200);
    let image = json!({"spec": {"containers": [{"name": "c", "image": "other", "securityContext": {"privileged": true}}]}});
    let refused = server.admin("PATCH", &format!("{}/before", pods("default")), &image).await;
    refused.forbidden(PRIVILEGED);
}

#[tokio::test]
async fn warnings_alone_refuse_nothing() {
    let server = server().await;
    label(&server, "default", json!({"warn": "baseline", "warn-version": "v1.30"}))
        .await
        .expect(200);
    let made = server.admin("POST", &pods("default"), &pod("p")).await;
    made.expect(201);
    assert_eq!(
        warnings(&made),
        [format!("would violate PodSecurity \"baseline:v1.30\": {PRIVILEGED}")]
    );
}

#[tokio::test]
async fn labels_must_name_levels_and_versions() {
    let server = server().await;
    let refused =
        label(&server, "default", json!({"enforce": "strict", "warn-version": "1.2"})).await;
    let message = refused.expect(422)["message"].as_str().unwrap().to_owned();
    assert_eq!(
        message,
        "Namespace \"default\" is invalid: [metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted, \
         metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"1.2\": must be \"latest\" or \"v1.x\"]"
    );
}

#[tokio::test]
async fn users_namespaces_and_runtime_classes_may_be_exempt() {
    let server = server().await;
    server.admin("POST", NAMESPACES, &json!({"metadata": {"name": "free"}})).await.expect(201);
    label(&server, "default", json!({"enforce": "restricted"})).await.expect(200);
    let labelled = label(&server, "free", json!({"enforce": "restricted"})).await;
    assert_eq!(
        warnings(&labelled),
        [
            "namespace \"free\" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored"
        ]
    );
    server.admin("POST", &pods("free"), &pod("p")).await.expect(201);
    server.as_user("operator", "POST", &pods("default"), &pod("a")).await.expect(201);
    let mut sandboxed = pod("b");
    sandboxed["spec"]["runtimeClassName"] = "sandboxed".into();
    server.admin("POST", &pods("default"), &sandboxed).await.expect(201);
    server.admin("POST", &pods("default"), &pod("c")).await.expect(403);
}

/// What is audited.
#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<Value>>>);

impl AuditSink for Kept {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.0.lock().unwrap().push(serde_json::to_value(event)?);
        Ok(())
    }
}

impl Kept {
    /// What was noted of pod security when this pod was created, once it is recorded.
    async fn noted(&self, pod: &str) -> Value {
        let is_it = |event: &&Value| {
            event["stage"] == "ResponseComplete" && event["objectRef"]["name"] == pod
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.0.lock().unwrap().iter().find(is_it).cloned();
            if let Some(event) = found {
                let own = event["annotations"].as_object().unwrap().iter();
                let own = own.filter_map(|(key, value)| {
                    Some((key.strip_prefix("pod-security.kubernetes.io/")?, value.clone()))
                });
                return own.collect();
            }
            assert!(tokio::time::Instant::now() < deadline, "no request about {pod}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn what_is_only_audited_is_in_the_audit_log() {
    let kept = Kept::default();
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Request, resources: [{resources: [pods]}]}]}";
    let log = Arc::new(AuditLog::new(policy.parse().unwrap(), kept.clone()).unwrap());
    let (users, classes) = (vec!["operator".into()], vec!["sandboxed".into()]);
    let options = PodSecurityOptions::new().exempt(users, Vec::new(), classes);
    let server = Server::with(|builder| builder.admit(PodSecurity::new(options)).audit(log)).await;
    let labels = json!({"audit": "baseline", "audit-version": "v1.30"});
    label(&server, "default", labels).await.expect(200);
    let made = server.admin("POST", &pods("default"), &pod("p")).await;
    made.expect(201);
    assert_eq!(warnings(&made), Vec::<String>::new());
    let would = format!("would violate PodSecurity \"baseline:v1.30\": {PRIVILEGED}");
    let noted = json!({"audit-violations": would, "enforce-policy": "privileged:latest"});
    assert_eq!(kept.noted("p").await, noted);
    server.as_user("operator", "POST", &pods("default"), &pod("a")).await.expect(201);
    assert_eq!(kept.noted("a").await, json!({"exempt": "user"}));
    let mut sandboxed = pod("b");
    sandboxed["spec"]["runtimeClassName"] = "sandboxed".into();
    server.admin("POST", &pods("default"), &sandboxed).await.expect(201);
    assert_eq!(kept.noted("b").await, json!({"exempt": "runtimeClass"}));
    // Nothing to hold it to is said too.
    let all = json!({"audit": null, "audit-version": null});
    label(&server, "default", all).await.expect(200);
    server.admin("POST", &pods("default"), &pod("c")).await.expect(201);
    assert_eq!(kept.noted("c").await, json!({"enforce-policy": "privileged:latest"}));
}
