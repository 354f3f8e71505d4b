use crate::{agree, pipe, soon};
use kubeplane_streaming::{
    Purpose,
    remote_command::{self, Options, Outcome},
    splice,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_command_runs_through_a_server_that_only_passes_bytes() {
    let (client_io, front) = pipe();
    let (back, kubelet_io) = pipe();
    let options = Options { stdin: true, stdout: true, stderr: false, tty: false };
    let upgrade = agree("v4.channel.k8s.io", "SPDY/3.1", Purpose::RemoteCommand);
    let kubelet = async {
        let mut streams = remote_command::serve(kubelet_io, &upgrade, options).await.unwrap();
        streams.stdout.take().unwrap().write_all(&[1; 200_000]).await.unwrap();
        streams.status.send(Outcome::Success).await.unwrap();
    };
    let client = async {
        let mut process = remote_command::connect(client_io, 4, options).await.unwrap();
        let mut output = Vec::new();
        process.stdout.take().unwrap().read_to_end(&mut output).await.unwrap();
        (output.len(), process.status.wait().await.unwrap())
    };
    let ((), (), got) = soon(async { tokio::join!(kubelet, splice(front, back), client) }).await;
    assert_eq!(got, (200_000, Outcome::Success));
}

#[tokio::test]
async fn both_sides_get_the_rest_and_the_end() {
    let (mut client, front) = pipe();
    let (back, mut backend) = pipe();
    let ends = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        backend.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        backend.write_all(b"answer").await.unwrap();
        drop(backend);
        text.clear();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
    };
    soon(async { tokio::join!(splice(front, back), ends) }).await;
}
