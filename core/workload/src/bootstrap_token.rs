//! Tokens with which machines join a cluster: Secrets of a type of their own, in `kube-system`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kubeplane_core::Object;
use std::collections::BTreeSet;

/// The type of these Secrets.
pub const TYPE: &str = "bootstrap.kubernetes.io/token";
/// Where they are.
pub const NAMESPACE: &str = "kube-system";
/// What their names begin with; the token's id follows.
pub const PREFIX: &str = "bootstrap-token-";
/// The group of everybody who shows such a token; all other groups begin with it and a colon.
pub const GROUP: &str = "system:bootstrappers";

/// What a Secret says of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapToken {
    /// Six characters: the public half.
    pub id: String,
    /// Sixteen characters: the secret half.
    pub secret: String,
    /// Whether `cluster-info` is signed with it.
    pub signs: bool,
    /// Whether it authenticates.
    pub authenticates: bool,
    /// The groups of who shows it, sorted.
    pub groups: Vec<String>,
}

/// When a token of this Secret ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// Then.
    At(Timestamp),
    /// It says something that is no time, which is as if it had ended.
    Malformed,
}

impl Expiry {
    /// Whether the token has ended.
    #[must_use]
    pub fn is_over(self, now: Timestamp) -> bool {
        match self {
            Self::Never => false,
            Self::At(at) => at <= now,
            Self::Malformed => true,
        }
    }
}

/// A value of a Secret's data, if it is text.
fn value(secret: &Object, key: &str) -> Option<String> {
    let bytes = STANDARD.decode(secret.text(&["data", key])).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

fn is_of(text: &str, length: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() == length && text.bytes().all(allowed)
}

/// Whether a Secret is one of these, by type and namespace.
#[must_use]
pub fn is_token(secret: &Object) -> bool {
    secret.text(&["type"]) == TYPE && secret.namespace() == NAMESPACE
}

/// When the token of a Secret ends.
#[must_use]
pub fn expiry(secret: &Object) -> Expiry {
    match value(secret, "expiration") {
        None => Expiry::Never,
        Some(text) => text.parse().map_or(Expiry::Malformed, Expiry::At),
    }
}

/// The id and the secret of a token as clients send it: `id.secret`.
#[must_use]
pub fn parse(token: &str) -> Option<(&str, &str)> {
    token.split_once('.').filter(|(id, secret)| is_of(id, 6) && is_of(secret, 16))
}

impl BootstrapToken {
    /// The token of a Secret that has not expired; `None` when the Secret is not as it must be.
    #[must_use]
    pub fn of(secret: &Object, now: Timestamp) -> Option<Self> {
        let id = value(secret, "token-id")?;
        let named = secret.name().strip_prefix(PREFIX).filter(|id| is_of(id, 6));
        if !is_token(secret) || named != Some(&id) || expiry(secret).is_over(now) {
            return None;
        }
        let says = |key: &str| value(secret, key).as_deref() == Some("true");
        let more = value(secret, "auth-extra-groups").unwrap_or_default();
        let more: Vec<&str> = more.split(',').filter(|_| !more.is_empty()).collect();
        let good = more.iter().all(|group| is_group(group));
        let groups: BTreeSet<&str> = more.into_iter().chain([GROUP]).collect();
        Some(Self {
            secret: value(secret, "token-secret")?,
            signs: says("usage-bootstrap-signing"),
            // Groups that nobody may be put into take the right to authenticate, not that to sign.
            authenticates: says("usage-bootstrap-authentication") && good,
            groups: groups.into_iter().map(str::to_owned).collect(),
            id,
        })
    }
}

/// `system:bootstrappers:` and up to 256 lower-case letters, digits, colons and dashes, the last no sign.
fn is_group(group: &str) -> bool {
    let rest = group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':'));
    rest.is_some_and(|rest| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        rest.len() <= 256
            && rest.bytes().all(|byte| plain(byte) || matches!(byte, b':' | b'-'))
            && rest.bytes().last().is_some_and(plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn secret(name: &str, data: &[(&str, &str)]) -> Object {
        let data: serde_json::Map<String, Value> = data
            .iter()
            .map(|(key, text)| ((*key).to_owned(), STANDARD.encode(text).into()))
            .collect();
        let secret =
            json!({"metadata": {"name": name, "namespace": NAMESPACE}, "type": TYPE, "data": data});
        Object::from_value(secret).unwrap()
    }

    #[test]
    fn a_token_is_what_its_secret_says() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let data = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-signing", "true"),
            ("usage-bootstrap-authentication", "true"),
            ("auth-extra-groups", "system:bootstrappers:b,system:bootstrappers:a"),
            ("expiration", "2026-01-02T00:00:00Z"),
        ];
        let token = BootstrapToken::of(&secret("bootstrap-token-abcdef", &data), now).unwrap();
        assert!(token.signs && token.authenticates);
        assert_eq!(token.groups, [GROUP, "system:bootstrappers:a", "system:bootstrappers:b"]);
        let later = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(BootstrapToken::of(&secret("bootstrap-token-abcdef", &data), later), None);
        assert_eq!(BootstrapToken::of(&secret("bootstrap-token-zzzzzz", &data), now), None);
        let mut wrong = data;
        wrong[4].1 = "system:masters";
        let token = BootstrapToken::of(&secret("bootstrap-token-abcdef", &wrong), now).unwrap();
        assert!(token.signs && !token.authenticates);
    }

    #[test]
    fn clients_send_both_halves() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for wrong in ["abcdef", "abcde.0123456789abcdef", "abcdef.0123456789ABCDEF"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
