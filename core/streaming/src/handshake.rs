//! The client's side of an upgrade over plain HTTP/1.1, as streaming servers of runtimes are asked.

use crate::{
    Error, Result,
    negotiate::{SPDY, STREAM_PROTOCOL},
};
use http::Uri;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

/// What the head of an answer may be long at most.
const MAX_HEAD: usize = 32 << 10;
/// How much of the body of a refusal is kept.
const MAX_BODY: u64 = 4 << 10;

/// A connection that now speaks SPDY.
#[derive(Debug)]
pub(crate) struct Dialled {
    pub(crate) io: TcpStream,
    pub(crate) protocol: String,
}

pub(crate) async fn dial(url: &str, protocols: &[&str]) -> Result<Dialled> {
    let uri: Uri = url.parse().map_err(|_| bad_url(url))?;
    if uri.scheme_str() != Some("http") {
        return Err(bad_url(url));
    }
    let authority = uri.authority().ok_or_else(|| bad_url(url))?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let mut io = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    io.set_nodelay(true)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let protocol = upgrade(&mut io, authority.as_str(), path, protocols).await?;
    Ok(Dialled { io, protocol })
}

fn bad_url(url: &str) -> Error {
    Error::BadOptions { reason: format!("{url:?} is not the URL of a plain HTTP server") }
}

/// Asks for SPDY with one of `protocols` over `io` and returns the one the server chose.
///
/// # Errors
/// `Refused` when the server answers anything but 101.
pub async fn upgrade<T: AsyncRead + AsyncWrite + Unpin>(
    io: &mut T,
    host: &str,
    path: &str,
    protocols: &[&str],
) -> Result<String> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: {SPDY}\r\n"
    );
    for protocol in protocols {
        request.push_str(&format!("X-Stream-Protocol-Version: {protocol}\r\n"));
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await?;
    io.flush().await?;
    let head = head(io).await?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse::<u16>().ok());
    let status = status.ok_or_else(|| Error::protocol("not an answer of HTTP/1.1"))?;
    let header = |name: &str| {
        lines.clone().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    if status == 101 {
        return Ok(header(STREAM_PROTOCOL.as_str()).unwrap_or_default());
    }
    let size = header("content-length").and_then(|size| size.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    io.take(MAX_BODY.min(size)).read_to_end(&mut body).await?;
    Err(Error::Refused { status, body: String::from_utf8_lossy(&body).trim().to_owned() })
}

/// Reads byte by byte: what follows the head already belongs to the other protocol.
async fn head<T: AsyncRead + Unpin>(io: &mut T) -> Result<String> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(Error::protocol("the head of an answer is too long"));
        }
        head.push(io.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
