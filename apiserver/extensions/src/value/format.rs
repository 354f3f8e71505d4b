//! Formats of text.

use super::{Found, Outcome};
use crate::props::Props;
use kubeplane_core::{
    field::{ErrorKind, go_quote},
    names,
};
use regex::Regex;
use std::sync::LazyLock;

/// A compiled pattern of Go's.
pub(crate) fn pattern(source: &str) -> Result<Regex, regex::Error> {
    Regex::new(&kubeplane_cel::go_pattern(source))
}

const KNOWN: [&str; 29] = [
    "bsonobjectid",
    "uri",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "cidr",
    "mac",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
    "isbn",
    "isbn10",
    "isbn13",
    "creditcard",
    "ssn",
    "hexcolor",
    "rgbcolor",
    "byte",
    "password",
    "date",
    "duration",
    "datetime",
    "k8sshortname",
    "k8slongname",
    "int32",
    "int64",
    "float",
];

/// Whether the format of this node means anything for its type.
pub(crate) fn is_known(props: &Props) -> bool {
    props.format.is_empty() || supported(props).is_some()
}

/// The normalized format, where it applies to the type.
pub(super) fn supported(props: &Props) -> Option<String> {
    if props.format.is_empty() || props.int_or_string {
        return None;
    }
    let normal = props.format.replace('-', "");
    let applies = match props.kind.as_str() {
        "" | "string" => KNOWN[..26].contains(&normal.as_str()),
        "integer" => matches!(normal.as_str(), "int32" | "int64"),
        "number" => matches!(normal.as_str(), "float" | "double"),
        _ => false,
    };
    applies.then_some(normal)
}

pub(super) fn check(props: &Props, text: &str, path: &str) -> Option<Outcome> {
    let format = supported(props).filter(|format| KNOWN[..26].contains(&format.as_str()))?;
    let mut outcome = Outcome::default();
    if !holds(&format, text) {
        let what = format!("must be of type {}: {}", props.format, go_quote(text));
        outcome.add(Found { kind: ErrorKind::TypeInvalid, ..Found::invalid(path, text, &what) });
    }
    Some(outcome)
}

fn holds(format: &str, text: &str) -> bool {
    match format {
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => names::address::parse_ip_sloppy(text).is_some() && text.contains('.'),
        "ipv6" => names::address::parse_ip_sloppy(text).is_some() && text.contains(':'),
        "cidr" => names::address::parse_cidr_sloppy(text).is_some(),
        "mac" => is_mac(text),
        "uuid" => matches(&UUID, text),
        "uuid3" => matches(&UUID3, text),
        "uuid4" => matches(&UUID4, text),
        "uuid5" => matches(&UUID5, text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => matches(&SSN, text),
        "hexcolor" => matches(&HEX_COLOR, text),
        "rgbcolor" => matches(&RGB_COLOR, text),
        "byte" => is_base64(text),
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "duration" => is_duration(text),
        "datetime" => is_date_time(text),
        "k8sshortname" => names::is_dns1123_label(text).is_empty(),
        "k8slongname" => names::is_dns1123_subdomain(text).is_empty(),
        _ => true,
    }
}

type Pattern = LazyLock<Option<Regex>>;

static UUID: Pattern = LazyLock::new(|| {
    Regex::new("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$").ok()
});
static UUID3: Pattern = LazyLock::new(|| {
    Regex::new("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$").ok()
});
static UUID4: Pattern = LazyLock::new(|| {
    Regex::new("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$").ok()
});
static UUID5: Pattern = LazyLock::new(|| {
    Regex::new("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$").ok()
});
static SSN: Pattern = LazyLock::new(|| Regex::new(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$").ok());
static HEX_COLOR: Pattern =
    LazyLock::new(|| Regex::new("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$").ok());
static RGB_COLOR: Pattern = LazyLock::new(|| {
    let part = r"\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*";
    Regex::new(&format!(r"^rgb\({part},{part},{part}\)$")).ok()
});
static HOST: Pattern = LazyLock::new(|| {
    Regex::new(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
    .ok()
});
static GO_DURATION: Pattern =
    LazyLock::new(|| Regex::new(r"^[-+]?(0|((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)$").ok());
static WORDY_DURATION: Pattern = LazyLock::new(|| {
    let units = "d|day|h|hour|hr|µs|us|micro|microsecond|microsec|ms|milli|millisecond|millisec|min|minute|\
                 ns|nano|nanosecond|nanosec|s|sec|second|w|wk|week";
    Regex::new(&format!(r"^\s*(\d+)\s*({units})s?\s*$")).ok()
});

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

fn is_uri(text: &str) -> bool {
    let scheme = |text: &str| {
        text.split_once(':').is_some_and(|(scheme, rest)| {
            let mut chars = scheme.chars();
            chars.next().is_some_and(|first| first.is_ascii_alphabetic())
                && chars.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !rest.is_empty()
        })
    };
    let clean = !text.chars().any(|c| c.is_control() || c == ' ');
    clean && (text.starts_with('/') || scheme(text))
}

fn is_email(text: &str) -> bool {
    // `Name <address>` is allowed as well.
    let address = match (text.rfind('<'), text.ends_with('>')) {
        (Some(start), true) => &text[start + 1..text.len() - 1],
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let word = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || !c.is_ascii();
    let dotted = |part: &str| !part.is_empty() && part.split('.').all(|word| !word.is_empty());
    dotted(local) && dotted(domain) && local.chars().all(word) && domain.chars().all(word)
}

fn is_hostname(text: &str) -> bool {
    matches(&HOST, text) && text.len() <= 255 && text.split('.').all(|label| label.len() <= 63)
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: &[usize]| {
        let parts: Vec<_> = text.split(separator).collect();
        let hex =
            |part: &&str| part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        counts.contains(&parts.len()) && parts.iter().all(hex)
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn digits_of(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '-' | ' ')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = digits_of(text);
    let sum = digits.chars().enumerate().try_fold(0, |sum, (index, c)| {
        let value = if index == 9 && c == 'X' { 10 } else { c.to_digit(10)? };
        Some(sum + value * u32::try_from(index + 1).ok()?)
    });
    digits.len() == 10 && sum.is_some_and(|sum| sum % 11 == 0)
}

fn is_isbn13(text: &str) -> bool {
    let digits = digits_of(text);
    let sum = digits.chars().enumerate().try_fold(0, |sum, (index, c)| {
        Some(sum + c.to_digit(10)? * if index % 2 == 0 { 1 } else { 3 })
    });
    digits.len() == 13 && sum.is_some_and(|sum| sum % 10 == 0)
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits.iter().rev().enumerate().fold(0, |sum, (index, digit)| {
        let doubled = if index % 2 == 1 { digit * 2 } else { *digit };
        sum + doubled / 10 + doubled % 10
    });
    (12..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

fn is_base64(text: &str) -> bool {
    use base64::{Engine, engine::general_purpose::STANDARD};
    !text.is_empty() && STANDARD.decode(text).is_ok()
}

fn is_duration(text: &str) -> bool {
    matches(&GO_DURATION, text) || matches(&WORDY_DURATION, text)
}

fn is_date_time(text: &str) -> bool {
    let has_zone = text.ends_with(['Z', 'z'])
        || text.len() > 6
            && text.get(text.len() - 6..).is_some_and(|zone| zone.starts_with(['+', '-']));
    let separated = text.get(10..11).is_some_and(|separator| matches!(separator, "T" | "t"));
    has_zone && separated && text.parse::<jiff::Timestamp>().is_ok()
}
