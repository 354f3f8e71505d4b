//! Group versions that others serve, and describe in OpenAPI v2 only.

use crate::server::{ask, build};
use async_trait::async_trait;
use http::Response;
use kubeplane_apiserver::{ApiServer, Body, Delegate, Delegated, DelegatedRequest, Described};
use kubeplane_core::{
    GroupVersion,
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Has nothing to say.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Delegate for Silent {
    async fn serve(&self, request: DelegatedRequest) -> ApiResult<Response<Body>> {
        Err(ApiError::bad_request(format!("{} was not to be asked for", request.head.uri)))
    }
}

fn delegate(server: &ApiServer, openapi: Described) {
    let delegated = Delegated {
        delegate: Arc::new(Silent),
        resources: Arc::default(),
        fresh: true,
        openapi,
        swagger: Arc::default(),
    };
    server.api().registry().delegate(GroupVersion::new("up.example.com", "v1"), delegated);
}

fn swagger(field: &str) -> Described {
    let document = json!({
        "swagger": "2.0", "info": {"title": "Up", "version": "v0"},
        "paths": {"/apis/up.example.com/v1/ups": {"get": {
            "operationId": "listUps", "produces": ["application/json"],
            "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/Up"}}},
        }}},
        "definitions": {"Up": {"type": "object", "properties": {field: {"type": "string"}}}},
    });
    Described::Swagger(document.to_string().into())
}

async fn url(server: &ApiServer) -> String {
    let index = ask(server, "/openapi/v3", &[]).await.json();
    let url = &index["paths"]["apis/up.example.com/v1"]["serverRelativeURL"];
    url.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn who_has_openapi_v2_only_is_in_v3_too() {
    let server = build();
    delegate(&server, swagger("first"));
    let first = url(&server).await;
    assert!(first.starts_with("/openapi/v3/apis/up.example.com/v1?hash="), "{first}");
    let answer = ask(&server, &first, &[]).await;
    assert!(answer.header("cache-control").contains("immutable"));
    let document = answer.json();
    assert_eq!(document["info"]["title"], "Up");
    let get = &document["paths"]["/apis/up.example.com/v1/ups"]["get"];
    let schema = &get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
    assert_eq!(schema, "#/components/schemas/Up");
    assert!(document.pointer("/components/schemas/Up/properties/first").is_some());

    // What it says now is elsewhere; who asks for what it said is led there.
    delegate(&server, swagger("second"));
    let second = url(&server).await;
    assert_ne!(first, second);
    let answer = ask(&server, &first, &[]).await;
    assert_eq!((answer.code.as_u16(), answer.header("location")), (301, second.as_str()));
    let document = ask(&server, &second, &[]).await.json();
    assert!(document.pointer("/components/schemas/Up/properties/second").is_some());

    // It says nothing any more.
    delegate(&server, Described::Nowhere);
    assert_eq!(url(&server).await, "");
    let answer = ask(&server, "/openapi/v3/apis/up.example.com/v1", &[]).await;
    assert_eq!(answer.code.as_u16(), 404, "{}", String::from_utf8_lossy(&answer.bytes));
    server.api().registry().undelegate(&GroupVersion::new("up.example.com", "v1"));
    assert_eq!(url(&server).await, "");
}

#[tokio::test]
async fn a_document_that_cannot_be_read_is_none() {
    let server = build();
    delegate(&server, Described::Swagger("[".into()));
    assert_eq!(url(&server).await, "");
    let paths = ask(&server, "/openapi/v3", &[]).await.json()["paths"].take();
    assert!(paths.get("apis/apps/v1").is_some_and(Value::is_object));
}
