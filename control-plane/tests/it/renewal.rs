//! Certificates of a process that runs for longer than they do.

use crate::{kubectl::SOON, raw::Raw};
use kubeplane::{
    clock::{Clock as _, PausedClock},
    credentials::Kubeconfigs,
    pki::{CertificateInfo, inspect, pem},
    prelude::*,
    renewal::Renewal,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpStream, sync::mpsc};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Looks at what a server shows, whatever the time on the machine is.
#[derive(Debug)]
struct Onlooker(Arc<CryptoProvider>);

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a new connection is shown.
async fn shown(address: SocketAddr) -> CertificateInfo {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Onlooker(provider)))
        .with_no_client_auth();
    let tcp = TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::from(address.ip());
    let secured = connector.connect(name, tcp).await.unwrap();
    let certificates = secured.get_ref().1.peer_certificates().unwrap();
    inspect(&pem("CERTIFICATE", &certificates[0])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_runs_for_a_year_shows_a_new_certificate_and_writes_new_kubeconfigs() {
    let data = tempfile::tempdir().unwrap();
    let clock = PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let options = ApiOptions {
        listen: Some(listen),
        clock: Arc::new(clock.clone()),
        ..ApiOptions::default()
    };
    let pki = data.path().join("pki");
    let credentials = Credentials::open(&pki, &[], &[listen.ip()], clock.now()).unwrap();
    let credentials = Arc::new(credentials);
    let store = Arc::new(MemoryStore::open(data.path().join("store")).unwrap());
    let api = standard_api_server(store, &credentials, &options).unwrap();
    let bound = api.bound();
    let files = Kubeconfigs::new(data.path(), vec!["node-1".to_owned()]);
    let renewal = Renewal::new(options.clock.clone()).with_kubeconfigs(
        credentials.clone(),
        files.clone(),
        bound.clone(),
    );
    let (ready, mut names) = mpsc::channel(8);
    let plane = ControlPlane::new()
        .clock(options.clock.clone())
        .with(api)
        .with(renewal)
        .on_ready(move |name| ready.try_send(name.to_owned()).unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(plane.run_until(async { stopped.await.unwrap_or_default() }));
    for expected in ["kube-apiserver", "certificates"] {
        let name = tokio::time::timeout(SOON, names.recv()).await.unwrap().unwrap();
        assert_eq!(name, expected);
    }
    let address = bound.borrow().unwrap();
    let server = Kubeconfigs::server(address);
    let admin = files.write(&credentials, &server).unwrap();
    let scheduler = data.path().join("scheduler.kubeconfig");
    let first = (Raw::elsewhere(&admin, &server, true).await, shown(address).await);
    let list = "/api/v1/namespaces";
    assert_eq!(first.0.get(list).await.code, 200);

    clock.advance(DAY * 336);
    let deadline = tokio::time::Instant::now() + SOON;
    let next = loop {
        let now = shown(address).await;
        if now.not_after != first.1.not_after {
            break now;
        }
        assert!(tokio::time::Instant::now() < deadline, "the old certificate is still shown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(next.not_after > clock.now() + jiff::SignedDuration::from_hours(360 * 24), "{next:?}");
    assert_eq!((&next.names, &next.addresses), (&first.1.names, &first.1.addresses));

    // The old ones have ended by then.
    clock.advance(DAY * 30);
    assert_eq!(first.0.get(list).await.code, 401, "what the first file held has ended");
    // Whoever is known, but may not without the bootstrap policy, is told 403; a stranger 401.
    for (file, code) in [(&admin, 200), (&scheduler, 403)] {
        let deadline = tokio::time::Instant::now() + SOON;
        // The files are written after what is shown was set.
        while Raw::elsewhere(file, &server, true).await.get(list).await.code != code {
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late, "{} is of no use any more", file.display());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    drop((first, stop));
    // Whatever waits for clients to go waits on this clock.
    while !running.is_finished() {
        clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.await.unwrap().unwrap();
}
