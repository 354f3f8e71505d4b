//! URLs, read as Go's `url.ParseRequestURI` does.

use super::{Function, Out, fails, map_of, overload, text};
use crate::{
    fault::Fault,
    value::{Extra, Key, Text, Value},
};
use kubeplane_core::field::go_quote;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

/// The parts of a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "url" => |args| match Url::parse(text(args, 0)?) {
            Ok(url) => Ok(Value::Extra(Extra::Url(Arc::new(url)))),
            Err(why) => {
                let written = go_quote(text(args, 0)?);
                fails(format!(
                    "URL parse error during conversion from string: parse {written}: {why}"
                ))
            }
        },
        "isURL" => |args| Ok(Value::Bool(Url::parse(text(args, 0)?).is_ok())),
        "getScheme" => |args| Ok(url(args)?.scheme.clone().into()),
        "getHost" => |args| Ok(url(args)?.host.clone().into()),
        "getHostname" => |args| Ok(url(args)?.hostname().to_owned().into()),
        "getPort" => |args| Ok(url(args)?.port().to_owned().into()),
        "getEscapedPath" => |args| Ok(url(args)?.path.clone().into()),
        "getQuery" => query,
        _ => return None,
    })
}

fn url<'v>(args: &'v [Value<'_>]) -> Result<&'v Url, Fault> {
    match args.first() {
        Some(Value::Extra(Extra::Url(url))) => Ok(url),
        _ => overload(),
    }
}

fn query<'a>(args: &[Value<'a>]) -> Out<'a> {
    let mut found: BTreeMap<String, Vec<Value<'a>>> = BTreeMap::new();
    for pair in url(args)?.query.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';')) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (Some(key), Some(value)) = (unescaped(key), unescaped(value)) else { continue };
        found.entry(key).or_default().push(value.into());
    }
    let entries = found.into_iter();
    Ok(map_of(
        entries.map(|(key, values)| (Key::Text(Text::Shared(key.into())), values.into())).collect(),
    ))
}

impl Url {
    /// # Errors
    /// What Go says of it.
    pub(crate) fn parse(raw: &str) -> Result<Self, String> {
        if raw.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        if raw.is_empty() {
            return Err("empty url".to_owned());
        }
        let (scheme, rest) = scheme(raw)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            if scheme.is_empty() {
                return Err("invalid URI for request".to_owned());
            }
            // Opaque, as `mailto:a@b`.
            let query = query.to_owned();
            return Ok(Self { scheme, host: String::new(), path: String::new(), query });
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() => {
                let end = rest.find('/').unwrap_or(rest.len());
                let (authority, path) = rest.split_at(end);
                let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
                (checked_host(host)?, path)
            }
            _ => (String::new(), rest),
        };
        check_escapes(path)?;
        Ok(Self { scheme, host, path: escaped_path(path), query: query.to_owned() })
    }

    fn hostname(&self) -> &str {
        if let Some(rest) = self.host.strip_prefix('[') {
            return rest.split_once(']').map_or(rest, |(inner, _)| inner);
        }
        self.host.split_once(':').map_or(&self.host, |(host, _)| host)
    }

    fn port(&self) -> &str {
        let after = self.host.rsplit_once(']').map_or(&*self.host, |(_, after)| after);
        after.split_once(':').map_or("", |(_, port)| port)
    }
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

fn checked_host(host: &str) -> Result<String, String> {
    let port = match host.strip_prefix('[') {
        Some(rest) => match rest.rsplit_once(']') {
            Some((_, port)) => port,
            None => return Err("missing ']' in host".to_owned()),
        },
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if !port.is_empty()
        && (!port.starts_with(':') || !digits.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err(format!("invalid port {} after host", go_quote(port)));
    }
    check_escapes(host)?;
    if let Some(wrong) = host.chars().find(|c| " <>\"^`{}|\\".contains(*c)) {
        return Err(format!("invalid character {} in host name", go_quote(&wrong.to_string())));
    }
    unescaped_strictly(host).ok_or_else(|| "invalid URL escape".to_owned())
}

fn check_escapes(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            let end = text.len().min(at + 3);
            return Err(format!(
                "invalid URL escape {}",
                go_quote(text.get(at..end).unwrap_or("%"))
            ));
        }
    }
    Ok(())
}

/// The path with all that cannot stand in one escaped.
fn escaped_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            byte if b"-_.~$&+,/:;=@!'()*[]%".contains(&byte) => out.push(char::from(byte)),
            byte => {
                // Writing to a text cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// A part of a query: `+` is a space there.
fn unescaped(text: &str) -> Option<String> {
    unescaped_strictly(&text.replace('+', " "))
}

fn unescaped_strictly(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let high = char::from(bytes.next()?).to_digit(16)?;
        let low = char::from(bytes.next()?).to_digit(16)?;
        out.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
