//! Who may have devices that are in use, and who may change what claims have.

use crate::harness::Server;
use kubeplane_clock::Seed;
use kubeplane_handlers::admission::AdmissionPlugins;
use serde_json::{Value, json};

const CLAIMS: &str = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";

async fn server() -> Server {
    let off: Vec<_> = AdmissionPlugins::names().collect();
    let plugins = AdmissionPlugins::new().switch(&[], &off).unwrap();
    let clock = kubeplane_clock::real();
    Server::with(|builder| plugins.install(builder, &clock, &Seed::new(1), |_, builder| builder))
        .await
}

fn claim(name: &str, admin: bool) -> Value {
    let request = json!({"name": "r", "exactly": {"deviceClassName": "c", "adminAccess": admin}});
    json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [request]}}})
}

#[tokio::test]
async fn access_for_administrators_needs_a_namespace_that_is_marked() {
    let server = server().await;
    server.admin("POST", CLAIMS, &claim("plain", false)).await.expect(201);
    let refused = server.admin("POST", CLAIMS, &claim("admin", true)).await.expect(422);
    let why = "spec.devices.requests[0].adminAccess: Forbidden: admin access to devices requires the \
               `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with(why), "{message}");
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldValueForbidden");
    let template = json!({"metadata": {"name": "t"}, "spec": {"spec": claim("x", true)["spec"]}});
    let templates = CLAIMS.replace("resourceclaims", "resourceclaimtemplates");
    server.admin("POST", &templates, &template).await.expect(422);

    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    server.admin("PATCH", "/api/v1/namespaces/default", &label).await.expect(200);
    // Steps look at the cache, which a consistent read brings up to what was written.
    server.admin("GET", "/api/v1/namespaces", &Value::Null).await.expect(200);
    server.admin("POST", CLAIMS, &claim("admin", true)).await.expect(201);
    server.admin("POST", &templates, &template).await.expect(201);
}

#[tokio::test]
async fn who_binds_claims_and_speaks_for_drivers_is_asked_for() {
    let server = server().await;
    server.admin("POST", CLAIMS, &claim("c", false)).await.expect(201);
    let path = format!("{CLAIMS}/c/status");
    let result = json!({"request": "r", "driver": "d.example.com", "pool": "p", "device": "one"});
    let allocation = json!({"status": {"allocation": {"devices": {"results": [result]}}}});
    // The guest may change the status of claims, but neither bind them nor speak for drivers.
    let refused = server.as_user("guest", "PATCH", &path, &allocation).await.expect(422);
    let why = "status.allocation: Forbidden: changing status.allocation or status.reservedFor requires \
               resource=\"resourceclaims/binding\", verb=\"patch\" permission: resourceclaims.resource.k8s.io is \
               forbidden: User \"guest\" cannot patch resource \"resourceclaims/binding\" in API group \
               \"resource.k8s.io\" at the cluster scope: for no guest";
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with(why), "{message}");
    server.admin("PATCH", &path, &allocation).await.expect(200);

    let device = json!({"driver": "d.example.com", "pool": "p", "device": "one", "data": {"a": 1}});
    let devices = json!({"status": {"devices": [device]}});
    let refused = server.as_user("guest", "PATCH", &path, &devices).await.expect(422);
    let why = "status.devices: Forbidden: changing status.devices requires resource=\"resourceclaims/driver\", \
               verb=\"[arbitrary-node:patch]\" permission: resourceclaims.resource.k8s.io \"d.example.com\" is \
               forbidden: User \"guest\" cannot arbitrary-node:patch resource \"resourceclaims/driver\" in API group \
               \"resource.k8s.io\" in the namespace \"default\": for no guest";
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with(why), "{message}");
    server.admin("PATCH", &path, &devices).await.expect(200);
    // What changes neither is nobody's business.
    server.as_user("guest", "PATCH", &path, &json!({"status": {}})).await.expect(200);
}
