//! The text both ends of a SPDY/3 connection prime their header compression with.

/// Each of these stands in the dictionary after its length, as four bytes.
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// These stand at its end, one after the other.
const TAIL: &str = concat!(
    "1001012012022052063003023033043053063074024054064074084094104114124134144154164175025",
    "04505203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Requ",
    "est401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 Not Impleme",
    "nted503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 ",
    "Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif",
    ",application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-ag",
    "e=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
);

/// The dictionary of version 3 of the protocol.
pub(super) fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS {
        let length = u32::try_from(word.len()).unwrap_or_default();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(word.as_bytes());
    }
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression};

    #[test]
    fn the_checksum_is_the_one_peers_ask_for() {
        let mut compress = Compress::new(Compression::default(), true);
        assert_eq!(compress.set_dictionary(&super::dictionary()).unwrap(), 0xe3c6_a7c2);
    }
}
