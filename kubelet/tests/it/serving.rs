use crate::harness::{Running, World, is_ready};
use kubeplane_kubelet::{KubeletConfig, ServingCertificate};
use kubeplane_pki::{Authority, Identity, LiveIdentity, Request, Usage, inspect, pem};
use kubeplane_streaming::{
    remote_command::{self, Options, Outcome},
    upgrade,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) struct Served {
    pub(crate) world: World,
    pub(crate) kubelet: Running,
    authority: Authority,
    address: SocketAddr,
}

impl Served {
    async fn start() -> Self {
        let world = World::new().await;
        let config = world.config();
        Self::start_in(world, config).await
    }

    /// A kubelet with this configuration and a server.
    pub(crate) async fn start_in(world: World, config: KubeletConfig) -> Self {
        Self::start_showing(world, config, |config, serving| {
            let (certificate, key) = (serving.certificate, serving.key);
            config.serving = Some(ServingCertificate { certificate, key });
        })
        .await
    }

    /// The same with a certificate that is put into the configuration so.
    async fn start_showing(
        world: World,
        mut config: KubeletConfig,
        show: impl FnOnce(&mut KubeletConfig, Identity),
    ) -> Self {
        let authority = Authority::generate("test", jiff::Timestamp::now()).unwrap();
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        config.listen = address;
        config.client_ca = Some(authority.certificate().to_owned());
        show(&mut config, serving(&authority, address, "node-1"));
        let kubelet = world.kubelet_with(config).await;
        let node = world.get("/api/v1/nodes/node-1").await;
        let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().unwrap();
        address.set_port(u16::try_from(port).unwrap());
        Self { world, kubelet, authority, address }
    }

    /// Who the server says it is to those who connect now.
    async fn shown(&self) -> String {
        let connection = self.connect(None).await;
        let certificates = connection.get_ref().1.peer_certificates().unwrap();
        inspect(&pem("CERTIFICATE", &certificates[0])).unwrap().common_name
    }

    /// A certificate for the same name by somebody whom the kubelet does not know.
    fn forged(&self, name: &str, group: &str) -> Identity {
        let now = jiff::Timestamp::now();
        let request = Request::new(name, Usage::Client).organization(group);
        Authority::generate("test", now).unwrap().issue(&request, now).unwrap()
    }

    /// A certificate that was good once.
    fn ended(&self, name: &str, group: &str) -> Identity {
        let request = Request::new(name, Usage::Client).organization(group);
        let then = "2020-01-01T00:00:00Z".parse().unwrap();
        self.authority.issue(&request, then).unwrap()
    }

    fn identity(&self, name: &str, group: &str) -> Identity {
        let request = Request::new(name, Usage::Client).organization(group);
        self.authority.issue(&request, jiff::Timestamp::now()).unwrap()
    }

    async fn connect(&self, identity: Option<Identity>) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.certificate().to_owned();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes())
                    .map(Result::unwrap)
                    .collect();
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::from(self.address.ip());
        TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
    }

    /// The whole answer, as it is on the wire.
    async fn get(&self, identity: Option<Identity>, path: &str) -> String {
        let mut io = self.connect(identity).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // The other side need not say goodbye in TLS.
        let _ = io.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A connection of an administrator.
    pub(crate) async fn admin(&self) -> TlsStream<TcpStream> {
        self.connect(Some(self.identity("admin", "system:masters"))).await
    }

    /// Runs a command in a container, writing `input` to it; its output and how it ended.
    pub(crate) async fn exec(
        &self,
        container: &str,
        command: &str,
        input: &str,
    ) -> (String, Outcome) {
        let query = if input.is_empty() { "output=1&error=1" } else { "input=1&output=1&error=1" };
        let options = Options::from_query(query).unwrap();
        let mut io = self.admin().await;
        let path = format!("/exec/default/{container}?{command}&{query}");
        let protocol = upgrade(&mut io, "node", &path, &["v4.channel.k8s.io"]).await.unwrap();
        assert_eq!(protocol, "v4.channel.k8s.io");
        let mut process = remote_command::connect(io, 4, options).await.unwrap();
        if let Some(mut stdin) = process.stdin.take() {
            stdin.write_all(input.as_bytes()).await.unwrap();
            stdin.shutdown().await.unwrap();
        }
        let mut text = String::new();
        process.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
        (text, process.status.wait().await.unwrap())
    }

    pub(crate) async fn admin_get(&self, path: &str) -> String {
        self.get(Some(self.identity("admin", "system:masters")), path).await
    }
}

fn serving(authority: &Authority, address: SocketAddr, node: &str) -> Identity {
    let request = Request::new(format!("system:node:{node}"), Usage::Server);
    let request = request.addresses([address.ip()]);
    authority.issue(&request, jiff::Timestamp::now()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_to_those_who_come_after_that() {
    let world = World::new().await;
    let config = world.config();
    let mut live = None;
    let served = Served::start_showing(world, config, |config, identity| {
        let shown = Arc::new(LiveIdentity::new(identity).unwrap());
        live = Some(shown.clone());
        config.serving_live = Some(shown);
    })
    .await;
    let mut before = served.connect(None).await;
    assert_eq!(served.shown().await, "system:node:node-1");
    live.unwrap().set(serving(&served.authority, served.address, "renewed")).unwrap();
    assert_eq!(served.shown().await, "system:node:renewed");
    // Whoever was there is not sent away.
    before.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    before.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 401");
    served.kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_those_who_may_are_answered() {
    let served = Served::start().await;
    let nobody = served.get(None, "/pods").await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "{nobody}");
    let someone = served.get(Some(served.identity("eve", "devs")), "/pods").await;
    assert!(someone.starts_with("HTTP/1.1 403"), "{someone}");
    assert!(
        someone.contains("Forbidden (user=eve, verb=get, resource=nodes, subresource(s)=[proxy])")
    );
    for (path, part) in [
        ("/pods", "\"kind\":\"PodList\""),
        ("/healthz", "ok"),
        ("/metrics", "kubelet_running_pods"),
        ("/stats/summary", "\"nodeName\":\"node-1\""),
        ("/configz", "kubeletconfig"),
    ] {
        let answer = served.admin_get(path).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(part), "{path}: {answer}");
    }
    assert!(served.admin_get("/nothing").await.starts_with("HTTP/1.1 404"));
    served.kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_served_and_followed() {
    let served = Served::start().await;
    let world = &served.world;
    world
        .run(
            "talker",
            json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox",
            "command": ["sh", "-c", "echo one; echo two; sleep 2; echo three"]}]}),
        )
        .await;
    // On a busy machine it may have ended before anybody has seen that it runs.
    world
        .until("talker", "started", |pod| {
            let state = &pod["status"]["containerStatuses"][0]["state"];
            state["running"].is_object() || state["terminated"].is_object()
        })
        .await;
    let path = "/containerLogs/default/talker/c";
    let followed = served.admin_get(&format!("{path}?follow=true")).await;
    assert!(followed.contains("one\ntwo\n") && followed.contains("three\n"), "{followed}");
    let tail = served.admin_get(&format!("{path}?tailLines=1&timestamps=true")).await;
    assert!(tail.contains("Z three\n") && !tail.contains("two"), "{tail}");
    let missing = served.admin_get("/containerLogs/default/talker/x").await;
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    assert!(missing.contains("container \"x\" not found in pod \"talker\""));
    let previous = served.admin_get(&format!("{path}?previous=true")).await;
    assert!(previous.contains("previous terminated container \"c\" in pod \"talker\" not found"));
    served.kubelet.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_run_in_containers() {
    let served = Served::start().await;
    served.world.run("web", json!({"containers": [{"name": "c", "image": "busybox"}]})).await;
    served.world.until("web", "ready", is_ready).await;
    for (command, output, outcome) in [
        ("command=echo&command=a%20b", "a b\n", Outcome::Success),
        ("command=sh&command=-c&command=echo%20x%3B%20exit%207", "x\n", Outcome::ExitCode(7)),
    ] {
        let (text, ended) = served.exec("web/c", command, "").await;
        assert_eq!((text.as_str(), ended), (output, outcome));
    }
    let (text, ended) = served.exec("web/c", "command=cat", "typed\n").await;
    assert_eq!((text.as_str(), ended), ("typed\n", Outcome::Success));
    let plain = served.admin_get("/exec/default/web/c?command=true&output=1").await;
    assert!(plain.starts_with("HTTP/1.1 400"), "{plain}");
    let gone = served.admin_get("/exec/default/nope/c?command=true&output=1").await;
    assert!(gone.starts_with("HTTP/1.1 404"), "{gone}");
    served.kubelet.stop().await;
}

/// The handshake succeeds, so that the client is told why it is not let in.
#[tokio::test]
async fn a_certificate_nobody_vouches_for_is_answered_with_401() {
    let served = Served::start().await;
    for shown in [
        None,
        Some(served.forged("admin", "system:masters")),
        Some(served.ended("admin", "system:masters")),
    ] {
        let answer = served.get(shown, "/pods").await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.ends_with("Unauthorized"), "{answer}");
    }
    let answer = served.get(Some(served.identity("admin", "system:masters")), "/pods").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    served.kubelet.stop().await;
}

#[tokio::test]
async fn others_do_not_look_into_the_directories_of_pods() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new().await;
    let home = tempfile::tempdir().unwrap();
    let mut config = world.config();
    config.data_dir = home.path().join("kubelet");
    config.log_dir = home.path().join("logs");
    let dirs = [config.data_dir.clone(), config.data_dir.join("pods"), config.log_dir.clone()];
    let kubelet = world.kubelet_with(config).await;
    for dir in dirs {
        let mode = std::fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{} {mode:o}", dir.display());
    }
    kubelet.stop().await;
}
