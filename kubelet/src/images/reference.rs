/// The name of an image with the tag that is meant when none is given.
///
/// # Errors
/// When it is not the name of an image.
pub(super) fn with_tag(image: &str) -> Result<String, String> {
    let invalid = |why: &str| format!("couldn't parse image name {image:?}: {why}");
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (repository, tag) = match name.rsplit_once(':') {
        // A colon before a slash belongs to the port of a registry.
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    if let Some(digest) = digest {
        let hex = digest.split_once(':').map(|(_, hex)| hex).unwrap_or_default();
        if hex.len() < 32 || !hex.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(invalid("invalid reference format"));
        }
    }
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err(invalid("invalid reference format"));
    }
    let mut parts: Vec<&str> = repository.split('/').collect();
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    if parts.len() > 1 && is_host(parts[0]) {
        parts.remove(0);
    }
    if parts.iter().any(|part| part.chars().any(|c| c.is_ascii_uppercase())) {
        return Err(invalid("invalid reference format: repository name must be lowercase"));
    }
    if !parts.iter().all(|part| is_component(part)) {
        return Err(invalid("invalid reference format"));
    }
    Ok(match (tag, digest) {
        (None, None) => format!("{image}:latest"),
        _ => image.to_owned(),
    })
}

fn is_tag(tag: &str) -> bool {
    let first = tag.chars().next();
    first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        && tag.len() <= 128
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_component(part: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    part.starts_with(edge)
        && part.ends_with(edge)
        && part.chars().all(|c| edge(c) || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::with_tag;

    #[test]
    fn names_get_a_tag_and_nonsense_is_refused() {
        for (image, expected) in [
            ("nginx", "nginx:latest"),
            ("nginx:1.27", "nginx:1.27"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("quay.io/x/y:v1", "quay.io/x/y:v1"),
        ] {
            assert_eq!(with_tag(image).unwrap(), expected);
        }
        let digest = format!("a@sha256:{}", "0".repeat(64));
        assert_eq!(with_tag(&digest).unwrap(), digest);
        assert_eq!(
            with_tag("Nginx").unwrap_err(),
            "couldn't parse image name \"Nginx\": invalid reference format: repository name must be lowercase"
        );
        for image in ["", "a b", "a:", "a@sha256:1", "-a", "a//b"] {
            assert!(with_tag(image).is_err(), "{image}");
        }
    }
}
