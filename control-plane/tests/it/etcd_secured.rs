//! A cluster on an etcd that lets in only whom it knows: by certificate, and by password.

use crate::{
    cluster::{Cluster, Ground},
    parts::{eventually, free_port},
    raw::Raw,
};
use jiff::Timestamp;
use kubeplane::store_etcd::{EtcdOptions, EtcdStore, EtcdTls};
use kubeplane_pki::{Authority, Request, Usage};
use kubeplane_store_trait::{KeyRange, ListOptions, Store};
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

const PASSWORD: &str = "the password of root";
const PREFIX: &str = "/elsewhere";

/// An etcd behind TLS that wants client certificates and users; killed when dropped.
struct Secured {
    process: Child,
    url: String,
    files: TempDir,
}

impl Secured {
    fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let authority = Authority::generate("etcd-ca", Timestamp::now()).unwrap();
        write(files.path(), "ca.crt", authority.certificate());
        for name in ["etcd", "client"] {
            let request = Request::new(name, Usage::Both)
                .names(["localhost"])
                .addresses(["127.0.0.1".parse().unwrap()]);
            let identity = authority.issue(&request, Timestamp::now()).unwrap();
            write(files.path(), &format!("{name}.crt"), &identity.certificate);
            write(files.path(), &format!("{name}.key"), &identity.key);
        }
        write(files.path(), "password", &format!("{PASSWORD}\n"));
        let url = format!("https://127.0.0.1:{}", free_port());
        // For users to be made; it is not what the cluster is told.
        let plain = format!("http://127.0.0.1:{}", free_port());
        let process = spawn(files.path(), &url, &plain);
        let etcd = Self { process, url, files };
        etcd.enable_users(&plain);
        etcd
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn enable_users(&self, plain: &str) {
        let address = plain.trim_start_matches("http://");
        eventually("etcd answers", Duration::from_secs(30), || {
            call(address, "/v3/kv/range", &json!({"key": "AA=="}))
        });
        for (path, body) in [
            ("/v3/auth/user/add", json!({"name": "root", "password": PASSWORD})),
            ("/v3/auth/role/add", json!({"name": "root"})),
            ("/v3/auth/user/grant", json!({"user": "root", "role": "root"})),
            ("/v3/auth/enable", json!({})),
        ] {
            call(address, path, &body).unwrap();
        }
    }

    /// What a server is told about it.
    fn arguments(&self) -> Vec<String> {
        let file = |flag: &str, name: &str| format!("--etcd-{flag}={}", self.file(name).display());
        vec![
            format!("--store=etcd={}", self.url),
            file("cafile", "ca.crt"),
            file("certfile", "client.crt"),
            file("keyfile", "client.key"),
            "--etcd-user=root".to_owned(),
            file("password-file", "password"),
            format!("--etcd-prefix={PREFIX}"),
        ]
    }

    /// A look past the cluster.
    async fn keys(&self) -> Vec<String> {
        let mut options = EtcdOptions::new([self.url.as_str()]).user("root", PASSWORD);
        options.tls = Some(EtcdTls {
            ca: self.file("ca.crt").into(),
            identity: Some((self.file("client.crt").into(), self.file("client.key").into())),
            server_name: None,
        });
        let store = EtcdStore::connect(options).await.unwrap();
        let only = ListOptions { keys_only: true, ..ListOptions::default() };
        let page = store.list(&KeyRange::all(), only).await.unwrap();
        page.keys.iter().map(|listed| listed.to_string()).collect()
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}

fn spawn(files: &Path, url: &str, plain: &str) -> Child {
    let peer = format!("http://127.0.0.1:{}", free_port());
    let program = std::env::var_os("KUBEPLANE_ETCD").unwrap_or_else(|| "etcd".into());
    Command::new(&program)
        .arg("--data-dir")
        .arg(files.join("member"))
        .args(["--listen-client-urls", &format!("{url},{plain}"), "--advertise-client-urls", url])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}")])
        .arg("--cert-file")
        .arg(files.join("etcd.crt"))
        .arg("--key-file")
        .arg(files.join("etcd.key"))
        .arg("--trusted-ca-file")
        .arg(files.join("ca.crt"))
        .arg("--client-cert-auth")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("these tests need etcd: {error}"))
}

/// A call over etcd's JSON gateway.
fn call(address: &str, path: &str, body: &Value) -> Result<Value, String> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: etcd\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let exchange = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer: String = exchange().map_err(|error: std::io::Error| error.to_string())?;
    if answer.starts_with("HTTP/1.1 200") { Ok(Value::Null) } else { Err(answer) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_let_in_with_certificate_and_password_and_keeps_to_its_prefix() {
    let etcd = Secured::start();
    let arguments = etcd.arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ground = Ground::simulated().with(&arguments);
    let mut cluster: Cluster = ground.start();
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kept"}, "data": {"a": "b"}});
    let collection = "/api/v1/namespaces/default/configmaps";
    let created = Raw::admin(&cluster).await.post(collection, config_map.to_string()).await;
    assert_eq!(created.code, 201, "{}", created.text);

    let keys = etcd.keys().await;
    let kept = format!("{PREFIX}/configmaps/default/kept");
    assert!(keys.contains(&kept), "{keys:?}");
    // What tells the servers on one etcd who forgets history stands beside all prefixes, as the original has it.
    let others: Vec<_> = keys
        .iter()
        .filter(|key| !key.starts_with(&format!("{PREFIX}/")) && *key != "compact_rev_key")
        .collect();
    assert!(others.is_empty(), "{others:?}");

    cluster.process.kill();
    let cluster = ground.start();
    let found = Raw::admin(&cluster).await.get(&format!("{collection}/kept")).await;
    assert_eq!((found.code, &found.json()["data"]["a"]), (200, &"b".into()), "{}", found.text);
}
