//! URLs read as Go's `net/url` reads them, with what it says of those that are none.

use crate::library::net;
use kubeplane_core::field::go_quote;
use std::fmt::Write as _;

/// A URL.
#[derive(Debug, Clone)]
pub(crate) struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
    /// The whole of it, as Go writes it again.
    written: String,
}

/// Those are the same that are written the same.
impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for Url {}

/// Which part of a URL a text is, by which some bytes stand for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Path,
    Host,
    /// What stands behind an address with a scope.
    Zone,
    User,
    Query,
    Fragment,
}

/// Whether a byte stands for itself.
fn is_plain(byte: u8, mode: Mode) -> bool {
    let more: &[u8] = match mode {
        Mode::Path => b"$&+,/:;=@",
        Mode::Host | Mode::Zone => b"!\"$&'()*+,:;<=>[]",
        Mode::User => b"$&+,;=",
        Mode::Query => b"",
        Mode::Fragment => b"!$&()*+,/:;=?@",
    };
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || more.contains(&byte)
}

/// A text without its escapes.
///
/// # Errors
/// In Go's words.
pub(super) fn unescaped(text: &str, mode: Mode) -> Result<Vec<u8>, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'%' => {
                let escape = &bytes[at - 1..bytes.len().min(at + 2)];
                out.push(byte_of(escape, mode).ok_or_else(|| {
                    format!("invalid URL escape {}", go_quote(&String::from_utf8_lossy(escape)))
                })?);
                at += 2;
            }
            b'+' if mode == Mode::Query => out.push(b' '),
            byte if matches!(mode, Mode::Host | Mode::Zone)
                && byte.is_ascii()
                && !is_plain(byte, mode) =>
            {
                let wrong = go_quote(&char::from(byte).to_string());
                return Err(format!("invalid character {wrong} in host name"));
            }
            byte => out.push(byte),
        }
    }
    Ok(out)
}

/// The byte that an escape stands for, where it may.
fn byte_of(escape: &[u8], mode: Mode) -> Option<u8> {
    let [_, high, low] = escape else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let value = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    let is_percent = value == b'%';
    let refused = match mode {
        Mode::Host => value.is_ascii() && !is_percent,
        Mode::Zone => !is_percent && value != b' ' && !is_plain(value, Mode::Host),
        _ => false,
    };
    (!refused).then_some(value)
}

fn escaped(bytes: &[u8], mode: Mode) -> String {
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if is_plain(byte, mode) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A path or fragment as it is, or escaped anew where it has what cannot stand there.
fn encoded(text: &str, mode: Mode) -> Result<String, String> {
    let plain = unescaped(text, mode)?;
    let may_stand = |byte| b"!$&'()*+,;=:@[]%".contains(&byte) || is_plain(byte, mode);
    match text.bytes().all(may_stand) {
        true => Ok(text.to_owned()),
        false => Ok(escaped(&plain, mode)),
    }
}

pub(super) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(raw: &str, why: &str) -> String {
    format!("parse {}: {why}", go_quote(raw))
}

/// Whether a text is a URL with a scheme or an absolute path, as `ParseRequestURI` has it.
///
/// # Errors
/// What Go says of it.
pub(crate) fn check(raw: &str) -> Result<(), String> {
    read(raw, true).map(drop).map_err(|why| said(raw, &why))
}

impl Url {
    /// # Errors
    /// What Go says of it.
    pub(crate) fn parse(raw: &str) -> Result<Self, String> {
        check(raw)?;
        let (text, fragment) = raw.split_once('#').unwrap_or((raw, ""));
        let read = read(text, false).map_err(|why| said(text, &why))?;
        let fragment = encoded(fragment, Mode::Fragment).map_err(|why| said(raw, &why))?;
        let written = read.written(&fragment);
        let Parts { scheme, host, path, query, .. } = read;
        Ok(Self { scheme, host, path, query: query.to_owned(), written })
    }

    pub(super) fn scheme(&self) -> &str {
        &self.scheme
    }

    /// With the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Escaped.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// As it stands in the URL.
    pub(super) fn query(&self) -> &str {
        &self.query
    }

    /// The host without its port and brackets, and the port.
    pub(super) fn host_and_port(&self) -> (&str, &str) {
        let at = self.host.rfind(':').filter(|at| is_port(&self.host[*at..]));
        let (host, port) = at.map_or((&*self.host, ""), |at| self.host.split_at(at));
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        (inner.unwrap_or(host), port.strip_prefix(':').unwrap_or(port))
    }
}

/// What a URL is made of.
#[derive(Debug, Default)]
struct Parts<'r> {
    scheme: String,
    /// What stands behind the scheme where no slash does.
    opaque: &'r str,
    user: Option<String>,
    host: String,
    has_authority: bool,
    path: String,
    query: &'r str,
    /// It ends in a question mark.
    asks: bool,
}

impl Parts<'_> {
    fn written(&self, fragment: &str) -> String {
        let mut out = String::new();
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| out.push_str(part));
        if !self.scheme.is_empty() {
            put(&[&self.scheme, ":"]);
        }
        let names_someone = !self.host.is_empty() || self.user.is_some();
        if !self.opaque.is_empty() {
            put(&[self.opaque]);
        } else {
            let has_slashes =
                self.has_authority && !self.scheme.is_empty() && !self.path.is_empty();
            if names_someone || has_slashes {
                put(&["//"]);
            }
            if let Some(user) = &self.user {
                put(&[user, "@"]);
            }
            put(&[&escaped(self.host.as_bytes(), Mode::Host), &self.path]);
        }
        if self.asks || !self.query.is_empty() {
            put(&["?", self.query]);
        }
        if !fragment.is_empty() {
            put(&["#", fragment]);
        }
        out
    }
}

/// `request`: what begins with two slashes is a path and names no host.
fn read(raw: &str, request: bool) -> Result<Parts<'_>, String> {
    if raw.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if raw.is_empty() {
        return Err("empty url".to_owned());
    }
    if raw == "*" {
        return Ok(Parts { path: raw.to_owned(), ..Parts::default() });
    }
    let (scheme, rest) = scheme(raw)?;
    let (rest, query, asks) = match rest.split_once('?') {
        Some((rest, query)) => (rest, query, query.is_empty()),
        None => (rest, "", false),
    };
    let parts = Parts { scheme, query, asks, ..Parts::default() };
    if !rest.starts_with('/') {
        return match parts.scheme.is_empty() {
            true => Err("invalid URI for request".to_owned()),
            false => Ok(Parts { opaque: rest, ..parts }),
        };
    }
    let may_name = !parts.scheme.is_empty() || !request && !rest.starts_with("///");
    let Some(rest) = rest.strip_prefix("//").filter(|_| may_name) else {
        return Ok(Parts { path: encoded(rest, Mode::Path)?, ..parts });
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    let host = host_of(&parts.scheme, host)?;
    let user = user.map(user_of).transpose()?;
    let path = encoded(path, Mode::Path)?;
    Ok(Parts { user, host, path, has_authority: true, ..parts })
}

fn scheme(raw: &str) -> Result<(String, &str), String> {
    for (at, c) in raw.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => return Ok((raw[..at].to_ascii_lowercase(), &raw[at + 1..])),
            _ => break,
        }
    }
    Ok((String::new(), raw))
}

/// Name and password as they are written again.
fn user_of(text: &str) -> Result<String, String> {
    let may_stand = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !text.chars().all(may_stand) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let again = |part: &str| Ok::<_, String>(escaped(&unescaped(part, Mode::User)?, Mode::User));
    match text.split_once(':') {
        Some((name, password)) => Ok(format!("{}:{}", again(name)?, again(password)?)),
        None => again(text),
    }
}

fn is_port(text: &str) -> bool {
    let digits = text.strip_prefix(':');
    text.is_empty() || digits.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}

fn checked_port(text: &str) -> Result<(), String> {
    match is_port(text) {
        true => Ok(()),
        false => Err(format!("invalid port {} after host", go_quote(text))),
    }
}

fn host_of(scheme: &str, host: &str) -> Result<String, String> {
    match host.rfind('[') {
        Some(0) => return literal(host),
        Some(_) => return Err("invalid IP-literal".to_owned()),
        None => {}
    }
    // Others than these two may have several hosts.
    let port = match scheme {
        "http" | "https" => host.find(':'),
        _ => host.rfind(':'),
    };
    checked_port(port.map_or("", |at| &host[at..]))?;
    Ok(lossy(&unescaped(host, Mode::Host)?))
}

/// An address in brackets, with its port.
fn literal(host: &str) -> Result<String, String> {
    let Some(end) = host.rfind(']') else { return Err("missing ']' in host".to_owned()) };
    let (address, port) = (&host[1..end], &host[end + 1..]);
    checked_port(port)?;
    let (address, zone) = address.split_at(address.find("%25").unwrap_or(address.len()));
    let mut plain = unescaped(address, Mode::Host)?;
    plain.extend(unescaped(zone, Mode::Zone)?);
    let plain = lossy(&plain);
    match net::is_version_4(&plain) {
        Ok(false) => Ok(format!("[{plain}]{port}")),
        Ok(true) => Err("invalid IP-literal".to_owned()),
        Err(why) => Err(format!("invalid host: {why}")),
    }
}
