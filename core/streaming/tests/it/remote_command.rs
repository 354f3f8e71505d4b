use crate::{agree, pipe, soon};
use futures::{SinkExt, StreamExt};
use kubeplane_streaming::{
    Purpose, Upgrade,
    remote_command::{self, Options, Outcome, TerminalSize},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

const ALL: Options = Options { stdin: true, stdout: true, stderr: true, tty: false };

/// A server whose process repeats its input, complains, and ends with 3.
async fn repeat(io: DuplexStream, upgrade: Upgrade, options: Options) {
    let mut streams = remote_command::serve(io, &upgrade, options).await.unwrap();
    let mut input = Vec::new();
    streams.stdin.take().unwrap().read_to_end(&mut input).await.unwrap();
    streams.stdout.take().unwrap().write_all(&input).await.unwrap();
    if let Some(mut stderr) = streams.stderr.take() {
        stderr.write_all(b"that was all").await.unwrap();
    }
    streams.status.send(Outcome::ExitCode(3)).await.unwrap();
}

#[tokio::test]
async fn every_spdy_version_carries_streams_and_the_outcome() {
    for (name, version) in [
        ("v4.channel.k8s.io", 4),
        ("v3.channel.k8s.io", 3),
        ("v2.channel.k8s.io", 2),
        ("channel.k8s.io", 1),
    ] {
        let (near, far) = pipe();
        let upgrade = agree(name, "SPDY/3.1", Purpose::RemoteCommand);
        assert_eq!(upgrade.version(), version);
        let server = tokio::spawn(repeat(far, upgrade, ALL));
        let client = async {
            let mut process = remote_command::connect(near, version, ALL).await.unwrap();
            let mut stdin = process.stdin.take().unwrap();
            stdin.write_all(b"hello").await.unwrap();
            stdin.shutdown().await.unwrap();
            let (mut out, mut err) = (String::new(), String::new());
            process.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
            process.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
            assert_eq!((out.as_str(), err.as_str()), ("hello", "that was all"));
            process.status.wait().await.unwrap()
        };
        let outcome = soon(client).await;
        if version == 4 {
            assert_eq!(outcome, Outcome::ExitCode(3));
        } else {
            assert!(matches!(outcome, Outcome::Failed(text) if text.contains("exit status 3")));
        }
        soon(server).await.unwrap();
    }
}

#[tokio::test]
async fn a_terminal_tells_its_sizes() {
    let (near, far) = pipe();
    let options = Options { stdin: true, stdout: true, stderr: false, tty: true };
    let upgrade = agree("v4.channel.k8s.io", "SPDY/3.1", Purpose::RemoteCommand);
    let server = async {
        let mut streams = remote_command::serve(far, &upgrade, options).await.unwrap();
        let mut resize = streams.resize.take().unwrap();
        let sizes = (resize.recv().await.unwrap(), resize.recv().await.unwrap());
        streams.status.send(Outcome::Success).await.unwrap();
        sizes
    };
    let client = async {
        let mut process = remote_command::connect(near, 4, options).await.unwrap();
        let mut resize = process.resize.take().unwrap();
        resize.send(TerminalSize { width: 80, height: 24 }).await.unwrap();
        resize.send(TerminalSize { width: 132, height: 50 }).await.unwrap();
        process.status.wait().await.unwrap()
    };
    let (sizes, outcome) = soon(async { tokio::join!(server, client) }).await;
    assert_eq!(sizes.0, TerminalSize { width: 80, height: 24 });
    assert_eq!(sizes.1, TerminalSize { width: 132, height: 50 });
    assert_eq!(outcome, Outcome::Success);
}

#[tokio::test]
async fn a_client_that_goes_is_noticed() {
    let (near, far) = pipe();
    let upgrade = agree("v4.channel.k8s.io", "SPDY/3.1", Purpose::RemoteCommand);
    let server = async {
        let mut streams = remote_command::serve(far, &upgrade, ALL).await.unwrap();
        streams.status.closed().await;
        let mut rest = Vec::new();
        streams.stdin.take().unwrap().read_to_end(&mut rest).await.unwrap();
        assert!(streams.stdout.take().unwrap().write_all(b"who reads?").await.is_err());
    };
    let client = async {
        drop(remote_command::connect(near, 4, ALL).await.unwrap());
    };
    soon(async { tokio::join!(server, client) }).await;
}

/// What a WebSocket client gets until the server closes, by channel.
async fn drain(socket: &mut WebSocketStream<DuplexStream>) -> Vec<Vec<u8>> {
    let mut channels = vec![Vec::new(); 5];
    while let Some(message) = socket.next().await {
        let data = match message.unwrap() {
            Message::Binary(data) => data.to_vec(),
            Message::Text(text) => {
                use base64::{Engine, prelude::BASE64_STANDARD};
                let mut data = vec![text.as_bytes()[0] - b'0'];
                data.extend(BASE64_STANDARD.decode(&text.as_bytes()[1..]).unwrap());
                data
            }
            Message::Close(frame) => {
                assert_eq!(u16::from(frame.unwrap().code), 1000);
                continue;
            }
            _ => continue,
        };
        channels[usize::from(data[0])].extend_from_slice(&data[1..]);
    }
    channels
}

#[tokio::test]
async fn version_five_closes_standard_input_alone() {
    let (near, far) = pipe();
    let upgrade = agree("v5.channel.k8s.io", "websocket", Purpose::RemoteCommand);
    let server = tokio::spawn(repeat(far, upgrade, ALL));
    let mut socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    soon(async {
        socket.send(Message::binary(b"\x00he".to_vec())).await.unwrap();
        socket.send(Message::binary(b"\x00llo".to_vec())).await.unwrap();
        socket.send(Message::binary(vec![255, 0])).await.unwrap();
        let channels = drain(&mut socket).await;
        assert_eq!(channels[1], b"hello");
        assert_eq!(channels[2], b"that was all");
        let status: serde_json::Value = serde_json::from_slice(&channels[3]).unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "3");
    })
    .await;
    soon(server).await.unwrap();
}

#[tokio::test]
async fn the_base64_protocol_and_the_nameless_one_carry_output() {
    let options = Options { stdin: false, stdout: true, stderr: false, tty: false };
    for name in ["v4.base64.channel.k8s.io", "base64.channel.k8s.io", "channel.k8s.io", ""] {
        let (near, far) = pipe();
        let upgrade = agree(name, "websocket", Purpose::RemoteCommand);
        let server = async {
            let mut streams = remote_command::serve(far, &upgrade, options).await.unwrap();
            assert!(streams.stdin.is_none() && streams.stderr.is_none());
            streams.stdout.take().unwrap().write_all(b"output").await.unwrap();
            streams.status.send(Outcome::Success).await.unwrap();
        };
        let mut socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let ((), channels) = soon(async { tokio::join!(server, drain(&mut socket)) }).await;
        assert_eq!(channels[1], b"output", "{name}");
        assert_eq!(channels[3].is_empty(), upgrade.version() < 4, "{name}");
    }
}
