//! Data directories that earlier versions wrote: `data/VERSION`, each as its version left it.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, Secret},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PostParams},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use kubeplane::{extensions::CustomResources, prelude::*};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data")
}

/// Serves what is in a directory as long as `work` takes.
async fn served<T>(directory: &Path, work: impl AsyncFnOnce(Client) -> T) -> T {
    let home = tempfile::tempdir().unwrap();
    let options = ApiOptions::default();
    let credentials = Credentials::open(home.path(), &[], &[], options.clock.now()).unwrap();
    // Each write is followed by a snapshot and begins a new log: both are recorded.
    let store = MemoryStore::builder().path(directory).snapshot_after(2000).open().unwrap();
    let api = standard_api_server(Arc::new(store.clone()), &credentials, &options).unwrap();
    let client = api.client_as(UserInfo::new("admin", ["system:masters", "system:authenticated"]));
    let custom = CustomResources::new(api.api());
    let mut output = None;
    let plane = ControlPlane::new().with(api).with(custom);
    plane.run_until(async { output = Some(work(client).await) }).await.unwrap();
    store.close().await;
    output.unwrap()
}

fn sheets() -> ApiResource {
    let kind = GroupVersionKind::gvk("paper.example.com", "v1", "Sheet");
    ApiResource::from_gvk_with_plural(&kind, "sheets")
}

fn object<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

async fn fill(client: Client) {
    let new = PostParams::default();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&new, &object(json!({"metadata": {"name": "kept"}}))).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kept");
    for name in ["one", "gone"] {
        let map = json!({"metadata": {"name": name}, "data": {"word": "grüezi"}});
        maps.create(&new, &object(map)).await.unwrap();
    }
    let change = Patch::Merge(json!({"data": {"more": "2"}}));
    maps.patch("one", &Default::default(), &change).await.unwrap();
    maps.delete("gone", &Default::default()).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kept");
    let secret = json!({"metadata": {"name": "key"}, "stringData": {"password": "sesame"}});
    secrets.create(&new, &object(secret)).await.unwrap();
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kept");
    let container = json!({"name": "web", "image": "web"});
    let web = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "replicas": 2,
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}}});
    deployments.create(&new, &object(web)).await.unwrap();
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"width": {"type": "integer"}}}}});
    let crd = json!({"metadata": {"name": "sheets.paper.example.com"}, "spec": {
        "group": "paper.example.com", "scope": "Namespaced", "names": {"plural": "sheets", "kind": "Sheet"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    crds.create(&new, &object(crd)).await.unwrap();
    await_condition(crds, "sheets.paper.example.com", is_crd_established()).await.unwrap();
    let sheet = DynamicObject::new("a4", &sheets()).data(json!({"spec": {"width": 210}}));
    Api::namespaced_with(client, "kept", &sheets()).create(&new, &sheet).await.unwrap();
}

async fn look(client: Client) {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    assert_eq!(namespaces.list(&ListParams::default()).await.unwrap().items.len(), 1);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kept");
    let list = maps.list(&ListParams::default()).await.unwrap().items;
    let data = list.iter().map(|map| json!(map.data)).collect::<Vec<_>>();
    assert_eq!(data, [json!({"word": "grüezi", "more": "2"})]);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "kept");
    let secret = secrets.get("key").await.unwrap().data.unwrap();
    assert_eq!(secret["password"].0, b"sesame");
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kept");
    assert_eq!(deployments.get("web").await.unwrap().spec.unwrap().replicas, Some(2));
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    await_condition(crds, "sheets.paper.example.com", is_crd_established()).await.unwrap();
    let sheet: DynamicObject =
        Api::namespaced_with(client, "kept", &sheets()).get("a4").await.unwrap();
    assert_eq!(sheet.data["spec"]["width"], 210);
    // What is there can be changed.
    let change = Patch::Merge(json!({"data": {"more": "3"}}));
    let changed = maps.patch("one", &Default::default(), &change).await.unwrap();
    let version = |map: &ConfigMap| -> u64 {
        map.metadata.resource_version.as_deref().unwrap().parse().unwrap()
    };
    assert!(version(&changed) > version(&list[0]), "revisions go on upward");
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_of_every_version_open() {
    let versions: Vec<_> =
        fs::read_dir(recorded()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(versions.iter().any(|path| path.ends_with("0.1.0")), "{versions:?}");
    for version in versions {
        let directory = tempfile::tempdir().unwrap();
        copy(&version, directory.path());
        served(directory.path(), look).await;
    }
}

/// Made once for each version that is tagged; a directory that is there stays as it is.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by hand before a version is tagged"]
async fn record_the_directory_of_this_version() {
    let directory = recorded().join(env!("CARGO_PKG_VERSION"));
    fs::create_dir(&directory).expect("it is not recorded yet");
    served(&directory, fill).await;
}
