use crate::{pipe, soon};
use kubeplane_streaming::{
    Error,
    spdy::{Connection, Headers, Incoming, Role},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn echo(mut incoming: Incoming) {
    while let Some(syn) = incoming.next().await {
        let mut stream = syn.accept().await.unwrap();
        tokio::spawn(async move {
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            stream.write_all(&all).await.unwrap();
            stream.shutdown().await.unwrap();
        });
    }
}

#[tokio::test]
async fn many_streams_carry_their_own_bytes_and_half_close() {
    let (near, far) = pipe();
    let (_server, incoming) = Connection::new(far, Role::Server);
    let serving = tokio::spawn(echo(incoming));
    let (client, _) = Connection::new(near, Role::Client);
    let exchange = async |number: usize| {
        let stream = client.open(Headers::new().with("n", number.to_string())).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let sent = vec![number as u8; 100_000 + number];
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, sent);
    };
    soon(futures::future::join_all((0..20).map(exchange))).await;
    serving.abort();
}

#[tokio::test]
async fn a_dropped_writer_ends_the_stream_after_everything_written() {
    let (near, far) = pipe();
    let (_server, mut incoming) = Connection::new(far, Role::Server);
    let (client, _) = Connection::new(near, Role::Client);
    let write = async {
        let mut stream = client.open(Headers::new()).await.unwrap();
        stream.write_all(&[7; 300_000]).await.unwrap();
    };
    let read = async {
        let mut stream = incoming.next().await.unwrap().accept().await.unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).await.unwrap();
        got.len()
    };
    let ((), got) = soon(async { tokio::join!(write, read) }).await;
    assert_eq!(got, 300_000);
}

#[tokio::test]
async fn a_refused_stream_is_an_error_and_the_connection_goes_on() {
    let (near, far) = pipe();
    let (_server, mut incoming) = Connection::new(far, Role::Server);
    let (client, _) = Connection::new(near, Role::Client);
    let serve = async {
        drop(incoming.next().await.unwrap());
        let stream = incoming.next().await.unwrap().accept().await.unwrap();
        stream.headers().first("Name").map(str::to_owned)
    };
    let ask = async {
        assert!(matches!(client.open(Headers::new()).await, Err(Error::StreamReset)));
        client.open(Headers::new().with("name", "second")).await.unwrap()
    };
    let (name, _stream) = soon(async { tokio::join!(serve, ask) }).await;
    assert_eq!(name.as_deref(), Some("second"));
}

#[tokio::test]
async fn a_reset_ends_reading_and_writing() {
    let (near, far) = pipe();
    let (_server, mut incoming) = Connection::new(far, Role::Server);
    let (client, _) = Connection::new(near, Role::Client);
    let accept = async { incoming.next().await.unwrap().accept().await.unwrap() };
    let open = async { client.open(Headers::new()).await.unwrap() };
    let (served, mut opened) = soon(async { tokio::join!(accept, open) }).await;
    served.reset().await;
    let mut rest = Vec::new();
    soon(opened.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    assert!(opened.write_all(b"more").await.is_err());
}

#[tokio::test]
async fn a_closed_connection_delivers_what_was_written_and_is_noticed() {
    let (near, far) = pipe();
    let (server, mut incoming) = Connection::new(far, Role::Server);
    let (client, _) = Connection::new(near, Role::Client);
    let serve = async {
        let mut stream = incoming.next().await.unwrap().accept().await.unwrap();
        stream.write_all(b"last words").await.unwrap();
        server.close().await;
    };
    let ask = async {
        let mut stream = client.open(Headers::new()).await.unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        client.closed().await;
        assert!(matches!(client.open(Headers::new()).await, Err(Error::Closed)));
        drop(client);
        got
    };
    let ((), got) = soon(async { tokio::join!(serve, ask) }).await;
    assert_eq!(got, "last words");
}

#[tokio::test]
async fn a_reader_that_does_not_read_does_not_hold_up_the_close() {
    let (near, far) = pipe();
    let (server, mut incoming) = Connection::new(far, Role::Server);
    let (client, _) = Connection::new(near, Role::Client);
    let serve = async {
        let stream = incoming.next().await.unwrap().accept().await.unwrap();
        server.close().await;
        drop(stream);
    };
    let flood = async {
        let mut stream = client.open(Headers::new()).await.unwrap();
        while stream.write_all(&[0; 32 << 10]).await.is_ok() {}
        drop(client);
    };
    soon(async { tokio::join!(serve, flood) }).await;
}
