//! Data directories that earlier versions wrote, each as its version left it: `data/VERSION` is one of `kubeplane serve`,
//! whole, and `data/VERSION-store` that of a store alone.
//!
//! `cargo xtask record-data` makes that of this version, once, before it is tagged; one that is there stays as it is. The
//! certificates in it are those of an ordinary start: clients' and servers' are good for a year, and made anew by the
//! start of a server that finds them near their end, so that of the old kubeconfig it is then asked that it is refused, and
//! the new one reads; the authority, the key of tokens and the token are good for ten years.

use crate::{
    cluster::{Cluster, Ground},
    kubectl::SOON,
};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        authentication::v1::{SelfSubjectReview, TokenRequest},
        core::v1::{ConfigMap, Namespace, Secret, ServiceAccount},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PostParams},
    config::{AuthInfo, KubeConfigOptions, Kubeconfig},
    runtime::wait::{await_condition, conditions::is_crd_established},
};
use kubeplane::{extensions::CustomResources, pki::inspect, prelude::*};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::time::timeout;

/// Where the directory of this version is to be recorded, if it is.
const RECORD: &str = "KUBEPLANE_RECORD";
/// The file with a token of the account `default` in the namespace `kept`.
const TOKEN: &str = "token";
/// How long that token is good, in seconds: as long as the authority beside it.
const TEN_YEARS: i64 = 10 * 365 * 86_400;

/// Whole directories, or those of stores alone.
fn recorded(whole: bool) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/data");
    let all = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.join("pki").is_dir() == whole).collect()
}

/// Serves what is in a directory as long as `work` takes.
async fn served<T>(directory: &Path, work: impl AsyncFnOnce(Client) -> T) -> T {
    let home = tempfile::tempdir().unwrap();
    let options = ApiOptions::default();
    let credentials = Credentials::open(home.path(), &[], &[], options.clock.now()).unwrap();
    // Each write is followed by a snapshot and begins a new log: the old files are written anew, too.
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
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "containers": [container], "automountServiceAccountToken": false}}}});
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
    assert!(namespaces.get_opt("kept").await.unwrap().is_some());
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "kept");
    let mut list = maps.list(&ListParams::default()).await.unwrap().items;
    list.retain(|map| map.metadata.name.as_deref() != Some("kube-root-ca.crt"));
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

/// With the modes that such directories have: version control keeps none.
fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, kind) = (to.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() {
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
            copy(&entry.path(), &path);
        } else if kind.is_file() {
            fs::copy(entry.path(), &path).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_of_every_version_open() {
    let stores = recorded(false);
    assert!(stores.iter().any(|path| path.ends_with("0.1.0-store")), "{stores:?}");
    for store in stores {
        let directory = tempfile::tempdir().unwrap();
        copy(&store, directory.path());
        served(directory.path(), look).await;
    }
}

async fn config(cluster: &Cluster, file: &Path) -> Config {
    let file = Kubeconfig::read_from(file).unwrap();
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(file, &options).await.unwrap();
    // The same server is at another port each time.
    config.cluster_url = cluster.url.parse().unwrap();
    config
}

async fn client(cluster: &Cluster, file: &Path) -> Client {
    Client::try_from(config(cluster, file).await).unwrap()
}

/// Waits until the pods that were made by `fill` run.
async fn running(client: Client) {
    let deployments: Api<Deployment> = Api::namespaced(client, "kept");
    let ready = |web: Option<&Deployment>| {
        web.and_then(|web| web.status.as_ref()?.ready_replicas) == Some(2)
    };
    timeout(SOON, await_condition(deployments, "web", ready)).await.unwrap().unwrap();
}

/// A token of an account that the server has made.
async fn token(client: Client) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(client, "kept");
    let there = await_condition(accounts.clone(), "default", |own: Option<&_>| own.is_some());
    timeout(SOON, there).await.unwrap().unwrap();
    let wish: TokenRequest =
        object(json!({"spec": {"audiences": [], "expirationSeconds": TEN_YEARS}}));
    let made = accounts.create_token_request("default", &PostParams::default(), &wish).await;
    made.unwrap().status.unwrap().token.unwrap()
}

/// Makes the data directory of a cluster of this version that has something to keep.
async fn record(directory: &Path) {
    let ground = Ground::simulated();
    let mut cluster = ground.start();
    let admin = client(&cluster, &cluster.kubeconfig).await;
    fill(admin.clone()).await;
    running(admin.clone()).await;
    let token = token(admin).await;
    let status = cluster.process.interrupt();
    assert!(status.success(), "{status}\n{}", cluster.process.log());
    fs::create_dir(directory).expect("it is not recorded yet");
    copy(ground.data.path(), directory);
    fs::write(directory.join(TOKEN), token).unwrap();
}

/// The administrator by the kubeconfig of then, or, where its certificate has ended since, by that of now.
async fn administrator(cluster: &Cluster, directory: &Path) -> Client {
    let now = jiff::Timestamp::now();
    let read = |name: &str| {
        inspect(&fs::read_to_string(directory.join("pki").join(name)).unwrap()).unwrap()
    };
    let (authority, own) = (read("ca.crt"), read("admin.crt"));
    assert!(
        (authority.not_before..authority.not_after).contains(&now),
        "{}: its authority is good from {} to {}",
        directory.display(),
        authority.not_before,
        authority.not_after
    );
    let old = client(cluster, &directory.join("admin.kubeconfig")).await;
    if now < own.not_after {
        return old;
    }
    let refused = old.apiserver_version().await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 401), "{refused}");
    client(cluster, &cluster.kubeconfig).await
}

/// Serves a copy of a directory, and asks as those who have something from then.
async fn serve_again(directory: &Path) {
    let ground = Ground::simulated();
    copy(directory, ground.data.path());
    let cluster = ground.start();
    let admin = administrator(&cluster, directory).await;
    look(admin.clone()).await;
    running(admin).await;

    let mut account = config(&cluster, &directory.join("admin.kubeconfig")).await;
    let token = fs::read_to_string(directory.join(TOKEN)).unwrap();
    account.auth_info = AuthInfo { token: Some(token.into()), ..AuthInfo::default() };
    let reviews: Api<SelfSubjectReview> = Api::all(Client::try_from(account).unwrap());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
    let user = review.unwrap().status.unwrap().user_info.unwrap();
    assert_eq!(user.username.as_deref(), Some("system:serviceaccount:kept:default"));
}

/// That of this version is made here, so that what the recorder makes is known to be served.
#[tokio::test(flavor = "multi_thread")]
async fn whole_directories_of_every_version_are_served() {
    let home = tempfile::tempdir().unwrap();
    let mut all = recorded(true);
    let own = std::env::var_os(RECORD).map_or_else(|| home.path().join("own"), PathBuf::from);
    record(&own).await;
    all.push(own);
    for directory in all {
        serve_again(&directory).await;
    }
}
