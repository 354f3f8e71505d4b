//! A distribution of your own choice: an API for custom resources with roles, and nothing of containers.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use k8s_openapi::api::{
    core::v1::Pod,
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResource, CustomResourceExt,
    api::{ListParams, PostParams},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use kubeplane::{apiserver::Clients, builtin, extensions, openapi::OpenApi, prelude::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

#[derive(CustomResource, Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[kube(group = "library.example.com", version = "v1", kind = "Book")]
struct BookSpec {
    title: String,
}

/// Namespaces, roles and custom resources; which kinds there are is a list like any other.
fn assemble() -> Result<ApiServer, kubeplane::apiserver::Error> {
    let mut kinds = builtin::all();
    kinds.retain(|kind| {
        let group = kind.kind.group.as_ref();
        group == "rbac.authorization.k8s.io" || (group, kind.plural.as_ref()) == ("", "namespaces")
    });
    kinds.push(Arc::new(extensions::definition()));
    let hook = Arc::new(extensions::CustomResourceDefinitionDeletion);
    let mut builder = ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(kinds)
        .hook(extensions::resource(), hook)
        .authorize(Masters)
        .authorize_with(|reader| Rbac::new(reader.clone()));
    for (path, route) in OpenApi::routes() {
        builder = builder.route(path, route);
    }
    builder.build()
}

/// Runs it as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let server = assemble()?;
    let (custom, clients) = (extensions::CustomResources::new(server.api()), server.clients());
    let mut shown = Ok(Vec::new());
    let plane = ControlPlane::new().with(server).with(custom);
    plane.run_until(async { shown = show(&clients).await }).await?;
    shown
}

async fn show(clients: &Clients) -> anyhow::Result<Vec<String>> {
    let admin = clients.client_as(UserInfo::new("admin", ["system:masters"]));
    let crds: Api<CustomResourceDefinition> = Api::all(admin.clone());
    crds.create(&PostParams::default(), &Book::crd()).await?;
    await_condition(crds, Book::crd_name(), is_crd_established()).await?;
    let groups = admin.list_api_groups().await?.groups;
    let groups = Vec::from_iter(BTreeSet::from_iter(groups.into_iter().map(|group| group.name)));
    let mut lines = vec![format!("groups: {}", groups.join(", "))];
    let pods = Api::<Pod>::all(admin.clone()).list(&ListParams::default()).await;
    lines.push(format!("there are pods: {}", pods.is_ok()));

    let rule = json!([{"apiGroups": ["library.example.com"], "resources": ["books"], "verbs": ["create"]}]);
    make::<ClusterRole>(&admin, json!({"metadata": {"name": "writer"}, "rules": rule})).await?;
    let group = "rbac.authorization.k8s.io";
    let role = json!({"apiGroup": group, "kind": "ClusterRole", "name": "writer"});
    let jane = json!([{"apiGroup": group, "kind": "User", "name": "jane"}]);
    let binding = json!({"metadata": {"name": "jane"}, "roleRef": role, "subjects": jane});
    make::<ClusterRoleBinding>(&admin, binding).await?;
    for user in ["jane", "jim"] {
        let client = clients.client_as(UserInfo::new(user, ["system:authenticated"]));
        let book = Book::new(&format!("by-{user}"), BookSpec { title: "Emma".to_owned() });
        let written = Api::all(client).create(&PostParams::default(), &book).await;
        lines.push(format!("{user} may write: {}", written.is_ok()));
    }
    Ok(lines)
}

async fn make<K>(client: &kube::Client, object: Value) -> anyhow::Result<K>
where
    K: kube::Resource<Scope = k8s_openapi::ClusterResourceScope, DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + Serialize
        + DeserializeOwned,
{
    let api: Api<K> = Api::all(client.clone());
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object)?).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
