//! A kind from outside in the standard API server: a definition, a strategy, and what serves a subresource.

use crate::{
    kubectl::{Kubectl, has_row},
    parts::default_kubectl,
};
use async_trait::async_trait;
use http::{Response, StatusCode};
use jiff::Timestamp;
use kubeplane::{
    apiserver::{Body, Handler, HandlerRequest},
    core::{
        GroupResource, GroupVersionKind, Object,
        definition::{Column, Context, Form, Subresource, Verb},
        field::{Error, Errors, Path},
        schema::{Field, Kind, Schema, SchemaRef, of_object},
        status::ApiResult,
    },
    prelude::*,
    testing::TestCluster,
};
use serde_json::{Value, json};
use std::sync::Arc;

const GROUP: &str = "home.example.com";

#[derive(Debug)]
struct Lamps;

impl Strategy for Lamps {
    fn default(&self, object: &mut Object) {
        if object.at(&["spec", "colour"]).is_none() {
            object.set(&["spec", "colour"], "white");
        }
    }

    fn prepare_create(&self, _: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({"lit": false}));
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        let kept = if context.subresource == "status" { "spec" } else { "status" };
        if let Some(part) = old.at(&[kept]) {
            object.set(&[kept], part.clone());
        }
    }

    fn validate(&self, _: &Context<'_>, object: &Object) -> Errors {
        match object.text(&["spec", "colour"]) {
            "red" | "white" => Errors::new(),
            other => {
                let path = Path::new("spec.colour");
                vec![Error::not_supported(&path, other, &["red", "white"])]
            }
        }
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let mut errors = self.validate(context, object);
        if object.at(&["spec", "socket"]) != old.at(&["spec", "socket"]) {
            errors.push(Error::forbidden(&Path::new("spec.socket"), "a lamp stays where it is"));
        }
        errors
    }

    fn table_row(&self, object: &Object, _now: Timestamp) -> Vec<Value> {
        let lit = object.at(&["status", "lit"]).cloned().unwrap_or_default();
        vec![object.name().into(), object.text(&["spec", "colour"]).into(), lit]
    }
}

/// Tells in words how a lamp is.
#[async_trait]
impl Handler for Lamps {
    async fn handle(&self, request: HandlerRequest) -> ApiResult<Response<Body>> {
        let (resource, info) = (request.resource.group_resource(), &request.info);
        let lamp = request.api.get(&resource, &info.namespace, &info.name).await?;
        let is = if lamp.at(&["status", "lit"]) == Some(&true.into()) { "lit" } else { "dark" };
        let report = json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Report",
            "text": format!("{} is {is}", lamp.name())});
        request.respond(StatusCode::OK, &Object::from_value(report).unwrap_or_default())
    }
}

fn schema() -> SchemaRef {
    let of = |kind| SchemaRef::from(Schema::anonymous(kind));
    let part = |fields: Vec<Field>| {
        of(Kind::Object { fields: fields.into(), preserve_unknown: false, atomic: false })
    };
    let spec = part(vec![
        Field::optional("colour", of(Kind::String)),
        Field::optional("socket", of(Kind::Integer { wide: false })),
    ]);
    let status = part(vec![Field::optional("lit", of(Kind::Boolean))]);
    of_object(vec![Field::optional("spec", spec), Field::optional("status", status)], false)
}

fn definition() -> Definition {
    let kind = |kind: &'static str| GroupVersionKind::new(GROUP, "v1", kind);
    let status = Subresource {
        name: "status".into(),
        kind: kind("Lamp"),
        verbs: vec![Verb::Get, Verb::Patch, Verb::Update].into(),
        form: Form::Part,
    };
    let report = Subresource {
        name: "report".into(),
        kind: kind("Report"),
        verbs: vec![Verb::Get].into(),
        form: Form::Handler,
    };
    let columns = [Column::new("Colour", "string", ""), Column::new("Lit", "boolean", "")];
    Definition {
        short_names: vec!["lm".into()],
        categories: vec!["all".into()],
        subresources: vec![status, report],
        schema: schema(),
        columns: [Column::name()].into_iter().chain(columns).collect(),
        selectable_fields: vec!["spec.colour".into()],
        ..Definition::new(kind("Lamp"), "lamps", Arc::new(Lamps))
    }
}

fn lamp(name: &str, spec: &Value) -> String {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": "Lamp", "metadata": {"name": name}, "spec": spec})
        .to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_from_outside_is_one_of_the_api_servers_own() {
    let cluster = TestCluster::builder().listen().api(|builder| {
        builder.resources(vec![Arc::new(definition())]).handler(
            GroupResource::new(GROUP, "lamps"),
            "report",
            Arc::new(Lamps),
        )
    });
    let cluster = cluster.start().await.unwrap();
    let kubectl = Kubectl::new(&default_kubectl(), cluster.kubeconfig().unwrap());
    let made = |name: &str, spec: &Value| {
        let said = kubectl.ok_with(&["create", "-f", "-"], &lamp(name, spec));
        assert_eq!(said, format!("lamp.{GROUP}/{name} created\n"));
    };
    made("hall", &json!({"socket": 1}));
    made("porch", &json!({"socket": 2, "colour": "red"}));
    let table = kubectl.ok(&["get", "lm"]);
    assert!(has_row(&table, &["NAME", "COLOUR", "LIT"]), "{table}");
    assert!(has_row(&table, &["hall", "white", "false"]), "{table}");
    let red = kubectl.ok(&["get", "lamps", "--field-selector=spec.colour=red", "-o", "name"]);
    assert_eq!(red, format!("lamp.{GROUP}/porch\n"));
    assert!(kubectl.ok(&["get", "all"]).contains(&format!("lamp.{GROUP}/hall")));
    let told = kubectl.ok(&["explain", "lamp.spec"]);
    assert!(told.contains("colour") && told.contains("<integer>"), "{told}");

    let refused = |spec: &Value, why: &str| {
        let file = kubectl.home().join("lamp.json");
        std::fs::write(&file, lamp("cellar", spec)).unwrap();
        let (_, said) = kubectl.fails(&["create", "-f", file.to_str().unwrap()]);
        assert!(said.contains(why), "{said}");
    };
    let colours = r#"spec.colour: Unsupported value: "blue": supported values: "red", "white""#;
    refused(&json!({"colour": "blue"}), colours);
    refused(&json!({"watts": 60}), r#"unknown field "spec.watts""#);

    let report = format!("/apis/{GROUP}/v1/namespaces/default/lamps/hall/report");
    assert!(kubectl.ok(&["get", "--raw", &report]).contains("hall is dark"));
    let patch = |more: &[&str], patch: &str| {
        let line = ["patch", "lamp/hall", "--type=merge", "-p", patch];
        kubectl.ok(&[&line[..], more].concat())
    };
    let both = r#"{"spec":{"colour":"red"},"status":{"lit":true}}"#;
    let seen = || kubectl.ok(&["get", "lamp", "hall"]);
    patch(&[], both);
    assert!(has_row(&seen(), &["hall", "red", "false"]), "{}", seen());
    patch(&[], r#"{"spec":{"colour":null}}"#);
    patch(&["--subresource=status"], both);
    assert!(has_row(&seen(), &["hall", "white", "true"]), "{}", seen());
    kubectl.ok(&["wait", "--for=jsonpath={.status.lit}=true", "lamp/hall", "--timeout=30s"]);
    assert!(kubectl.ok(&["get", "--raw", &report]).contains("hall is lit"));
    let moved = ["patch", "lamp/hall", "--type=merge", "-p", r#"{"spec":{"socket":2}}"#];
    let (_, said) = kubectl.fails(&moved);
    assert!(said.contains("spec.socket: Forbidden: a lamp stays where it is"), "{said}");
    let gone = kubectl.ok(&["delete", "lamp", "hall"]);
    assert!(gone.starts_with(&format!("lamp.{GROUP} \"hall\" deleted")), "{gone}");
    cluster.stop().await.unwrap();
}
