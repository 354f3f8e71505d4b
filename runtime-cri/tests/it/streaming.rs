use crate::{Bench, soon};
use kubeplane_runtime_cri::{Containers, Forwarding, Sandboxes, Streaming, v1};
use kubeplane_streaming::{
    port_forward,
    remote_command::{self, Options, Outcome, TerminalSize},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn url(streaming: Streaming) -> String {
    match streaming {
        Streaming::Url(url) => url,
        other => panic!("no URL: {other:?}"),
    }
}

#[tokio::test]
async fn exec_streams_through_the_streaming_server() {
    let bench = Bench::new().await;
    let id = bench.start("sleep 1000", |_| {}).await;
    let request = v1::ExecRequest {
        container_id: id.to_string(),
        cmd: ["sh", "-c", "cat; echo done >&2; exit 9"].map(str::to_owned).to_vec(),
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let url = url(bench.client.exec(request).await.unwrap());
    let options = Options { stdin: true, stdout: true, stderr: true, tty: false };
    soon(async {
        let mut process = remote_command::dial(&url, options).await.unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let sent = vec![b'x'; 500_000];
        let write = async {
            stdin.write_all(&sent).await.unwrap();
            stdin.shutdown().await.unwrap();
        };
        let (mut out, mut err) = (Vec::new(), String::new());
        let mut stdout = process.stdout.take().unwrap();
        let ((), read) = tokio::join!(write, stdout.read_to_end(&mut out));
        read.unwrap();
        process.stderr.take().unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!((out.len(), err.as_str()), (500_000, "done\n"));
        assert_eq!(process.status.wait().await.unwrap(), Outcome::ExitCode(9));
    })
    .await;
}

#[tokio::test]
async fn a_terminal_has_the_size_it_is_told() {
    let bench = Bench::new().await;
    let id = bench.start("sleep 1000", |_| {}).await;
    let script =
        "while [ \"$(stty size 2>/dev/null)\" != '40 100' ]; do sleep 0.1; done; stty size";
    let request = v1::ExecRequest {
        container_id: id.to_string(),
        cmd: ["sh", "-c", script].map(str::to_owned).to_vec(),
        stdin: true,
        stdout: true,
        stderr: false,
        tty: true,
    };
    let url = url(bench.client.exec(request).await.unwrap());
    let options = Options { stdin: true, stdout: true, stderr: false, tty: true };
    soon(async {
        let mut process = remote_command::dial(&url, options).await.unwrap();
        let size = TerminalSize { width: 100, height: 40 };
        process.resize.as_mut().unwrap().send(size).await.unwrap();
        let mut out = String::new();
        process.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "40 100\r\n");
        assert_eq!(process.status.wait().await.unwrap(), Outcome::Success);
    })
    .await;
}

#[tokio::test]
async fn attach_reaches_the_main_process() {
    let bench = Bench::new().await;
    let id = bench
        .start("read line; echo got $line", |config| {
            config.stdin = true;
            config.stdin_once = true;
        })
        .await;
    let request = v1::AttachRequest {
        container_id: id.to_string(),
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };
    let url = url(bench.client.attach(request).await.unwrap());
    let options = Options { stdin: true, stdout: true, stderr: true, tty: false };
    soon(async {
        let mut process = remote_command::dial(&url, options).await.unwrap();
        process.stdin.as_mut().unwrap().write_all(b"a line\n").await.unwrap();
        let mut out = String::new();
        process.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "got a line\n");
        assert_eq!(process.status.wait().await.unwrap(), Outcome::Success);
    })
    .await;
}

#[tokio::test]
async fn ports_are_forwarded_and_failures_told() {
    let bench = Bench::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let Forwarding::Url(url) = bench.client.port_forward(&bench.sandbox, &[port]).await.unwrap()
    else {
        panic!("no URL")
    };
    let serve = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = [0; 8];
        socket.read_exact(&mut asked).await.unwrap();
        socket.write_all(b"answer").await.unwrap();
        asked
    };
    let ask = async {
        let forwarder = port_forward::dial(&url).await.unwrap();
        let mut connection = forwarder.open(port).await.unwrap();
        connection.data.write_all(b"question").await.unwrap();
        let mut got = String::new();
        connection.data.read_to_string(&mut got).await.unwrap();
        // Nothing listens on the lowest port of this machine.
        let refused = forwarder.open(1).await.unwrap();
        (got, refused.error.wait().await.unwrap())
    };
    let (asked, (got, failure)) = soon(async { tokio::join!(serve, ask) }).await;
    assert_eq!((&asked, got.as_str()), (b"question", "answer"));
    assert!(failure.unwrap().contains("refused"));
}
