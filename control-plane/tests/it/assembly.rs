//! The assembly of the README.

use crate::{kubectl::SOON, parts::free_port, raw::Raw};
use kubeplane::{
    api::standard_bootstrap,
    controllers::{BuiltinOptions, builtin},
    credentials::*,
    prelude::*,
};
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::mpsc;

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
