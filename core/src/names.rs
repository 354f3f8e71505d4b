//! What names and other short texts may look like, in the original's words.
//!
//! Every check returns what is wrong, one message each; none means valid. Lengths are in bytes.
//! Addresses and networks are in [`address`].

pub mod address;

use crate::definition::NameRule;

/// The longest DNS label.
pub const LABEL_MAX: usize = 63;
/// The longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character";
const LABEL_KEY: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const LABEL_KEY_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// What is wrong with a text; empty when nothing is.
pub type Messages = Vec<String>;

fn characters(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn bytes(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

/// The message about a text that does not match a regular expression.
#[must_use]
pub fn regex_message(text: &str, regex: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{text} (regex used for validation is '{regex}')");
    }
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    format!("{text} (e.g. {}regex used for validation is '{regex}')", examples.join(" or "))
}

/// The message about a number out of its range.
#[must_use]
pub fn range_message(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn one(valid: bool, message: impl FnOnce() -> String) -> Messages {
    if valid { Vec::new() } else { vec![message()] }
}

fn lower_or_digit(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// `first ([-inner]* last)?` over bytes.
fn framed(text: &str, first: fn(u8) -> bool, inner: fn(u8) -> bool, last: fn(u8) -> bool) -> bool {
    let text = text.as_bytes();
    match text {
        [] => false,
        [only] => first(*only),
        [head, middle @ .., tail] => {
            first(*head) && last(*tail) && middle.iter().all(|c| inner(*c))
        }
    }
}

fn label_form(text: &str) -> bool {
    framed(text, lower_or_digit, |c| lower_or_digit(c) || c == b'-', lower_or_digit)
}

fn subdomain_form(text: &str) -> bool {
    text.split('.').all(label_form)
}

fn label_key_form(text: &str) -> bool {
    let edge = |c: u8| c.is_ascii_alphanumeric();
    framed(text, edge, |c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'), edge)
}

/// A label of RFC 1123: `my-name`, up to 63 bytes.
#[must_use]
pub fn is_dns1123_label(value: &str) -> Messages {
    let mut found = one(value.len() <= LABEL_MAX, || characters(LABEL_MAX));
    if !label_form(value) {
        found.push(if subdomain_form(value) {
            "must not contain dots".to_owned()
        } else {
            let text = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                        start and end with an alphanumeric character";
            regex_message(text, LABEL, &["my-name", "123-abc"])
        });
    }
    found
}

fn subdomain(value: &str, too_long: fn(usize) -> String) -> Messages {
    let mut found = one(value.len() <= SUBDOMAIN_MAX, || too_long(SUBDOMAIN_MAX));
    if !subdomain_form(value) {
        found.push(regex_message(SUBDOMAIN_TEXT, SUBDOMAIN, &["example.com"]));
    }
    found
}

/// A subdomain of RFC 1123: labels joined by dots, up to 253 bytes.
#[must_use]
pub fn is_dns1123_subdomain(value: &str) -> Messages {
    subdomain(value, characters)
}

/// A subdomain of RFC 1123 in either case, up to 253 bytes (names of CSI and DRA drivers).
#[must_use]
pub fn is_dns1123_subdomain_caseless(value: &str) -> Messages {
    let mut found = one(value.len() <= SUBDOMAIN_MAX, || bytes(SUBDOMAIN_MAX));
    if !subdomain_form(&value.to_ascii_lowercase()) {
        let text = "an RFC 1123 subdomain must consist of alphanumeric characters, '-' or '.', and must start and end with \
                    an alphanumeric character";
        found.push(regex_message(text, SUBDOMAIN, &["Example.com"]));
    }
    found
}

/// A subdomain of RFC 1123 whose labels may also hold `_`.
#[must_use]
pub fn is_dns1123_subdomain_with_underscore(value: &str) -> Messages {
    let mut found = one(value.len() <= SUBDOMAIN_MAX, || characters(SUBDOMAIN_MAX));
    let inner = |c: u8| lower_or_digit(c) || matches!(c, b'-' | b'_');
    let label = |label: &str| {
        framed(label.strip_prefix('_').unwrap_or(label), lower_or_digit, inner, lower_or_digit)
    };
    if !value.split('.').all(label) {
        let text = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
                    must start and end with an alphanumeric character";
        let regex = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        found.push(regex_message(text, regex, &["example.com"]));
    }
    found
}

/// A label of RFC 1035: as [`is_dns1123_label`], but it starts with a letter.
#[must_use]
pub fn is_dns1035_label(value: &str) -> Messages {
    let mut found = one(value.len() <= LABEL_MAX, || characters(LABEL_MAX));
    if !framed(
        value,
        |c| c.is_ascii_lowercase(),
        |c| lower_or_digit(c) || c == b'-',
        lower_or_digit,
    ) {
        let text = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
                    character, and end with an alphanumeric character";
        found.push(regex_message(text, "[a-z]([-a-z0-9]*[a-z0-9])?", &["my-name", "abc-123"]));
    }
    found
}

/// A wildcard subdomain: `*.example.com`.
#[must_use]
pub fn is_wildcard_dns1123_subdomain(value: &str) -> Messages {
    let mut found = one(value.len() <= SUBDOMAIN_MAX, || characters(SUBDOMAIN_MAX));
    if !value.strip_prefix("*.").is_some_and(subdomain_form) {
        let text = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist \
                    of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        found.push(regex_message(text, &format!(r"\*\.{SUBDOMAIN}"), &["*.example.com"]));
    }
    found
}

/// The key of a label: `[prefix/]name`.
#[must_use]
pub fn is_qualified_name(value: &str) -> Messages {
    let mut found = Vec::new();
    let examples = ["MyName", "my.name", "123-abc"];
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => {
            let regex = regex_message(LABEL_KEY_TEXT, LABEL_KEY, &examples);
            let rest = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {regex} {rest}")];
        }
        Some(("", name)) => {
            found.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            found.extend(
                subdomain(prefix, bytes)
                    .into_iter()
                    .map(|message| format!("prefix part {message}")),
            );
            name
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        found.push(format!("name part {}", bytes(LABEL_MAX)));
    }
    if !label_key_form(name) {
        found.push(format!("name part {}", regex_message(LABEL_KEY_TEXT, LABEL_KEY, &examples)));
    }
    found
}

/// The value of a label: up to 63 bytes, may be empty.
#[must_use]
pub fn is_valid_label_value(value: &str) -> Messages {
    let mut found = one(value.len() <= LABEL_MAX, || bytes(LABEL_MAX));
    if !value.is_empty() && !label_key_form(value) {
        let text = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                    start and end with an alphanumeric character";
        found.push(regex_message(
            text,
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    found
}

/// An identifier of C.
#[must_use]
pub fn is_c_identifier(value: &str) -> Messages {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    one(framed(value, |c| c.is_ascii_alphabetic() || c == b'_', word, word), || {
        let text = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
                    characters or '_'";
        regex_message(text, "[A-Za-z_][A-Za-z0-9_]*", &["my_name", "MY_NAME", "MyName"])
    })
}

/// A port: 1 to 65535.
#[must_use]
pub fn is_valid_port_num(port: i64) -> Messages {
    is_in_range(port, 1, 65535)
}

/// A number from `low` through `high`.
#[must_use]
pub fn is_in_range(value: i64, low: i64, high: i64) -> Messages {
    one((low..=high).contains(&value), || range_message(low, high))
}

/// A Unix user id.
#[must_use]
pub fn is_valid_user_id(id: i64) -> Messages {
    is_in_range(id, 0, i64::from(i32::MAX))
}

/// A Unix group id.
#[must_use]
pub fn is_valid_group_id(id: i64) -> Messages {
    is_in_range(id, 0, i64::from(i32::MAX))
}

/// The name of a port: up to 15 of `-a-z0-9` with a letter among them.
#[must_use]
pub fn is_valid_port_name(port: &str) -> Messages {
    let mut found = one(port.len() <= 15, || characters(15));
    let mut check = |valid: bool, message: &str| {
        if !valid {
            found.push(message.to_owned());
        }
    };
    let charset = !port.is_empty() && port.bytes().all(|c| lower_or_digit(c) || c == b'-');
    check(charset, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    check(port.bytes().any(|c| c.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    check(!port.contains("--"), "must not contain consecutive hyphens");
    check(!port.starts_with('-') && !port.ends_with('-'), "must not begin or end with a hyphen");
    found
}

/// A percentage: `93%`.
#[must_use]
pub fn is_valid_percent(value: &str) -> Messages {
    let digits = value.strip_suffix('%');
    one(
        digits
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit())),
        || {
            let text = "a valid percent string must be a numeric string followed by an ending '%'";
            regex_message(text, "[0-9]+%", &["1%", "93%"])
        },
    )
}

/// The name of an HTTP header.
#[must_use]
pub fn is_http_header_name(value: &str) -> Messages {
    let valid = !value.is_empty() && value.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-');
    one(valid, || {
        let text = "a valid HTTP header must consist of alphanumeric characters or '-'";
        regex_message(text, "[-A-Za-z0-9]+", &["X-Header-Name"])
    })
}

/// The name of an environment variable, by the older, strict rule.
#[must_use]
pub fn is_env_var_name(value: &str) -> Messages {
    let first = |c: u8| c.is_ascii_alphabetic() || matches!(c, b'-' | b'.' | b'_');
    let rest = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_');
    let mut found = one(framed(value, first, rest, rest), || {
        let text = "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and \
                    must not start with a digit";
        regex_message(
            text,
            "[-._a-zA-Z][-._a-zA-Z0-9]*",
            &["my.env-name", "MY_ENV.NAME", "MyEnvName1"],
        )
    });
    found.extend(directory_prefix(value));
    found
}

/// The name of an environment variable by the rule of 1.36: printable ASCII but `=`.
#[must_use]
pub fn is_relaxed_env_var_name(value: &str) -> Messages {
    let mut found =
        one(!value.is_empty(), || "environment variable name must be non-empty".to_owned());
    if value.bytes().any(|c| !(0x20..0x7f).contains(&c) || c == b'=') {
        let text = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        found.push(text.to_owned());
    }
    found
}

/// A key of a ConfigMap or a Secret.
#[must_use]
pub fn is_config_map_key(value: &str) -> Messages {
    let mut found = one(value.len() <= SUBDOMAIN_MAX, || characters(SUBDOMAIN_MAX));
    if value.is_empty()
        || !value.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
    {
        let text = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        found.push(regex_message(text, "[-._a-zA-Z0-9]+", &["key.name", "KEY_NAME", "key-name"]));
    }
    found.extend(directory_prefix(value));
    found
}

fn directory_prefix(value: &str) -> Option<String> {
    match value {
        "." | ".." => Some(format!("must not be '{value}'")),
        _ => value.starts_with("..").then(|| "must not start with '..'".to_owned()),
    }
}

/// What can stand in a segment of a path.
#[must_use]
pub fn is_path_segment_name(name: &str) -> Messages {
    match name {
        "." | ".." => vec![format!("may not be '{name}'")],
        _ => is_path_segment_prefix(name),
    }
}

/// What can start a segment of a path.
#[must_use]
pub fn is_path_segment_prefix(name: &str) -> Messages {
    let forbidden = ["/", "%"].into_iter().filter(|text| name.contains(text));
    forbidden.map(|text| format!("may not contain '{text}'")).collect()
}

/// A whole number as a person would write it: no leading zeros, no plus.
#[must_use]
pub fn is_decimal_integer(value: &str) -> Messages {
    if value.is_empty() {
        return vec!["must be non-empty".to_owned()];
    }
    let digits = value.strip_prefix('-').unwrap_or(value);
    let valid = value == "0"
        || !digits.starts_with('0')
            && !digits.is_empty()
            && digits.bytes().all(|c| c.is_ascii_digit());
    one(valid, || "must be a valid decimal integer in canonical form".to_owned())
}

/// A domain with at least two labels; a trailing dot is fine. The empty text is the caller's to check.
#[must_use]
pub fn is_fully_qualified_domain_name(value: &str) -> Messages {
    let name = value.strip_suffix('.').unwrap_or(value);
    let found = is_dns1123_subdomain(name);
    if !found.is_empty() {
        return vec![found.join(",")];
    }
    if !name.contains('.') {
        return vec!["should be a domain with at least two segments separated by dots".to_owned()];
    }
    name.split('.')
        .map(is_dns1123_label)
        .filter(|found| !found.is_empty())
        .map(|found| found.join(","))
        .collect()
}

/// A domain with at least three labels. The empty text is the caller's to check.
#[must_use]
pub fn is_fully_qualified_name(value: &str) -> Messages {
    let found = is_dns1123_subdomain(value);
    if !found.is_empty() {
        return vec![found.join(",")];
    }
    one(value.split('.').count() >= 3, || {
        "should be a domain with at least three segments separated by dots".to_owned()
    })
}

/// A domain and a path: `acme.io/foo`. The empty text is the caller's to check.
#[must_use]
pub fn is_domain_prefixed_path(value: &str) -> Messages {
    let Some((host, path)) =
        value.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty())
    else {
        return vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()];
    };
    let mut found = is_dns1123_subdomain(host);
    if !path.bytes().all(|c| c.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&c)) {
        found.push(regex_message("Invalid path", r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+", &[]));
    }
    found
}

/// A label key with a prefix: `acme.io/foo`. The empty text is the caller's to check.
#[must_use]
pub fn is_domain_prefixed_key(value: &str) -> Messages {
    let found = is_qualified_name(value);
    if !found.is_empty() {
        return found;
    }
    one(value.contains('/'), || {
        "must be a domain-prefixed key (such as \"acme.io/foo\")".to_owned()
    })
}

/// Whether an object may have this name; with `prefix` it is a `generateName`, which may end in dashes.
#[must_use]
pub fn check(rule: NameRule, name: &str, prefix: bool) -> Messages {
    let masked = if prefix { without_trailing_dash(name) } else { name.into() };
    match rule {
        NameRule::DnsSubdomain => is_dns1123_subdomain(&masked),
        NameRule::DnsLabel => is_dns1123_label(&masked),
        NameRule::Dns1035Label => is_dns1035_label(&masked),
        NameRule::PathSegment if prefix => is_path_segment_prefix(name),
        NameRule::PathSegment => is_path_segment_name(name),
        NameRule::LongName if prefix => Messages::new(),
        NameRule::LongName => {
            let found = is_dns1123_subdomain(name).into_iter();
            found.map(|text| text.replace("253 characters", "253 bytes")).collect()
        }
        NameRule::IpAddress => address::is_valid_ip(name),
    }
}

/// The original masks the last two bytes when the last is a dash; the length check counts one less then.
fn without_trailing_dash(name: &str) -> std::borrow::Cow<'_, str> {
    match name.len().checked_sub(2) {
        Some(keep) if name.ends_with('-') && name.is_char_boundary(keep) => {
            format!("{}a", &name[..keep]).into()
        }
        _ => name.into(),
    }
}

#[cfg(test)]
mod tests;
