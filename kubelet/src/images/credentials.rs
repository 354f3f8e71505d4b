use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::Secret;
use kubeplane_runtime_cri::v1::AuthConfig;
use serde_json::Value;

const DOCKER_HUB: &str = "index.docker.io";

/// The credentials a registry secret has for an image.
pub(super) fn for_image(secret: &Secret, image: &str) -> Option<AuthConfig> {
    let data = secret.data.as_ref()?;
    let json = |key: &str| serde_json::from_slice::<Value>(&data.get(key)?.0).ok();
    let entries = match json(".dockerconfigjson") {
        Some(config) => config.get("auths")?.clone(),
        None => json(".dockercfg")?,
    };
    let name = full_name(image);
    let entries = entries.as_object()?;
    let matching = entries.iter().filter(|(registry, _)| matches(registry, &name));
    // The most specific entry wins.
    let (registry, entry) = matching.max_by_key(|(registry, _)| registry.len())?;
    auth_config(registry, entry)
}

fn full_name(image: &str) -> String {
    let (first, rest) = image.split_once('/').unwrap_or(("", image));
    let is_host = first.contains(['.', ':']) || first == "localhost";
    match first {
        "docker.io" => format!("{DOCKER_HUB}/{rest}"),
        _ if is_host => image.to_owned(),
        _ => format!("{DOCKER_HUB}/{image}"),
    }
}

fn matches(registry: &str, name: &str) -> bool {
    let plain = registry.trim_start_matches("https://").trim_start_matches("http://");
    let plain = plain.trim_end_matches("/v1/").trim_end_matches("/v2/").trim_end_matches('/');
    let plain = if plain == "docker.io" { DOCKER_HUB } else { plain };
    let (host, path) = plain.split_once('/').unwrap_or((plain, ""));
    let (name_host, name_path) = name.split_once('/').unwrap_or((name, ""));
    let same_host = match host.strip_prefix("*.") {
        Some(parent) => name_host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => host == name_host,
    };
    same_host && name_path.starts_with(path)
}

fn auth_config(registry: &str, entry: &Value) -> Option<AuthConfig> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if username.is_empty() {
        let decoded = STANDARD.decode(text("auth")).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, secret) = decoded.split_once(':')?;
        (username, password) = (user.to_owned(), secret.to_owned());
    }
    Some(AuthConfig {
        username,
        password,
        server_address: registry.to_owned(),
        identity_token: text("identitytoken"),
        ..AuthConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use std::collections::BTreeMap;

    #[test]
    fn the_entry_of_the_registry_is_found() {
        let text = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YTpi"},
            "quay.io": {"username": "q", "password": "p"},
            "quay.io/team": {"username": "t", "password": "p"}}}"#;
        let data = BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(text.into()))]);
        let secret = Secret { data: Some(data), ..Secret::default() };
        let user = |image: &str| for_image(&secret, image).map(|auth| auth.username);
        assert_eq!(user("nginx:1").as_deref(), Some("a"));
        assert_eq!(user("quay.io/x/y:1").as_deref(), Some("q"));
        assert_eq!(user("quay.io/team/y:1").as_deref(), Some("t"));
        assert_eq!(user("ghcr.io/x:1"), None);
    }
}
