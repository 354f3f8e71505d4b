//! Passes connections of a client on to a pod.

use http::Uri;
use kubeplane_runtime_cri::{DialPort, Forwarding};
use kubeplane_streaming::{
    Carrier, Duplex, Upgrade,
    port_forward::{self, Forwarded, Forwarder, PortForwards},
    splice, upgrade,
    websocket::Tunnel,
};
use std::sync::Arc;
use tokio::{net::TcpStream, task::JoinSet};

/// How many connections one client may have at once.
const MAX_CONNECTIONS: usize = 256;
const PROTOCOL: &str = "portforward.k8s.io";

/// Where connections are made.
enum Target {
    Here(Arc<dyn DialPort>),
    There(Arc<Forwarder>),
}

/// Serves a client that was upgraded, until it is gone.
///
/// # Errors
/// When what the runtime offers cannot be reached, or the client does not keep to the protocol.
pub(super) async fn run<T: Duplex + 'static>(
    io: T,
    agreed: &Upgrade,
    ports: &[u16],
    forwarding: Forwarding,
) -> Result<(), String> {
    let words = |error: kubeplane_streaming::Error| error.to_string();
    let target = match (forwarding, agreed.carrier()) {
        (Forwarding::InProcess(dialler), _) => Target::Here(Arc::from(dialler)),
        // The runtime speaks the client's protocol itself, and tells it what fails in its own words.
        (Forwarding::Url(url), Carrier::Spdy) => {
            splice(io, dial(&url).await?).await;
            return Ok(());
        }
        (Forwarding::Url(url), Carrier::SpdyInWebSocket) => {
            let backend = dial(&url).await?;
            splice(Tunnel::server(io).await, backend).await;
            return Ok(());
        }
        (Forwarding::Url(url), Carrier::WebSocket { .. }) => {
            Target::There(Arc::new(port_forward::dial(&url).await.map_err(words)?))
        }
        _ => return Err("the runtime offers a port-forward of an unknown kind".to_owned()),
    };
    let forwards = port_forward::serve(io, agreed, ports).await.map_err(words)?;
    serve(forwards, target).await;
    Ok(())
}

async fn dial(url: &str) -> Result<TcpStream, String> {
    let uri: Uri = url.parse().map_err(|_| format!("{url:?} is no URL"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let mut io = TcpStream::connect((host, uri.port_u16().unwrap_or(80)))
        .await
        .map_err(|error| error.to_string())?;
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    upgrade(&mut io, &authority, path, &[PROTOCOL]).await.map_err(|error| error.to_string())?;
    Ok(io)
}

async fn serve(mut forwards: PortForwards, target: Target) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            forwarded = forwards.accept() => {
                let Some(forwarded) = forwarded else { return };
                if connections.len() >= MAX_CONNECTIONS {
                    forwarded.fail("too many connections at once").await;
                    continue;
                }
                match &target {
                    Target::Here(dialler) => {
                        connections.spawn(here(dialler.clone(), forwarded));
                    }
                    Target::There(forwarder) => {
                        connections.spawn(there(forwarder.clone(), forwarded));
                    }
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn here(dialler: Arc<dyn DialPort>, forwarded: Forwarded) {
    let port = forwarded.port;
    match dialler.dial(port).await {
        Ok(mut stream) => {
            if let Err(error) = forwarded.copy(&mut stream).await {
                tracing::debug!(port, %error, "a forwarded connection broke");
            }
        }
        Err(error) => {
            forwarded.fail(&format!("error forwarding port {port} to pod: {error}")).await;
        }
    }
}

async fn there(forwarder: Arc<Forwarder>, forwarded: Forwarded) {
    let port = forwarded.port;
    match forwarder.open(port).await {
        Ok(mut connection) => {
            let copied = forwarded.copy(&mut connection.data).await;
            if let Err(error) = copied {
                tracing::debug!(port, %error, "a forwarded connection broke");
            }
        }
        Err(error) => {
            forwarded.fail(&format!("error forwarding port {port} to pod: {error}")).await;
        }
    }
}
