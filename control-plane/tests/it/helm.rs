//! What Helm 3 sends for `install`, `upgrade`, `rollback` and `uninstall`, each with `--wait`: a chart of a definition and
//! one of its kind, a ConfigMap, a Service and a Deployment.

use http::Request;
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use kubeplane::testing::{TestCluster, run};
use serde_json::{Value, json};
use std::time::Duration;

const JSON: &str = "application/json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const MERGE: &str = "application/merge-patch+json";
/// What its client takes for discovery, and for what it checks manifests against.
const GROUPED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
const SWAGGER: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const BOATS: &str = "/apis/harbour.example.com/v1/namespaces/default/boats";
const CONFIGS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

struct Answer {
    code: u16,
    content: String,
    body: Vec<u8>,
}

/// A cluster, and who sends requests as Helm does.
struct Helm<'a> {
    cluster: &'a TestCluster,
    client: Client,
}

impl Helm<'_> {
    async fn ask(&self, method: &str, path: &str, types: [&str; 2], body: &Value) -> Answer {
        let [accept, content] = types;
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("accept", accept).header("user-agent", "Helm/3.18.4");
        let mut bytes = Vec::new();
        if !body.is_null() {
            request = request.header("content-type", content);
            bytes = body.to_string().into_bytes();
        }
        let request = request.body(Body::from(bytes)).unwrap();
        let (head, body) = self.client.send(request).await.unwrap().into_parts();
        let content = head.headers.get("content-type").map(|value| value.to_str().unwrap());
        Answer {
            code: head.status.as_u16(),
            content: content.unwrap_or_default().to_owned(),
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    /// Asks, and is answered with this code.
    async fn call(&self, code: u16, method: &str, path: &str, sent: (&str, &Value)) -> Value {
        let answer = self.ask(method, path, [JSON, sent.0], sent.1).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.code, code, "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn get(&self, path: &str) -> Value {
        self.call(200, "GET", path, (JSON, &Value::Null)).await
    }

    /// Creates what is not there yet.
    async fn create(&self, collection: &str, object: &Value) -> Value {
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = format!("{collection}/{name}");
        let gone = self.call(404, "GET", &path, (JSON, &Value::Null)).await;
        assert_eq!(gone["reason"], "NotFound");
        self.call(201, "POST", &format!("{collection}?fieldManager=helm"), (JSON, object)).await
    }

    async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Value {
        self.call(200, "PATCH", &format!("{path}?fieldManager=helm"), (kind, patch)).await
    }

    async fn delete(&self, path: &str) {
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1",
            "propagationPolicy": "Background"});
        self.call(200, "DELETE", path, (JSON, &options)).await;
    }

    /// Looks every two seconds, as `--wait` does.
    async fn until(&self, path: &str, holds: impl Fn(u16, &Value) -> bool) -> Value {
        let mut last = Value::Null;
        for _ in 0..150 {
            let answer = self.ask("GET", path, [JSON, JSON], &Value::Null).await;
            last = serde_json::from_slice(&answer.body).unwrap_or_default();
            if holds(answer.code, &last) {
                return last;
            }
            self.cluster.advance(Duration::from_secs(2)).await;
        }
        panic!("{path} stays {last}");
    }

    async fn wait_for_deployment(&self) -> Value {
        let path = format!("{DEPLOYMENTS}/web");
        let found = self.until(&path, |code, found| code == 200 && is_ready(found)).await;
        let sets = "/apis/apps/v1/namespaces/default/replicasets?labelSelector=app%3Dweb";
        let sets = self.get(sets).await;
        let owned = sets["items"].as_array().unwrap().iter().filter(|set| {
            set["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
                && set["status"]["readyReplicas"] == found["spec"]["replicas"]
        });
        assert_eq!(owned.count(), 1, "{sets}");
        found
    }

    /// A release of this number begins.
    async fn begin(&self, number: u32, status: &str) {
        let path = format!("{SECRETS}/{}", name_of(number));
        self.call(404, "GET", &path, (JSON, &Value::Null)).await;
        let made = self.call(201, "POST", SECRETS, (JSON, &release(number, status))).await;
        assert_eq!(made["type"], "helm.sh/release.v1");
    }

    /// It comes to be this; it is written as it is, without a resourceVersion.
    async fn becomes(&self, number: u32, status: &str) {
        let path = format!("{SECRETS}/{}", name_of(number));
        self.call(200, "PUT", &path, (JSON, &release(number, status))).await;
    }

    /// The releases of which this is so.
    async fn releases(&self, selector: &str) -> Vec<String> {
        let list = self.get(&format!("{SECRETS}?labelSelector={selector}")).await;
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| item["metadata"]["labels"]["version"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn name_of(number: u32) -> String {
    format!("sh.helm.release.v1.web.v{number}")
}

fn release(number: u32, status: &str) -> Value {
    let labels = json!({"name": "web", "owner": "helm", "status": status,
        "version": number.to_string(), "modifiedAt": "1767225600"});
    json!({"apiVersion": "v1", "kind": "Secret", "type": "helm.sh/release.v1",
        "metadata": {"name": name_of(number), "namespace": "default", "labels": labels},
        "data": {"release": "SDRzSUFBQUFBQUFBLw=="}})
}

fn is_ready(deployment: &Value) -> bool {
    let (status, wanted) = (&deployment["status"], &deployment["spec"]["replicas"]);
    status["observedGeneration"] == deployment["metadata"]["generation"]
        && status["updatedReplicas"] == *wanted
        && status["readyReplicas"] == *wanted
        && status["replicas"] == *wanted
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": "default",
        "labels": {"app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "web-1"},
        "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "default"}})
}

fn object(api: &str, kind: &str, name: &str, rest: (&str, Value)) -> Value {
    let mut object = json!({"apiVersion": api, "kind": kind, "metadata": metadata(name)});
    object[rest.0] = rest.1;
    object
}

fn deployment() -> Value {
    let container = json!({"name": "web", "image": "i:1", "env": [{"name": "A", "value": "1"}],
        "ports": [{"containerPort": 80}]});
    let labels = json!({"app": "web"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
    // How many is for others to say.
    let spec = json!({"selector": {"matchLabels": labels}, "template": template});
    object("apps/v1", "Deployment", "web", ("spec", spec))
}

fn definition() -> Value {
    let spec = json!({"type": "object", "properties": {"masts": {"type": "integer"},
        "flag": {"type": "string"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec}});
    let version = json!({"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": schema}});
    let names = json!({"plural": "boats", "singular": "boat", "kind": "Boat"});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.harbour.example.com"},
        "spec": {"group": "harbour.example.com", "scope": "Namespaced", "names": names,
            "versions": [version]}})
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut own = conditions.filter(|condition| condition["type"] == kind);
    own.next().and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

/// The definition comes first; then discovery is asked anew, in both of its forms, and the documents.
async fn install_definitions(helm: &Helm<'_>) {
    assert_eq!(helm.get("/version").await["minor"], "36");
    helm.create(DEFINITIONS, &definition()).await;
    let path = format!("{DEFINITIONS}/boats.harbour.example.com");
    helm.until(&path, |_, found| condition(found, "Established") == "True").await;
    let served = |code: u16, found: &Value| code == 200 && found["resources"][0]["kind"] == "Boat";
    helm.until("/apis/harbour.example.com/v1?timeout=32s", served).await;
    let groups = helm.get("/apis?timeout=32s").await;
    assert_eq!(groups["kind"], "APIGroupList");
    let mut names = groups["groups"].as_array().unwrap().iter().map(|group| &group["name"]);
    assert!(names.any(|name| name == "harbour.example.com"), "{groups}");
    for path in ["/api?timeout=32s", "/apis?timeout=32s"] {
        let answer = helm.ask("GET", path, [GROUPED, JSON], &Value::Null).await;
        assert!(answer.content.contains("as=APIGroupDiscoveryList"), "{}", answer.content);
        let groups: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(groups["kind"], "APIGroupDiscoveryList");
        let mut items = groups["items"].as_array().unwrap().iter();
        let name = if path.starts_with("/apis") { "harbour.example.com" } else { "" };
        let found = items.any(|item| item["metadata"]["name"].as_str().unwrap_or_default() == name);
        assert!(found, "{groups}");
    }
    let documents = "/openapi/v2?timeout=32s";
    helm.until(documents, |_, found| {
        found["definitions"]["com.example.harbour.v1.Boat"]["properties"]["spec"].is_object()
    })
    .await;
    let answer = helm.ask("GET", documents, [SWAGGER, JSON], &Value::Null).await;
    assert_eq!(answer.code, 200);
    assert!(answer.content.starts_with("application/com.github.proto-openapi.spec.v2"));
    assert!(answer.body.len() > 100_000, "{} bytes", answer.body.len());
}

async fn install(helm: &Helm<'_>) {
    assert_eq!(helm.releases("name%3Dweb%2Cowner%3Dhelm").await, Vec::<String>::new());
    helm.begin(1, "pending-install").await;
    let again = release(1, "pending-install");
    let refused = helm.call(409, "POST", SECRETS, (JSON, &again)).await;
    assert_eq!(refused["reason"], "AlreadyExists");
    let data = ("data", json!({"page": "one"}));
    helm.create(CONFIGS, &object("v1", "ConfigMap", "web", data)).await;
    let spec = json!({"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 80}]});
    let service = helm.create(SERVICES, &object("v1", "Service", "web", ("spec", spec))).await;
    assert!(service["spec"]["clusterIP"].is_string());
    let made = helm.create(DEPLOYMENTS, &deployment()).await;
    let managers = made["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(
        (&managers[0]["manager"], &managers[0]["operation"]),
        (&json!("helm"), &json!("Update"))
    );
    let boat = ("spec", json!({"masts": 2, "flag": "red"}));
    helm.create(BOATS, &object("harbour.example.com/v1", "Boat", "ketch", boat)).await;
    helm.wait_for_deployment().await;
    helm.becomes(1, "deployed").await;
}

/// Another hand has scaled meanwhile, which the chart says nothing of.
async fn upgrade(helm: &Helm<'_>) {
    let scale = format!("{DEPLOYMENTS}/web/scale?fieldManager=kubectl");
    helm.call(200, "PATCH", &scale, (MERGE, &json!({"spec": {"replicas": 3}}))).await;
    let deployed = "name%3Dweb%2Cowner%3Dhelm%2Cstatus%3Ddeployed";
    assert_eq!(helm.releases(deployed).await, ["1"]);
    helm.begin(2, "pending-upgrade").await;
    helm.get(&format!("{DEPLOYMENTS}/web")).await;
    let container = json!({"name": "web", "image": "i:2", "$setElementOrder/env": [{"name": "B"}],
        "env": [{"name": "B", "value": "2"}, {"$patch": "delete", "name": "A"}]});
    let template = json!({"spec": {"$setElementOrder/containers": [{"name": "web"}],
        "containers": [container]}});
    let strategy = json!({"$retainKeys": ["type"], "type": "Recreate"});
    let patch = json!({"metadata": {"labels": {"helm.sh/chart": "web-2"}},
        "spec": {"strategy": strategy, "template": template}});
    helm.patch(&format!("{DEPLOYMENTS}/web"), STRATEGIC, &patch).await;
    let boat = format!("{BOATS}/ketch");
    let patch = json!({"spec": {"masts": 3, "flag": null}});
    let refused = helm.call(415, "PATCH", &boat, (STRATEGIC, &patch)).await;
    assert_eq!(refused["reason"], "UnsupportedMediaType");
    let told = helm.patch(&boat, MERGE, &patch).await;
    assert_eq!(told["spec"], json!({"masts": 3}));
    // The new chart has no ConfigMap any more.
    helm.delete(&format!("{CONFIGS}/web")).await;
    let found = helm.wait_for_deployment().await;
    assert_eq!(found["spec"]["replicas"], 3);
    assert_eq!(found["spec"]["strategy"], json!({"type": "Recreate"}));
    assert_eq!(found["metadata"]["labels"]["helm.sh/chart"], "web-2");
    let container = &found["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["image"], &container["env"][0]["name"]), (&json!("i:2"), &json!("B")));
    assert_eq!(container["env"].as_array().unwrap().len(), 1);
    helm.becomes(1, "superseded").await;
    helm.becomes(2, "deployed").await;
    assert_eq!(helm.releases(deployed).await, ["2"]);
}

/// The first release once more, as the third.
async fn rollback(helm: &Helm<'_>) {
    helm.begin(3, "pending-rollback").await;
    let container = json!({"name": "web", "image": "i:1", "$setElementOrder/env": [{"name": "A"}],
        "env": [{"name": "A", "value": "1"}, {"$patch": "delete", "name": "B"}]});
    let template = json!({"spec": {"$setElementOrder/containers": [{"name": "web"}],
        "containers": [container]}});
    let patch = json!({"metadata": {"labels": {"helm.sh/chart": "web-1"}},
        "spec": {"strategy": null, "template": template}});
    helm.patch(&format!("{DEPLOYMENTS}/web"), STRATEGIC, &patch).await;
    let patch = json!({"spec": {"masts": 2, "flag": "red"}});
    helm.patch(&format!("{BOATS}/ketch"), MERGE, &patch).await;
    let data = ("data", json!({"page": "one"}));
    helm.create(CONFIGS, &object("v1", "ConfigMap", "web", data)).await;
    let found = helm.wait_for_deployment().await;
    assert_eq!(found["spec"]["replicas"], 3);
    assert_eq!(found["spec"]["strategy"]["type"], "RollingUpdate");
    let container = &found["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"], json!([{"name": "A", "value": "1"}]));
    helm.becomes(2, "superseded").await;
    helm.becomes(3, "deployed").await;
}

async fn uninstall(helm: &Helm<'_>) {
    helm.becomes(3, "uninstalling").await;
    let all = [(BOATS, "ketch"), (SERVICES, "web"), (DEPLOYMENTS, "web"), (CONFIGS, "web")];
    for (collection, name) in all {
        helm.delete(&format!("{collection}/{name}")).await;
    }
    for (collection, name) in all {
        helm.until(&format!("{collection}/{name}"), |code, _| code == 404).await;
    }
    let none = |_: u16, list: &Value| list["items"].as_array().is_some_and(Vec::is_empty);
    helm.until("/api/v1/namespaces/default/pods?labelSelector=app%3Dweb", none).await;
    let mut left = helm.releases("name%3Dweb%2Cowner%3Dhelm").await;
    left.sort();
    assert_eq!(left, ["1", "2", "3"]);
    for number in 1..=3 {
        let path = format!("{SECRETS}/{}", name_of(number));
        helm.call(200, "DELETE", &path, (JSON, &Value::Null)).await;
    }
    assert_eq!(helm.releases("owner%3Dhelm").await, Vec::<String>::new());
}

#[test]
fn a_chart_is_installed_upgraded_rolled_back_and_uninstalled() {
    let builder = TestCluster::builder().controllers().scheduler().simulated_nodes(1).paused();
    run(builder, async |cluster| {
        let helm = Helm { client: cluster.client(), cluster: &cluster };
        install_definitions(&helm).await;
        install(&helm).await;
        upgrade(&helm).await;
        rollback(&helm).await;
        uninstall(&helm).await;
    });
}
