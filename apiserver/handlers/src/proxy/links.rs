//! Links in answers: those that lead to the backend are made to lead through the API server.

use http::{header, request::Parts};
use kubeplane_apiserver::RequestInfo;

/// Attributes that hold links, with the elements they do so in.
const ATTRIBUTES: [(&str, &[&str]); 14] = [
    ("action", &["form"]),
    ("archive", &["applet"]),
    ("background", &["body"]),
    ("cite", &["blockquote", "del", "ins", "q"]),
    ("classid", &["object"]),
    ("codebase", &["applet", "object"]),
    ("data", &["object"]),
    ("formaction", &["button", "input"]),
    ("href", &["a", "area", "base", "link"]),
    ("icon", &["command"]),
    ("longdesc", &["frame", "iframe", "img"]),
    ("poster", &["video"]),
    ("src", &["audio", "embed", "frame", "iframe", "img", "input", "script", "source", "video"]),
    ("usemap", &["img", "input", "object"]),
];

/// Elements whose content is no markup.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];

/// Where links lead.
#[derive(Debug)]
pub(super) struct Links {
    /// The path on the API server up to and with `proxy`.
    prefix: String,
    backend: String,
    /// The API server as the client knows it.
    host: String,
}

impl Links {
    /// Of a request to a backend.
    pub(super) fn new(head: &Parts, info: &RequestInfo, backend: &str) -> Self {
        let own = head.uri.path();
        // As in /api/v1/nodes/n/proxy and /api/v1/namespaces/x/pods/p/proxy.
        let parts = if info.namespace.is_empty() { 5 } else { 7 };
        let end = own.match_indices('/').nth(parts).map_or(own.len(), |(at, _)| at);
        let prefix = own.get(..end).unwrap_or(own);
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or_else(|| Some(head.uri.authority()?.as_str()));
        Self {
            prefix: prefix.trim_end_matches('/').to_owned(),
            backend: backend.to_owned(),
            host: host.unwrap_or_default().to_owned(),
        }
    }

    /// A path of the backend as a path of the API server.
    pub(super) fn below(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// A link as clients of the API server can follow it.
    pub(super) fn rewrite(&self, link: &str) -> String {
        let (scheme, host, path) = split(link);
        let elsewhere = !host.is_empty() && host != self.backend && host != self.host;
        if elsewhere || !path.starts_with('/') {
            return link.to_owned();
        }
        let start = match host == self.host && !host.is_empty() {
            true => format!("{scheme}//{host}"),
            false => String::new(),
        };
        if path.starts_with(&self.prefix) {
            return format!("{start}{path}");
        }
        format!("{start}{}{path}", self.prefix)
    }

    /// A page with all its links rewritten.
    pub(super) fn rewrite_page(&self, page: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(page.len());
        let mut rest = page;
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            rest = if rest.starts_with(b"<!--") {
                self.copy_through(rest, b"-->", &mut out)
            } else if rest.get(1).is_some_and(u8::is_ascii_alphabetic) {
                self.tag(rest, &mut out)
            } else {
                out.push(b'<');
                &rest[1..]
            };
        }
        out.extend_from_slice(rest);
        out
    }

    fn copy_through<'a>(&self, text: &'a [u8], end: &[u8], out: &mut Vec<u8>) -> &'a [u8] {
        let found = text.windows(end.len()).position(|window| window == end);
        let (copied, rest) = text.split_at(found.map_or(text.len(), |at| at + end.len()));
        out.extend_from_slice(copied);
        rest
    }

    /// Copies a start tag, and the content of one that is no markup; what comes behind.
    fn tag<'a>(&self, text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/');
        let length = text[1..].iter().position(is_end).map_or(text.len(), |at| at + 1);
        let name = String::from_utf8_lossy(&text[1..length]).to_ascii_lowercase();
        out.extend_from_slice(&text[..length]);
        let mut rest = &text[length..];
        loop {
            let space = |byte: &u8| !byte.is_ascii_whitespace() && *byte != b'/';
            let at = rest.iter().position(space).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            match rest.first() {
                None => return rest,
                Some(b'>') => break,
                Some(_) => rest = self.attribute(&name, rest, out),
            }
        }
        out.push(b'>');
        rest = &rest[1..];
        if !RAW.contains(&name.as_str()) {
            return rest;
        }
        let end = format!("</{name}").into_bytes();
        let same = |window: &[u8]| window.eq_ignore_ascii_case(&end);
        let at = rest.windows(end.len()).position(same).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..at]);
        &rest[at..]
    }

    fn attribute<'a>(&self, tag: &str, text: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let stops = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'=' | b'>' | b'/');
        // Whatever stands first is taken, so that the scan goes on.
        let length = text.iter().skip(1).position(stops).map_or(text.len(), |at| at + 1);
        let (name, rest) = text.split_at(length);
        out.extend_from_slice(name);
        let blank = |text: &[u8]| {
            text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(text.len())
        };
        let sign = blank(rest);
        if rest.get(sign) != Some(&b'=') {
            return rest;
        }
        let begin = sign + 1 + blank(&rest[sign + 1..]);
        out.extend_from_slice(&rest[..begin]);
        let rest = &rest[begin..];
        let (value, after) = match rest.first() {
            Some(quote @ (b'"' | b'\'')) => {
                out.push(*quote);
                let end = rest[1..].iter().position(|byte| byte == quote);
                rest[1..].split_at(end.unwrap_or(rest.len() - 1))
            }
            _ => {
                let end = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
                rest.split_at(rest.iter().position(end).unwrap_or(rest.len()))
            }
        };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let links = ATTRIBUTES.iter().any(|(own, tags)| *own == name && tags.contains(&tag));
        match std::str::from_utf8(value) {
            Ok(link) if links => out.extend_from_slice(self.rewrite(link).as_bytes()),
            _ => out.extend_from_slice(value),
        }
        after
    }
}

/// Scheme with its colon, host and the rest of a link.
fn split(link: &str) -> (&str, &str, &str) {
    let ends = |c: char| matches!(c, '/' | '?' | '#');
    let start = link.find(ends).unwrap_or(link.len());
    let (scheme, rest) = match link.get(..start).and_then(|before| before.find(':')) {
        Some(colon) => link.split_at(colon + 1),
        None => ("", link),
    };
    match rest.strip_prefix("//") {
        Some(behind) => {
            let (host, path) = behind.split_at(behind.find(ends).unwrap_or(behind.len()));
            (scheme, host, path)
        }
        // As in `mailto:`.
        None if !scheme.is_empty() => (scheme, "", ""),
        None => ("", "", rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links {
            prefix: "/api/v1/namespaces/x/services/web/proxy".into(),
            backend: "10.0.0.5:80".into(),
            host: "localhost:8001".into(),
        }
    }

    #[test]
    fn links_to_the_backend_lead_through_the_api_server() {
        let prefix = &links().prefix;
        let rewrite = |link: &str| links().rewrite(link);
        assert_eq!(rewrite("/a?b#c"), format!("{prefix}/a?b#c"));
        assert_eq!(rewrite("http://10.0.0.5:80/a/"), format!("{prefix}/a/"));
        assert_eq!(rewrite("http://localhost:8001/a"), format!("http://localhost:8001{prefix}/a"));
        assert_eq!(rewrite(&format!("{prefix}/a")), format!("{prefix}/a"));
        for kept in ["a/b", "#top", "", "mailto:a@b", "https://example.org/a", "//example.org/a"] {
            assert_eq!(rewrite(kept), kept);
        }
    }

    #[test]
    fn pages_keep_everything_but_their_links() {
        let prefix = &links().prefix;
        let page = "<!DOCTYPE html><!-- <a href=\"/no\"> --><body>1 < 2 <A class=x HREF=\"/a\">a</A>\
            <img alt='/no' src='/i.png'/><script src=/s.js>let a = '<a href=\"/no\">';</script>\
            <a href=\"b\">b</a><p data=\"/no\">";
        let expected = page
            .replace("HREF=\"/a\"", &format!("HREF=\"{prefix}/a\""))
            .replace("src='/i.png'", &format!("src='{prefix}/i.png'"))
            .replace("src=/s.js", &format!("src={prefix}/s.js"));
        assert_eq!(String::from_utf8(links().rewrite_page(page.as_bytes())).unwrap(), expected);
        for odd in [
            "<",
            "<a",
            "<a href",
            "<a href=",
            "<a href=\"",
            "<a href=\"/",
            "<!--",
            "<a =>",
            "<script>",
        ] {
            let out = links().rewrite_page(odd.as_bytes());
            assert!(out.starts_with(odd.as_bytes()), "{odd}");
        }
    }
}
