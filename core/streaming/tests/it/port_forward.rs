use crate::{agree, pipe, soon};
use futures::{SinkExt, StreamExt};
use kubeplane_streaming::{
    Purpose, Upgrade,
    port_forward::{self, Forwarder},
    websocket::Tunnel,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

/// A server behind whose port 80 everything is repeated, and behind whose others nothing listens.
async fn pod(io: DuplexStream, upgrade: Upgrade, ports: &[u16]) {
    let mut forwards = port_forward::serve(io, &upgrade, ports).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(forwarded) = forwards.accept().await {
        if forwarded.port != 80 {
            forwarded.fail("nothing listens there").await;
            continue;
        }
        tasks.spawn(async move {
            let (mut near, far) = pipe();
            let (mut reader, mut writer) = tokio::io::split(far);
            tokio::join!(async { forwarded.copy(&mut near).await.unwrap() }, async {
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
        });
    }
}

async fn two_connections(forwarder: Forwarder) {
    let exchange = async |text: &'static str| {
        let connection = forwarder.open(80).await.unwrap();
        let (mut reader, mut writer) = connection.data.into_split();
        writer.write_all(text.as_bytes()).await.unwrap();
        writer.shutdown().await.unwrap();
        let mut got = String::new();
        reader.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, text);
        assert_eq!(connection.error.wait().await.unwrap(), None);
    };
    tokio::join!(exchange("first"), exchange("second"));
    let refused = forwarder.open(81).await.unwrap();
    assert_eq!(refused.error.wait().await.unwrap().as_deref(), Some("nothing listens there"));
    forwarder.close().await;
}

#[tokio::test]
async fn spdy_connections_are_paired_and_failures_told() {
    let (near, far) = pipe();
    let upgrade = agree("portforward.k8s.io", "SPDY/3.1", Purpose::PortForward);
    let server = tokio::spawn(async move { pod(far, upgrade, &[]).await });
    soon(two_connections(port_forward::connect(near))).await;
    soon(server).await.unwrap();
}

#[tokio::test]
async fn the_same_goes_through_a_web_socket_tunnel() {
    let (near, far) = pipe();
    let upgrade = agree("SPDY/3.1+portforward.k8s.io", "websocket", Purpose::PortForward);
    let server = tokio::spawn(async move { pod(far, upgrade, &[]).await });
    soon(two_connections(port_forward::connect(Tunnel::client(near).await))).await;
    soon(server).await.unwrap();
}

#[tokio::test]
async fn web_socket_channels_carry_one_connection_for_each_port() {
    let (near, far) = pipe();
    let upgrade = agree("v4.channel.k8s.io", "websocket", Purpose::PortForward);
    let ports = port_forward::ports_from_query("port=80,81").unwrap();
    let server = tokio::spawn(async move { pod(far, upgrade, &ports).await });
    let mut socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    soon(async {
        socket.send(Message::binary(b"\x00ping".to_vec())).await.unwrap();
        let mut channels = vec![Vec::new(); 4];
        while channels[0].len() < 6 || channels[3].len() < 23 {
            let data = socket.next().await.unwrap().unwrap().into_data();
            channels[usize::from(data[0])].extend_from_slice(&data[1..]);
        }
        assert_eq!(channels[0], b"\x50\x00ping");
        assert_eq!(channels[1], b"\x50\x00");
        assert_eq!(channels[2], b"\x51\x00");
        assert_eq!(channels[3], b"\x51\x00nothing listens there");
        drop(socket);
    })
    .await;
    soon(server).await.unwrap();
}

#[test]
fn ports_of_a_query_are_checked() {
    assert_eq!(port_forward::ports_from_query("ports=80&ports=81").unwrap(), [80, 81]);
    assert!(port_forward::ports_from_query("port=0").is_err());
    assert!(port_forward::ports_from_query("port=x").is_err());
}
