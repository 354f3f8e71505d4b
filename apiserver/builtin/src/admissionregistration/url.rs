//! Where webhooks are called.

use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};

const FORM: &str = "; desired format: https://host[/path]";

/// The parts of a URL that matter here.
#[derive(Debug, Default, PartialEq)]
struct Url<'a> {
    scheme: String,
    user: Option<&'a str>,
    host: &'a str,
    query: &'a str,
    fragment: &'a str,
}

fn parse(text: &str) -> Result<Url<'_>, String> {
    let failed = |why: &str| Err(format!("parse {text:?}: {why}"));
    if text.chars().any(|c| c.is_ascii_control()) {
        return failed("net/url: invalid control character in URL");
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    if rest.is_empty() && text.is_empty() {
        return Ok(Url::default());
    }
    let (scheme, rest) = match rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c))
    {
        Some(0) if rest.starts_with(':') => return failed("missing protocol scheme"),
        Some(at)
            if rest[at..].starts_with(':')
                && rest.starts_with(|c: char| c.is_ascii_alphabetic()) =>
        {
            (rest[..at].to_lowercase(), &rest[at + 1..])
        }
        _ => (String::new(), rest),
    };
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let first = rest.split('/').next().unwrap_or_default();
    if scheme.is_empty() && !rest.starts_with('/') && first.contains(':') {
        return failed("first path segment in URL cannot contain colon");
    }
    let Some(authority) = rest.strip_prefix("//") else {
        return Ok(Url { scheme, user: None, host: "", query, fragment });
    };
    let authority = authority.split('/').next().unwrap_or_default();
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if let Some(c) = host.chars().find(|c| " \"<>\\^`{|}".contains(*c)) {
        return failed(&format!("invalid character {:?} in host name", c.to_string()));
    }
    let port = host.rsplit_once(']').map_or(host, |(_, rest)| rest).split_once(':');
    if let Some((_, port)) = port.filter(|(_, port)| !port.chars().all(|c| c.is_ascii_digit())) {
        return failed(&format!("invalid port {:?} after host", format!(":{port}")));
    }
    Ok(Url { scheme, user, host, query, fragment })
}

/// The address of a webhook outside of the cluster.
pub(super) fn webhook_url(at: &At<'_>, errors: &mut Errors) {
    let url = match parse(at.str()) {
        Ok(url) => url,
        Err(why) => {
            return errors.push(at.required(format!("url must be a valid URL: {why}{FORM}")));
        }
    };
    if url.scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(at.invalid_as(url.scheme, detail));
    }
    if url.host.is_empty() {
        errors.push(at.invalid_as("", format!("host must be specified{FORM}")));
    }
    if let Some(user) = url.user {
        errors.push(at.invalid_as(user, "user information is not permitted in the URL"));
    }
    if !url.fragment.is_empty() {
        errors.push(at.invalid_as(url.fragment, "fragments are not permitted in the URL"));
    }
    if !url.query.is_empty() {
        errors.push(at.invalid_as(url.query, "query parameters are not permitted in the URL"));
    }
}

/// The Service of a webhook in the cluster.
pub(super) fn webhook_service(at: &At<'_>, errors: &mut Errors) {
    // The original mixes the two up.
    for (empty, told) in [("namespace", "name"), ("name", "namespace")] {
        if at.get(empty).str().is_empty() {
            errors.push(at.get(told).required(""));
        }
    }
    let port = at.get("port").int().unwrap_or_default();
    let problems = names::is_valid_port_num(port);
    if !problems.is_empty() {
        let detail = format!("port is not valid: {}", problems.join(", "));
        errors.push(at.get("port").invalid_as(port, detail));
    }
    path(&at.get("path"), errors);
}

fn path(at: &At<'_>, errors: &mut Errors) {
    let text = at.str();
    if matches!(text, "" | "/") {
        return;
    }
    if text == "//" {
        return errors.push(at.invalid("segment[0] may not be empty"));
    }
    if !text.starts_with('/') {
        errors.push(at.invalid("must start with a '/'"));
    }
    let steps = text.char_indices().nth(1).map_or("", |(second, _)| &text[second..]);
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (index, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            errors.push(at.invalid(format!("segment[{index}] may not be empty")));
            continue;
        }
        let problems = names::is_dns1123_subdomain(step).into_iter();
        let problems = problems.map(|problem| format!("segment[{index}]: {problem}"));
        check::messages(at, problems.collect(), errors);
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn urls_come_apart() {
        let url = parse("https://user@host:443/path?q#f").unwrap();
        assert_eq!((url.scheme.as_str(), url.host, url.user), ("https", "host:443", Some("user")));
        assert_eq!((url.query, url.fragment), ("q", "f"));
        assert_eq!(parse("UPPER_Case!").unwrap().scheme, "");
        assert!(parse(":x").is_err() && parse("https://a b").is_err() && parse("1:2").is_err());
        assert_eq!(parse("https://[::1]:8443").unwrap().host, "[::1]:8443");
        assert!(parse("https://host:http").is_err());
    }
}
