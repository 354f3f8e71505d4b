//! Which form a client accepts.

use http::{HeaderMap, header};

/// Whether a media type is accepted, by name or by a wildcard; everything is when none is named.
pub(crate) fn accepts(headers: &HeaderMap, offered: &str) -> bool {
    let mut sent =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    if sent.peek().is_none() {
        return true;
    }
    sent.flat_map(|line| line.split(',')).any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        let family = offered.split('/').next().unwrap_or_default();
        range.is_empty()
            || range == offered
            || range == "*/*"
            || range.strip_suffix("/*") == Some(family)
    })
}

/// Whether a media type is named outright.
pub(crate) fn names(headers: &HeaderMap, offered: &str) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|range| range.split(';').next().unwrap_or_default().trim() == offered)
}

/// Whether a gzipped body is accepted.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            parts.next() == Some("gzip") && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0"))
        })
}

/// Whether the client has this version already.
pub(crate) fn has(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}
