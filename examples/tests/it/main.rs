//! Every example does what it says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed test says where")]

/// Includes an example; its `main` only prints what its `run` returns, or another of its functions called here.
macro_rules! example {
    ($name:ident, $path:literal) => {
        #[path = $path]
        #[expect(dead_code, reason = "main is for `cargo run --example`")]
        mod $name;
    };
}

example!(apiserver_etcd, "../../apiserver_etcd.rs");
example!(apiserver_memory, "../../apiserver_memory.rs");
example!(bespoke_distribution, "../../bespoke_distribution.rs");
example!(conversion_webhook, "../../conversion_webhook.rs");
example!(custom_admission, "../../custom_admission.rs");
example!(custom_authenticator, "../../custom_authenticator.rs");
example!(custom_controller, "../../custom_controller.rs");
example!(custom_runtime, "../../custom_runtime.rs");
example!(custom_scheduler_plugin, "../../custom_scheduler_plugin.rs");
example!(custom_scheduler_profile, "../../custom_scheduler_profile.rs");
example!(scheduler_extender, "../../scheduler_extender.rs");
example!(custom_store, "../../custom_store.rs");
example!(embed_in_axum, "../../embed_in_axum.rs");
example!(many_clusters, "../../many_clusters.rs");
example!(extension_apiserver, "../../extension_apiserver.rs");
example!(load, "../../load/main.rs");
example!(test_with_cluster, "../../test_with_cluster.rs");

mod etcd;

mod kubectl;

use clap::Parser as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};
use kubeplane::testing::TestCluster;
use std::{fmt::Debug, time::Duration};
use tokio::time::timeout;

/// The lines an example shows, within the time that a busy machine may take.
async fn lines<E: Debug>(run: impl Future<Output = Result<Vec<String>, E>>) -> Vec<String> {
    timeout(Duration::from_secs(180), run).await.expect("it ends by itself").unwrap()
}

#[tokio::test]
async fn apiserver_memory_creates_lists_and_watches() {
    let expected = [
        "created greeting: hello",
        "listed greeting: hello",
        "saw the change to greeting: goodbye",
        "saw the end of greeting: goodbye",
    ];
    assert_eq!(lines(apiserver_memory::run()).await, expected);
}

#[tokio::test]
async fn custom_admission_refuses_images_without_a_version() {
    let expected = [
        r#"nginx: 403 pods "web" is forbidden: image "nginx" may be another one tomorrow"#,
        r#"registry:5000/nginx:latest: 403 pods "web" is forbidden: image "registry:5000/nginx:latest" may be another one tomorrow"#,
        "registry:5000/nginx:1.29: created",
    ];
    assert_eq!(lines(custom_admission::run()).await, expected);
}

const GREETED: [&str; 2] = ["made: hello, world", "deleted and made again: hello, world"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_controller_makes_and_restores_what_its_objects_want() {
    assert_eq!(lines(custom_controller::run()).await, GREETED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child process of the test below"]
async fn custom_controller_elsewhere() {
    let client = kube::Client::try_default().await.unwrap();
    assert_eq!(lines(custom_controller::on(client)).await, GREETED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_controller_does_the_same_from_a_process_of_its_own() {
    let cluster = TestCluster::builder().listen().start().await.unwrap();
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["custom_controller_elsewhere", "--exact", "--ignored", "--nocapture"])
        .env("KUBECONFIG", cluster.kubeconfig().unwrap())
        .kill_on_drop(true)
        .output();
    let child = child.await.unwrap();
    let said = [child.stdout, child.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extender_decides_where_pods_go() {
    let lines = lines(scheduler_extender::run()).await;
    assert_eq!(lines, ["first: node-3", "second: node-3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_scheduler_plugin_decides_where_pods_go() {
    let lines = lines(custom_scheduler_plugin::run()).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, app) in lines.iter().zip(["red", "blue"]) {
        let nodes = ["node-1", "node-2", "node-3"].map(|node| format!("{app}: 6 on {node}"));
        assert!(nodes.contains(line), "all on one node: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_scheduler_profile_packs_the_pods_that_name_it_and_no_others() {
    let lines = lines(custom_scheduler_profile::run()).await;
    let nodes = ["simulated-1", "simulated-2", "simulated-3"];
    let spread = nodes.map(|node| format!("2 on {node}")).join(", ");
    assert_eq!(lines[0], format!("default-scheduler: {spread}"));
    let packed = nodes.map(|node| format!("packing: 6 on {node}"));
    assert!(packed.contains(&lines[1]), "all on one node: {}", lines[1]);
    assert_eq!(lines.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conversion_webhook_translates_between_versions() {
    let expected = [
        r#"sent poster in v1: {"size":"3x4"}"#,
        r#"read poster in v1: {"size":"3x4"}"#,
        r#"read poster in v2: {"height":4,"width":3}"#,
        r#"sent card in v2: {"height":2,"width":5}"#,
        r#"read card in v1: {"size":"5x2"}"#,
        r#"read card in v2: {"height":2,"width":5}"#,
    ];
    assert_eq!(lines(conversion_webhook::run()).await, expected);
}

#[tokio::test]
async fn custom_store_shows_the_past_and_what_came_after_it() {
    let expected = ["at revision 2: hello", "then goodbye", "gone at revision 4"];
    assert_eq!(lines(custom_store::run()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_with_cluster_starts_and_stops_one() {
    let expected = ["jane got default, kube-node-lease, kube-public, kube-system", "jim got 0"];
    assert_eq!(lines(test_with_cluster::run()).await, expected);
}

#[tokio::test]
async fn apiserver_etcd_shows_one_server_what_the_other_wrote() {
    let etcd = etcd::Etcd::start().await;
    let expected = [
        "created through one, read through two: the same version, true",
        "two watched it appear",
        "and go",
    ];
    assert_eq!(lines(apiserver_etcd::run(etcd.url())).await, expected);
}

#[tokio::test]
async fn bespoke_distribution_has_what_was_chosen_and_no_pods() {
    let expected = [
        "groups: apiextensions.k8s.io, library.example.com, rbac.authorization.k8s.io",
        "there are pods: false",
        "jane may write: true",
        "jim may write: false",
    ];
    assert_eq!(lines(bespoke_distribution::run()).await, expected);
}

#[tokio::test]
async fn custom_authenticator_knows_users_by_their_keys() {
    let expected = [
        "open-sesame: 0 found",
        "please: 403 configmaps is forbidden: User \"cassim\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
        "abracadabra: 401 Unauthorized",
        "no key: 403 configmaps is forbidden: User \"system:anonymous\" cannot list resource \"configmaps\" in API group \"\" in the namespace \"default\"",
    ];
    assert_eq!(lines(custom_authenticator::run()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_runtime_takes_images_of_its_house_only() {
    let expected = ["ours: running", "theirs: no image"];
    assert_eq!(lines(custom_runtime::run()).await, expected);
}

#[tokio::test]
async fn embed_in_axum_serves_its_own_pages_and_users() {
    let lines = lines(embed_in_axum::run()).await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], "jane wrote a note");
    assert!(lines[1].contains("User \"system:anonymous\" cannot get"), "{lines:?}");
    assert_eq!(lines[2], "1 notes are kept here");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clusters_share_nothing() {
    let expected =
        ["100 clusters, 100 objects, 100 values", "100 namespaces named default", "100 stopped"];
    assert_eq!(lines(many_clusters::run(100)).await, expected);
}

/// What the load generator measures.
const PHASES: [&str; 25] = [
    "create",
    "get",
    "patch strategic",
    "patch apply",
    "patch status",
    "delete",
    "lease create",
    "lease update",
    "lease delete",
    "list json",
    "list protobuf",
    "list selector",
    "list paged",
    "list metadata",
    "list in flight",
    "informers sync",
    "write during sync",
    "watch fan-out",
    "custom create",
    "custom delete",
    "config create",
    "config create with policy",
    "config webhook overhead",
    "definitions install",
    "definitions remove",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_measures_every_phase_and_leaves_nothing() {
    let cluster = TestCluster::builder().listen().start().await.unwrap();
    let file = cluster.kubeconfig().unwrap().display();
    let server = format!("--server=ours={file},{}", std::process::id());
    let sizes = ["--rounds=1", "--objects=20", "--pods=30", "--watchers=5", "--informers=2"];
    let line = ["load", &server, "--definitions=5"].into_iter().chain(sizes);
    let arguments = load::Arguments::try_parse_from(line).unwrap();
    let table = lines(load::run(arguments)).await;
    let (head, rows) = table.split_first().unwrap();
    assert!(head.starts_with("phase "), "{head}");
    let phases = rows.iter().filter_map(|row| Some(row.split_once(" ours ")?.0.trim_end()));
    assert_eq!(phases.collect::<Vec<_>>(), PHASES, "{table:#?}");
    // Each did something, and did as much as itself.
    assert!(rows.iter().all(|row| row.ends_with(" 1.0x")), "{table:#?}");
    let pods: Api<Pod> = Api::namespaced(cluster.client(), "load");
    assert!(pods.list(&ListParams::default()).await.unwrap().items.is_empty());
    cluster.stop().await.unwrap();
}

#[test]
fn a_controller_of_ones_own_is_a_short_program() {
    let lines = include_str!("../../custom_controller.rs").lines().count();
    assert!(lines < 100, "{lines} lines");
}

#[test]
fn custom_store_names_no_other_crate_of_ours() {
    let source = include_str!("../../custom_store.rs");
    let others = source.replace("kubeplane_store_trait", "").replace("kubeplane-store-trait", "");
    assert!(!others.contains("kubeplane"));
}

/// What is in the folder is declared, run here, and told of where people look.
#[test]
fn every_example_is_run_and_linked() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (declared, told, linked) = (read("Cargo.toml"), read("src/lib.rs"), read("../README.md"));
    let (run, book) = (include_str!("main.rs"), read("../control-plane/src/lib.rs"));
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    // One that needs several files has a folder.
    let files = entries.map(|path| if path.is_dir() { path.join("main.rs") } else { path });
    let examples = files.filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let mut count = 0;
    for path in examples.filter(|path| path.is_file()) {
        let file = path.strip_prefix(folder).unwrap().to_str().unwrap();
        let name = file.trim_end_matches(".rs").trim_end_matches("/main");
        assert!(declared.contains(&format!("path = \"{file}\"")), "{name}: Cargo.toml");
        assert!(run.contains(&format!("example!({name}, ")), "{name}: tests");
        assert!(told.contains(&format!("`{name}`")), "{name}: crate docs of the examples");
        assert!(linked.contains(&format!("(examples/{file})")), "{name}: README");
        assert!(book.contains(&format!("examples/{file}\n")), "{name}: crate docs of kubeplane");
        count += 1;
    }
    assert!(count >= 16, "{count}");
}

/// First pages, by the folders of their crates, and the examples that they lead to.
const PAGES: [(&str, &str); 13] = [
    ("core", "custom_admission"),
    ("core", "custom_authenticator"),
    ("store-trait", "custom_store"),
    ("store-etcd", "apiserver_etcd"),
    ("runtime-cri", "custom_runtime"),
    ("controllers", "custom_controller"),
    ("scheduler-framework", "custom_scheduler_plugin"),
    ("scheduler-framework", "scheduler_extender"),
    ("apiserver", "apiserver_memory"),
    ("apiserver", "embed_in_axum"),
    ("apiserver/extensions", "bespoke_distribution"),
    ("apiserver/extensions", "conversion_webhook"),
    ("apiserver/aggregation", "extension_apiserver"),
];

#[test]
fn first_pages_lead_to_examples_of_what_they_tell() {
    let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (page, example) in PAGES {
        let text = std::fs::read_to_string(workspace.join(page).join("src/lib.rs")).unwrap();
        let link = format!("//! [{example}]: https://github.com/kubeplane/kubeplane/blob/main/");
        assert!(text.contains(&format!("{link}examples/{example}.rs\n")), "{page}: {example}");
        assert!(workspace.join(format!("examples/{example}.rs")).is_file(), "{example}");
    }
}

mod conformance {
    use crate::custom_store::SmallStore;
    use async_trait::async_trait;
    use kubeplane_store_trait::{Store, Timeline, conformance::Factory};
    use std::sync::Arc;

    struct Small;

    #[async_trait]
    impl Factory for Small {
        async fn fresh(&self) -> Arc<dyn Store> {
            Arc::new(SmallStore(Timeline::default()))
        }

        async fn reopen(&self, _: Arc<dyn Store>) -> Option<Arc<dyn Store>> {
            None
        }
    }

    kubeplane_store_trait::conformance!(Small);
}
