//! Entries that expire share leases.

use crate::{gateway, server::Etcd};
use futures::future::join_all;
use kubeplane_store_trait::{Key, Store, WriteOptions};
use serde_json::json;
use std::time::Duration;

fn leases(etcd: &Etcd) -> Vec<String> {
    let answer = gateway::call(etcd.plain(), "/v3/lease/leases", &json!({}), "");
    let ids = answer["leases"].as_array().cloned().unwrap_or_default();
    ids.iter().map(|lease| lease["ID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn entries_written_together_share_a_lease_up_to_a_thousand() {
    let etcd = Etcd::start();
    let store = etcd.connect().await;
    let options = WriteOptions { ttl: Some(Duration::from_secs(3600)) };
    let create = |index: usize| {
        let (store, name) = (&store, Key::new(format!("{index}")).unwrap());
        async move { store.create(&name, "x".into(), options).await.unwrap() }
    };
    join_all((0..1000).map(create)).await;
    assert_eq!(leases(&etcd).len(), 1);
    create(1000).await;
    assert_eq!(leases(&etcd).len(), 2);
}

#[tokio::test]
async fn a_lease_that_ended_early_is_replaced() {
    let etcd = Etcd::start();
    let store = etcd.connect().await;
    let options = WriteOptions { ttl: Some(Duration::from_secs(3600)) };
    let name = |name: &str| Key::new(name.to_owned()).unwrap();
    store.create(&name("a"), "x".into(), options).await.unwrap();
    for lease in leases(&etcd) {
        gateway::call(etcd.plain(), "/v3/lease/revoke", &json!({"ID": lease}), "");
    }
    store.create(&name("b"), "x".into(), options).await.unwrap();
    assert_eq!(leases(&etcd).len(), 1);
}
