//! Where webhooks are called: what may stand in a `clientConfig`, the same for admission and for conversion.

use crate::{
    field::{Error, Errors, Path},
    names,
};

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

/// What is wrong with the address of a webhook outside of the cluster.
#[must_use]
pub fn validate_url(path: &Path, text: &str) -> Errors {
    let url = match parse(text) {
        Ok(url) => url,
        Err(why) => {
            return vec![Error::required(path, format!("url must be a valid URL: {why}{FORM}"))];
        }
    };
    let mut errors = Vec::new();
    if url.scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(Error::invalid(path, url.scheme, detail));
    }
    if url.host.is_empty() {
        errors.push(Error::invalid(path, "", format!("host must be specified{FORM}")));
    }
    let refused = [
        (url.user, "user information is not permitted in the URL"),
        (
            Some(url.fragment).filter(|text| !text.is_empty()),
            "fragments are not permitted in the URL",
        ),
        (
            Some(url.query).filter(|text| !text.is_empty()),
            "query parameters are not permitted in the URL",
        ),
    ];
    let refused = refused.into_iter().filter_map(|(found, why)| Some((found?, why)));
    errors.extend(refused.map(|(found, why)| Error::invalid(path, found, why)));
    errors
}

/// What is wrong with the Service of a webhook in the cluster; an empty `url_path` is none.
#[must_use]
pub fn validate_service(
    path: &Path,
    (namespace, name): (&str, &str),
    url_path: &str,
    port: i64,
) -> Errors {
    let mut errors = Vec::new();
    // The original mixes the two up.
    for (found, told) in [(namespace, "name"), (name, "namespace")] {
        if found.is_empty() {
            errors.push(Error::required(&path.child(told), ""));
        }
    }
    let problems = names::is_valid_port_num(port);
    if !problems.is_empty() {
        let detail = format!("port is not valid: {}", problems.join(", "));
        errors.push(Error::invalid(&path.child("port"), port, detail));
    }
    let at = path.child("path");
    let problems = path_problems(url_path).into_iter();
    errors.extend(problems.map(|problem| Error::invalid(&at, url_path, problem)));
    errors
}

fn path_problems(text: &str) -> Vec<String> {
    match text {
        "" | "/" => return Vec::new(),
        "//" => return vec!["segment[0] may not be empty".to_owned()],
        _ => {}
    }
    let mut problems = Vec::new();
    if !text.starts_with('/') {
        problems.push("must start with a '/'".to_owned());
    }
    let steps = text.char_indices().nth(1).map_or("", |(second, _)| &text[second..]);
    let steps = steps.strip_suffix('/').unwrap_or(steps);
    for (index, step) in steps.split('/').enumerate() {
        if step.is_empty() {
            problems.push(format!("segment[{index}] may not be empty"));
            continue;
        }
        let wrong = names::is_dns1123_subdomain(step).into_iter();
        problems.extend(wrong.map(|problem| format!("segment[{index}]: {problem}")));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn what_cannot_be_called_is_named_as_in_the_original() {
        let at = Path::new("u");
        let said = |errors: Errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            said(validate_url(&at, "http://me@a.b/c?d#e")),
            [
                "u: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "u: Invalid value: \"me\": user information is not permitted in the URL",
                "u: Invalid value: \"e\": fragments are not permitted in the URL",
                "u: Invalid value: \"d\": query parameters are not permitted in the URL",
            ]
        );
        assert!(validate_url(&at, "https://a.b:443/c/d").is_empty());
        assert_eq!(
            said(validate_service(&at, ("", "n"), "a//b/", 0)),
            [
                "u.name: Required value",
                "u.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "u.path: Invalid value: \"a//b/\": must start with a '/'",
                "u.path: Invalid value: \"a//b/\": segment[0] may not be empty",
                "u.path: Invalid value: \"a//b/\": segment[1] may not be empty",
            ]
        );
        assert!(validate_service(&at, ("n", "s"), "/a.b/c/", 443).is_empty());
    }
}
