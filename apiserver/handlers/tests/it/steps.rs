//! The smaller admission steps, each by what a user sees of it.

use crate::harness::Server;
use base64::Engine as _;
use kubeplane_clock::Seed;
use kubeplane_core::{Object, features::Features};
use kubeplane_handlers::admission::{
    AdmissionPlugins, AdmissionPluginsError, EventLimit, PodSecurityOptions,
};
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// Only these steps of those that can be switched.
async fn only(names: &[&str]) -> Server {
    with(AdmissionPlugins::new(), names).await
}

async fn with(plugins: AdmissionPlugins, names: &[&str]) -> Server {
    gated(plugins, names, Features::default()).await
}

/// The same with gates.
async fn gated(plugins: AdmissionPlugins, names: &[&str], gates: Features) -> Server {
    let off: Vec<_> = AdmissionPlugins::names().filter(|name| !names.contains(name)).collect();
    let plugins = plugins.switch(names, &off).unwrap();
    let clock = kubeplane_clock::real();
    let plugins = plugins.features(gates.clone());
    Server::with(|builder| {
        let builder = builder.features(gates);
        plugins.install(builder, &clock, &Seed::new(1), |_, builder| builder)
    })
    .await
}

/// Creates, and waits until caches show it.
async fn create(server: &Server, path: &str, object: Value) {
    server.admin("POST", path, &object).await.expect(201);
    server.admin("GET", path, &Value::Null).await.expect(200);
}

fn pod(spec: Value) -> Value {
    let mut pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    pod
}

#[tokio::test]
async fn a_runtime_class_says_overhead_and_place() {
    let server = only(&["RuntimeClass"]).await;
    let class = json!({"metadata": {"name": "vm"}, "handler": "vm", "overhead": {"podFixed": {"cpu": "250m"}},
        "scheduling": {"nodeSelector": {"vm": "yes"}, "tolerations": [{"key": "vm", "operator": "Exists"}]}});
    create(&server, "/apis/node.k8s.io/v1/runtimeclasses", class).await;
    let path = &format!("{PODS}?dryRun=All");
    let made = server
        .admin(
            "POST",
            path,
            &pod(json!({"runtimeClassName": "vm", "nodeSelector": {"disk": "ssd"}})),
        )
        .await;
    let spec = made.expect(201)["spec"].clone();
    assert_eq!(spec["overhead"], json!({"cpu": "250m"}));
    assert_eq!(spec["nodeSelector"], json!({"disk": "ssd", "vm": "yes"}));
    assert_eq!(spec["tolerations"], json!([{"key": "vm", "operator": "Exists"}]));
    for (change, why) in [
        (json!({"runtimeClassName": "none"}), "pod rejected: RuntimeClass \"none\" not found"),
        (
            json!({"runtimeClassName": "vm", "nodeSelector": {"vm": "no"}}),
            "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
        ),
        (
            json!({"runtimeClassName": "vm", "overhead": {"cpu": "1"}}),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({"overhead": {"cpu": "1"}}),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
    ] {
        server.admin("POST", path, &pod(change)).await.forbidden(why);
    }
}

#[tokio::test]
async fn ingresses_get_the_default_class() {
    let server = only(&["DefaultIngressClass"]).await;
    let class = json!({"metadata": {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "example.com/web"}});
    create(&server, "/apis/networking.k8s.io/v1/ingressclasses", class).await;
    let ingress = |spec: Value| json!({"metadata": {"name": "i"}, "spec": spec});
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses?dryRun=All";
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let made =
        server.admin("POST", path, &ingress(json!({"defaultBackend": backend}))).await.expect(201);
    assert_eq!(made["spec"]["ingressClassName"], "web");
    let own = ingress(json!({"defaultBackend": backend, "ingressClassName": "own"}));
    let made = server.admin("POST", path, &own).await.expect(201);
    assert_eq!(made["spec"]["ingressClassName"], "own");
}

fn signing_request(signer: &str, organization: &str) -> Value {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
    params.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    let text =
        params.serialize_request(&rcgen::KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    let request = base64::engine::general_purpose::STANDARD.encode(text);
    json!({"metadata": {"name": "jane"}, "spec": {"request": request, "signerName": signer, "usages": ["client auth"]}})
}

#[tokio::test]
async fn certificates_are_approved_and_signed_by_those_who_may() {
    let server =
        only(&["CertificateApproval", "CertificateSigning", "CertificateSubjectRestriction"]).await;
    let masters = signing_request("kubernetes.io/kube-apiserver-client", "system:masters");
    let refused = server.admin("POST", REQUESTS, &masters).await;
    refused.forbidden("use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed");
    create(&server, REQUESTS, signing_request("kubernetes.io/kube-apiserver-client", "people"))
        .await;
    let approved = json!({"status": {"conditions": [{"type": "Approved", "status": "True", "reason": "r", "message": "m"}]}});
    let path = format!("{REQUESTS}/jane/approval");
    let refused = server.as_user("jane", "PATCH", &path, &approved).await;
    refused.forbidden("user not permitted to approve requests with signerName \"kubernetes.io/kube-apiserver-client\"");
    server.admin("PATCH", &path, &approved).await.expect(200);
    let failed = json!({"status": {"conditions": [
        {"type": "Approved", "status": "True", "reason": "r", "message": "m"},
        {"type": "Failed", "status": "True", "reason": "r", "message": "m"}]}});
    let path = format!("{REQUESTS}/jane/status");
    let refused = server.as_user("jane", "PATCH", &path, &failed).await;
    refused.forbidden("user not permitted to sign requests with signerName \"kubernetes.io/kube-apiserver-client\"");
    server.admin("PATCH", &path, &failed).await.expect(200);
}

#[tokio::test]
async fn pods_learn_where_their_node_is() {
    let server = only(&["PodTopologyLabels"]).await;
    let labels = json!({"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r", "disk": "ssd"});
    create(&server, "/api/v1/nodes", json!({"metadata": {"name": "one", "labels": labels}})).await;
    server.pod("web", "").await;
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "web"}, "target": {"kind": "Node", "name": "one"}});
    server.admin("POST", &format!("{PODS}/web/binding"), &binding).await.expect(201);
    let web = server.admin("GET", &format!("{PODS}/web"), &Value::Null).await.expect(200);
    assert_eq!(
        web["metadata"]["labels"],
        json!({"app": "web", "topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"})
    );
}

#[tokio::test]
async fn pods_do_not_learn_it_and_stay_nominated_where_that_is_switched_off() {
    let gates = "PodTopologyLabelsAdmission=false,ClearingNominatedNodeNameAfterBinding=false";
    let plugins = AdmissionPlugins::new();
    let server = gated(plugins, &["PodTopologyLabels"], gates.parse().unwrap()).await;
    let labels = json!({"topology.kubernetes.io/zone": "z"});
    create(&server, "/api/v1/nodes", json!({"metadata": {"name": "one", "labels": labels}})).await;
    server.pod("web", "").await;
    let nominated = json!({"status": {"nominatedNodeName": "one"}});
    server.admin("PATCH", &format!("{PODS}/web/status"), &nominated).await.expect(200);
    let binding = json!({"apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": "web", "labels": {"own": "too"}, "annotations": {"why": "fits"}},
        "target": {"kind": "Node", "name": "one"}});
    server.admin("POST", &format!("{PODS}/web/binding"), &binding).await.expect(201);
    let web = server.admin("GET", &format!("{PODS}/web"), &Value::Null).await.expect(200);
    assert_eq!(web["metadata"]["labels"], json!({"app": "web"}));
    assert_eq!(web["metadata"]["annotations"]["why"], "fits");
    assert_eq!(web["status"]["nominatedNodeName"], "one");
}

#[tokio::test]
async fn namespaces_say_which_tolerations_their_pods_have() {
    let server = only(&["PodTolerationRestriction"]).await;
    let annotations = json!({
        "scheduler.alpha.kubernetes.io/defaultTolerations": "[{\"key\": \"a\", \"operator\": \"Exists\"}]",
        "scheduler.alpha.kubernetes.io/tolerationsWhitelist": "[{\"key\": \"a\", \"operator\": \"Exists\"}]",
    });
    let change = json!({"metadata": {"annotations": annotations}});
    server.admin("PATCH", "/api/v1/namespaces/default", &change).await.expect(200);
    let path = &format!("{PODS}?dryRun=All");
    let made = server.admin("POST", path, &pod(json!({}))).await.expect(201);
    assert_eq!(made["spec"]["tolerations"], json!([{"key": "a", "operator": "Exists"}]));
    let other = pod(json!({"tolerations": [{"key": "b", "operator": "Exists"}]}));
    let refused = server.admin("POST", path, &other).await.expect(500);
    assert_eq!(
        refused["message"],
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"
    );
}

#[tokio::test]
async fn images_are_always_pulled_where_that_is_switched_on() {
    let server = only(&["AlwaysPullImages"]).await;
    let path = &format!("{PODS}?dryRun=All");
    let named =
        pod(json!({"containers": [{"name": "c", "image": "i:1", "imagePullPolicy": "Never"}]}));
    let made = server.admin("POST", path, &named).await.expect(201);
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
}

#[tokio::test]
async fn external_addresses_are_refused_where_that_is_switched_on() {
    let server = only(&["DenyServiceExternalIPs"]).await;
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ["10.1.1.1"]}});
    let refused = server.admin("POST", "/api/v1/namespaces/default/services", &service).await;
    refused.forbidden("Use of external IPs is denied by admission control");
}

#[tokio::test]
async fn events_beyond_the_limit_wait() {
    let limits = json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
        "limits": [{"type": "Namespace", "qps": 1, "burst": 2}]});
    let limits = EventLimit::from_object(&Object::from_value(limits).unwrap()).unwrap();
    let plugins = AdmissionPlugins::new().event_limits(limits);
    let server = with(plugins, &["EventRateLimit"]).await;
    let event = |name: String| json!({"metadata": {"name": name}, "involvedObject": {"namespace": "default"}, "reason": "r", "type": "Normal"});
    let mut refused = None;
    for index in 0..200 {
        let answer = server
            .admin("POST", "/api/v1/namespaces/default/events", &event(format!("e{index}")))
            .await;
        if answer.code == 429 {
            refused = Some(answer.text);
            break;
        }
        answer.expect(201);
    }
    let refused = refused.expect("200 events in a moment are more than two and one per second");
    assert!(refused.contains("limit reached on type Namespace for key default"), "{refused}");
}

#[test]
fn steps_are_switched_by_name() {
    let switch = |on: &[&str], off: &[&str]| AdmissionPlugins::new().switch(on, off);
    let plugins = switch(&["AlwaysPullImages"], &["LimitRanger"]).unwrap();
    assert!(plugins.is_on("AlwaysPullImages") && plugins.is_on("ResourceQuota"));
    assert!(!plugins.is_on("LimitRanger") && !plugins.is_on("EventRateLimit"));
    let texts =
        |result: Result<AdmissionPlugins, AdmissionPluginsError>| result.unwrap_err().to_string();
    assert_eq!(
        texts(switch(&["Nope"], &[])),
        "enable-admission-plugins plugin \"Nope\" is unknown"
    );
    assert_eq!(
        texts(switch(&[], &["Nope"])),
        "disable-admission-plugins plugin \"Nope\" is unknown"
    );
    assert_eq!(
        texts(switch(&["PodSecurity"], &["PodSecurity"])),
        "[PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped"
    );
}

#[test]
fn configurations_of_pod_security_are_read() {
    let of = |value: Value| PodSecurityOptions::from_object(&Object::from_value(value).unwrap());
    let version = "pod-security.admission.config.k8s.io/v1";
    let fine = json!({"apiVersion": version, "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline", "enforce-version": "v1.30"}, "exemptions": {"namespaces": ["kube-system"]}});
    assert!(of(fine).is_ok());
    let level = json!({"apiVersion": version, "kind": "PodSecurityConfiguration", "defaults": {"warn": "some"}});
    assert_eq!(
        of(level).unwrap_err().to_string(),
        "must be one of privileged, baseline, restricted"
    );
    assert!(of(json!({"apiVersion": "v1", "kind": "Pod"})).is_err());
}

#[tokio::test]
async fn owners_are_named_by_those_who_could_delete() {
    let server = only(&["OwnerReferencesPermissionEnforcement"]).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let owner = |block: bool| json!([{"apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "u", "blockOwnerDeletion": block}]);
    let map = |owners: Value| json!({"metadata": {"name": "m", "ownerReferences": owners}});
    let refused = server.as_user("guest", "POST", maps, &map(owner(true))).await;
    refused.forbidden("cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: for no guest, <nil>");
    server.as_user("guest", "POST", maps, &map(owner(false))).await.expect(201);
    let path = format!("{maps}/m");
    let change = json!({"metadata": {"ownerReferences": owner(true)}});
    let refused = server.as_user("guest", "PATCH", &path, &change).await;
    refused.forbidden("cannot set an ownerRef on a resource you can't delete: for no guest, <nil>");
    let data = json!({"data": {"a": "b"}});
    server.as_user("guest", "PATCH", &path, &data).await.expect(200);
    server.admin("PATCH", &path, &change).await.expect(200);
}

#[tokio::test]
async fn pods_stay_five_minutes_on_nodes_that_are_gone() {
    let server = only(&["DefaultTolerationSeconds"]).await;
    let own =
        json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"});
    let path = &format!("{PODS}?dryRun=All");
    let made = server.admin("POST", path, &pod(json!({"tolerations": [own]}))).await.expect(201);
    let unreachable = json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists",
        "effect": "NoExecute", "tolerationSeconds": 300});
    assert_eq!(made["spec"]["tolerations"], json!([own, unreachable]));
}

#[tokio::test]
async fn nodes_are_tainted_until_they_are_ready() {
    let server = only(&["TaintNodesByCondition"]).await;
    let path = "/api/v1/nodes?dryRun=All";
    let made = server.admin("POST", path, &json!({"metadata": {"name": "one"}})).await.expect(201);
    let taint = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]);
    assert_eq!(made["spec"]["taints"], taint);
}

fn claim(name: &str, spec: Value) -> Value {
    let mut claim = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}});
    claim["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    claim
}

const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const CLASSES: &str = "/apis/storage.k8s.io/v1/storageclasses";

#[tokio::test]
async fn claims_get_the_default_class_unless_they_want_none() {
    let server = only(&["DefaultStorageClass"]).await;
    let default = json!({"storageclass.kubernetes.io/is-default-class": "true"});
    let class = json!({"metadata": {"name": "fast", "annotations": default}, "provisioner": "p"});
    create(&server, CLASSES, class).await;
    let path = &format!("{CLAIMS}?dryRun=All");
    let made = server.admin("POST", path, &claim("a", json!({}))).await.expect(201);
    assert_eq!(made["spec"]["storageClassName"], "fast");
    let none = claim("b", json!({"storageClassName": ""}));
    assert_eq!(server.admin("POST", path, &none).await.expect(201)["spec"]["storageClassName"], "");
}

#[tokio::test]
async fn storage_is_kept_while_it_is_used() {
    let server = only(&["StorageObjectInUseProtection"]).await;
    let made = server.admin("POST", CLAIMS, &claim("a", json!({}))).await.expect(201);
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    let volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/v"}}});
    let made = server.admin("POST", "/api/v1/persistentvolumes", &volume).await.expect(201);
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pv-protection"]));
}

#[tokio::test]
async fn claims_grow_where_their_class_lets_them() {
    let server = only(&["PersistentVolumeClaimResize"]).await;
    for (name, grows) in [("fixed", false), ("growing", true)] {
        let class =
            json!({"metadata": {"name": name}, "provisioner": "p", "allowVolumeExpansion": grows});
        create(&server, CLASSES, class).await;
        let own = claim(name, json!({"storageClassName": name, "volumeName": "v"}));
        create(&server, CLAIMS, own).await;
        let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        let path = format!("{CLAIMS}/{name}");
        server.admin("PATCH", &format!("{path}/status"), &bound).await.expect(200);
        let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        let answer = server.admin("PATCH", &path, &larger).await;
        match grows {
            true => drop(answer.expect(200)),
            false => answer.forbidden("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"),
        }
    }
}

#[tokio::test]
async fn pods_are_resized_as_a_whole_where_their_node_can() {
    let server = only(&["NodeDeclaredFeatureValidator"]).await;
    for (name, features) in
        [("old", json!([])), ("new", json!(["InPlacePodLevelResourcesVerticalScaling"]))]
    {
        create(&server, "/api/v1/nodes", json!({"metadata": {"name": name}})).await;
        let declared = json!({"status": {"declaredFeatures": features}});
        let path = format!("/api/v1/nodes/{name}/status");
        server.admin("PATCH", &path, &declared).await.expect(200);
        let resources = |cpu: &str| json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu}});
        let mut pod = pod(json!({"nodeName": name, "resources": resources("1")}));
        pod["metadata"]["name"] = format!("on-{name}").into();
        create(&server, PODS, pod).await;
        let larger = json!({"spec": {"resources": resources("2")}});
        let answer = server.admin("PATCH", &format!("{PODS}/on-{name}/resize"), &larger).await;
        match name {
            "new" => drop(answer.expect(200)),
            _ => answer.forbidden("pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node \"old\""),
        }
    }
}
