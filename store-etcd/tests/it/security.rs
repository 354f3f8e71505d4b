//! Who is let in, and as whom.

use crate::{
    certificates::Authority,
    gateway::{self, LIMITED, ROOT},
    server::{Etcd, connect},
};
use futures::StreamExt;
use kubeplane_store_etcd::{ConnectError, EtcdStore, EtcdTls};
use kubeplane_store_trait::{Error, Key, KeyRange, ListOptions, ReadAt, Store, WriteOptions};
use serde_json::json;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).unwrap()
}

#[tokio::test]
async fn only_the_right_certificates_connect() {
    let authority = Authority::new();
    let etcd = Etcd::tls(&authority);
    let store = etcd.connect().await;
    store.create(&key("a"), "x".into(), WriteOptions::default()).await.unwrap();

    let mut nameless = etcd.options();
    nameless.tls.as_mut().unwrap().identity = None;
    let error = EtcdStore::connect(nameless).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");

    let mut stranger = etcd.options();
    stranger.tls = Some(Authority::new().client());
    let error = EtcdStore::connect(stranger).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");

    let mut misled = etcd.options();
    misled.tls.as_mut().unwrap().server_name = Some("another.example".into());
    let error = EtcdStore::connect(misled).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");

    let mut named = etcd.options();
    named.tls.as_mut().unwrap().server_name = Some("localhost".into());
    EtcdStore::connect(named).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_told_and_a_token_that_ran_out_is_renewed() {
    let mut etcd = Etcd::start();
    etcd.connect().await;
    gateway::enable_users(etcd.plain());
    let wrong = etcd.options().user(ROOT.0, "wrong");
    let error = EtcdStore::connect(wrong).await.unwrap_err();
    assert!(matches!(&error, ConnectError::User { user, .. } if user == "root"), "{error}");
    assert!(!format!("{:?}", etcd.options().user(ROOT.0, ROOT.1)).contains(ROOT.1));

    let store = connect(etcd.options().user(ROOT.0, ROOT.1)).await;
    let first = store.create(&key("a"), "x".into(), WriteOptions::default()).await.unwrap();
    let mut watcher = store.watch(&KeyRange::all(), first).await.unwrap();
    // Tokens live in etcd's memory: after a restart none is known.
    etcd.kill();
    etcd.restart();
    let deadline = Instant::now() + Duration::from_secs(60);
    let second = loop {
        match store.create(&key("b"), "x".into(), WriteOptions::default()).await {
            Ok(revision) => break revision,
            Err(Error::Exists { current, .. }) => break current.revision,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let batch = watcher.next().await.unwrap().unwrap();
    assert_eq!((batch.events.len(), batch.through), (1, second), "the watch logs in again too");
}

#[tokio::test]
async fn a_user_who_may_use_the_registry_alone_gets_along() {
    let etcd = Etcd::start();
    etcd.connect().await;
    gateway::enable_users(etcd.plain());
    let store = connect(etcd.options().user(LIMITED.0, LIMITED.1)).await;
    let name = key("/registry/pods/default/a");
    let first = store.create(&name, "x".into(), WriteOptions::default()).await.unwrap();
    let range = KeyRange::prefix("/registry/");
    let mut watcher = store.watch(&range, first).await.unwrap();
    let second = store.update(&name, "y".into(), first, WriteOptions::default()).await.unwrap();
    assert_eq!(watcher.next().await.unwrap().unwrap().through, second);
    assert_eq!(store.list(&range, ListOptions::default()).await.unwrap().entries.len(), 1);
    assert_eq!(store.status().await.unwrap().revision, second);
    store.compact(second).await.unwrap();
    let gone = store.get(&name, ReadAt::Exact(first)).await.unwrap_err();
    assert!(matches!(gone, Error::Compacted { oldest, .. } if oldest == second), "{gone}");

    let denied = store.create(&key("/other"), "x".into(), WriteOptions::default()).await;
    let denied = denied.unwrap_err();
    assert!(denied.to_string().contains("does not permit"), "{denied}");
    assert!(matches!(denied, Error::Unavailable { .. }));
    let denied = store.watch(&KeyRange::all(), first).await.err().unwrap();
    assert!(matches!(denied, Error::Unavailable { .. }), "{denied}");
}

/// A client's files in a directory.
fn client_files(directory: &Path, authority: &Authority) -> EtcdTls {
    let (certificate, key) = authority.sign("kubeplane");
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    EtcdTls {
        ca: file("ca.crt", &authority.certificate).into(),
        identity: Some((file("client.crt", &certificate).into(), file("client.key", &key).into())),
        server_name: None,
    }
}

#[tokio::test]
async fn certificates_that_are_replaced_are_used_from_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let mut etcd = Etcd::tls(&old);
    let files = tempfile::tempdir().unwrap();
    let mut options = etcd.options();
    options.tls = Some(client_files(files.path(), &old));
    let store = connect(options).await;
    let first = store.create(&key("a"), "x".into(), WriteOptions::default()).await.unwrap();
    let mut watcher = store.watch(&KeyRange::all(), first).await.unwrap();

    client_files(files.path(), &new);
    etcd.certify(&new);
    etcd.kill();
    etcd.restart();
    let deadline = Instant::now() + Duration::from_secs(60);
    let second = loop {
        match store.create(&key("b"), "x".into(), WriteOptions::default()).await {
            Ok(revision) => break revision,
            Err(Error::Exists { current, .. }) => break current.revision,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let next = tokio::time::timeout(Duration::from_secs(30), watcher.next()).await;
    let batch = next.expect("the watch hangs").unwrap().unwrap();
    assert_eq!((batch.events.len(), batch.through), (1, second), "the watch goes on, too");

    let mut missing = etcd.options();
    missing.tls.as_mut().unwrap().ca = files.path().join("nowhere.crt").into();
    let error = EtcdStore::connect(missing).await.unwrap_err();
    assert!(error.to_string().contains("nowhere.crt"), "{error}");
}

#[tokio::test]
async fn a_password_that_is_replaced_is_used_at_the_next_login() {
    let etcd = Etcd::start();
    etcd.connect().await;
    gateway::enable_users(etcd.plain());
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("password");
    fs::write(&path, format!("{}\n", ROOT.1)).unwrap();
    let store = connect(etcd.options().user(ROOT.0, path.as_path())).await;
    store.create(&key("a"), "x".into(), WriteOptions::default()).await.unwrap();

    let login = json!({"name": ROOT.0, "password": ROOT.1});
    let token = gateway::call(etcd.plain(), "/v3/auth/authenticate", &login, "");
    let token = token["token"].as_str().unwrap();
    let change = json!({"name": ROOT.0, "password": "another one"});
    gateway::call(etcd.plain(), "/v3/auth/user/changepw", &change, token);
    // etcd forgets the tokens of the old password.
    let refused = store.get(&key("a"), ReadAt::Latest).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
    fs::write(&path, "another one\n").unwrap();
    assert!(store.get(&key("a"), ReadAt::Latest).await.unwrap().entry.is_some());
    store.create(&key("b"), "x".into(), WriteOptions::default()).await.unwrap();
}
