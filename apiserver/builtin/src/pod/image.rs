//! References to images, as far as defaults need to know them.

const PATH_MAX: usize = 255;

/// How often an image is pulled when the container does not say: a moving tag always.
pub(crate) fn pull_policy(reference: &str) -> &'static str {
    if tag(reference) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag: `latest` when neither tag nor digest is there; `None` for a digest alone or a malformed reference.
fn tag(reference: &str) -> Option<&str> {
    let (rest, digest) = match reference.split_once('@') {
        Some((rest, digest)) if is_digest(digest) => (rest, Some(digest)),
        Some(_) => return None,
        None => (reference, None),
    };
    let after_slash = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[after_slash..].find(':') {
        Some(colon) => (&rest[..after_slash + colon], Some(&rest[after_slash + colon + 1..])),
        None => (rest, None),
    };
    if !is_name(name) || tag.is_some_and(|tag| !is_tag(tag)) {
        return None;
    }
    match (tag, digest) {
        (Some(tag), _) => Some(tag),
        (None, Some(_)) => None,
        (None, None) => Some("latest"),
    }
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let named = algorithm.split(['-', '_', '+', '.']).all(|part| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|c| c.is_ascii_alphanumeric())
    });
    named && hex.len() >= 32 && hex.bytes().all(|c| c.is_ascii_hexdigit())
}

fn is_tag(text: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|c| word(c) || matches!(c, b'.' | b'-'))
}

fn is_name(name: &str) -> bool {
    if name.len() == 64 && name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return false;
    }
    let (domain, path) = match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':']) || first == "localhost" || has_upper(first) =>
        {
            (Some(first), rest)
        }
        _ => (None, name),
    };
    let library = if domain.is_none() && !path.contains('/') { "library/".len() } else { 0 };
    path.len() + library <= PATH_MAX
        && domain.is_none_or(is_domain)
        && path.split('/').all(is_component)
}

fn has_upper(text: &str) -> bool {
    text.bytes().any(|c| c.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let host = match text.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|c| c.is_ascii_digit()) => host,
        Some(_) if !text.ends_with(']') => return false,
        _ => text,
    };
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.bytes().all(|c| c.is_ascii_hexdigit() || c == b':');
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    })
}

/// Lower-case letters and digits, parted by one dot, one or two underscores or any number of dashes.
fn is_component(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(plain) || !text.ends_with(plain) {
        return false;
    }
    let separators = text.split(plain).filter(|part| !part.is_empty());
    separators
        .into_iter()
        .all(|part| matches!(part, "." | "_" | "__") || part.bytes().all(|c| c == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_latest_is_pulled_always() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for reference in ["busybox", "busybox:latest", "localhost:5000/a/b", "reg.example/a:latest"]
        {
            assert_eq!(pull_policy(reference), "Always", "{reference}");
        }
        for reference in ["busybox:1", "reg:5000/a:v1", "UPPER", "", "a b", &digest] {
            assert_eq!(pull_policy(reference), "IfNotPresent", "{reference}");
        }
    }
}
