//! The assembly and the test of the README: their text is compiled, and what it makes works.

use crate::{kubectl::SOON, parts::free_port, raw::Raw};
use async_trait::async_trait;
use kubeplane::{
    api::standard_bootstrap,
    client::ObjectKey,
    controllers::{BuiltinOptions, Context, Error, builtin},
    credentials::*,
    prelude::*,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::mpsc;

/// What a reader of the README would put there.
struct MyController;

#[async_trait]
impl Controller for MyController {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "mine"
    }

    fn watches(&self, _: &mut Sources<ObjectKey>) {}

    async fn reconcile(&self, _: &ObjectKey, _: &Context) -> Result<Action, Error> {
        Ok(Action::Done)
    }
}

/// Compiled, not run: it listens on a fixed port and writes below the working directory.
#[allow(dead_code, reason = "that it compiles is what is tested")]
mod readme {
    use super::MyController;
    include!("assembly/readme.rs");
}

/// Compiled and run, as whoever copies it does.
#[allow(unused_variables, reason = "what is done with the client is the reader's affair")]
mod in_tests {
    use kubeplane::testing::TestCluster;
    include!("assembly/in_tests.rs");
}

/// The first Rust in a chapter of the README.
fn fence(chapter: &str) -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(file).unwrap();
    let after = text.split(&format!("## {chapter}\n")).nth(1).expect("the chapter");
    let fence = after.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next());
    fence.expect("the fence").to_owned()
}

#[test]
fn the_text_of_the_readme_is_what_is_compiled() {
    let compiled = include_str!("assembly/readme.rs");
    let copy = "copy it to tests/it/assembly";
    assert_eq!(fence("Assemble your own"), compiled, "{copy}/readme.rs");
    assert_eq!(fence("In tests"), include_str!("assembly/in_tests.rs"), "{copy}/in_tests.rs");
    let body = compiled.lines().skip_while(|line| !line.contains("async fn main")).skip(1);
    let lines = body.filter(|line| !line.trim().is_empty() && line.trim() != "}").count();
    assert!(lines <= 20, "the README promises twenty lines, these are {lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_lines_make_a_control_plane() {
    let data = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let options = ApiOptions { listen: Some(address), ..ApiOptions::default() };
    let (pki, now) = (data.path().join("pki"), options.clock.now());
    let credentials = Credentials::open(&pki, &[], &[address.ip()], now).unwrap();
    let store = Arc::new(MemoryStore::open(data.path().join("store")).unwrap());
    let api = standard_api_server(store, &credentials, &options).unwrap();
    let bootstrap = standard_bootstrap(&api, &credentials, &options, address).unwrap();
    let admin = data.path().join("admin.kubeconfig");
    credentials.admin_kubeconfig(&format!("https://{address}")).write(&admin).unwrap();

    let own = BuiltinOptions::new(options.clock.clone(), credentials.authority());
    let manager = Manager::builder(api.client_as(component_user(CONTROLLER_MANAGER)))
        .add_all(builtin(&own))
        .build()
        .unwrap();
    let scheduler = Scheduler::builder(api.client_as(component_user(SCHEDULER))).build().unwrap();
    let plane = ControlPlane::new().with(api).with(bootstrap).with(manager).with(scheduler);

    let (ready, mut names) = mpsc::channel(8);
    let plane = plane.on_ready(move |name| ready.try_send(name.to_owned()).unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { stopped.await.unwrap_or_default() };
    let running = tokio::spawn(plane.run_until(shutdown));
    for expected in ["kube-apiserver", "bootstrap", "kube-controller-manager", "kube-scheduler"] {
        let name = tokio::time::timeout(SOON, names.recv()).await.unwrap().unwrap();
        assert_eq!(name, expected);
    }
    let answer = Raw::of(&admin).await.get("/api/v1/namespaces/default").await;
    assert_eq!(answer.code, 200, "{answer:?}");
    drop(stop);
    running.await.unwrap().unwrap();
}
