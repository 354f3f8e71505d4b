//! Formats of text.

mod mail;

use super::{Found, Outcome};
use crate::props::Props;
use kubeplane_core::{
    duration,
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
        "uri" => kubeplane_cel::is_request_uri(text),
        "email" => mail::is_address(text),
        "hostname" => is_hostname(text),
        "ipv4" => names::address::parse_ip_sloppy(text).is_some() && text.contains('.'),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
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
        "ssn" => text.len() == 11 && matches(&SSN, text),
        "hexcolor" => matches(&HEX_COLOR, text),
        "rgbcolor" => matches(&RGB_COLOR, text),
        "byte" => matches(&BASE64, text),
        "date" => is_date(text),
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
static SSN: Pattern = LazyLock::new(|| pattern(r"^\d{3}[- ]?\d{2}[- ]?\d{4}$").ok());
static HEX_COLOR: Pattern =
    LazyLock::new(|| Regex::new("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$").ok());
static RGB_COLOR: Pattern = LazyLock::new(|| {
    let part = r"\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*";
    pattern(&format!(r"^rgb\({part},{part},{part}\)$")).ok()
});
static HOST: Pattern = LazyLock::new(|| {
    Regex::new(
        r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$",
    )
    .ok()
});
static AMOUNT: Pattern = LazyLock::new(|| pattern(r"(\d+)\s*([A-Za-zµ]+)").ok());
static TIME: Pattern = LazyLock::new(|| {
    pattern("^([0-9]{2}):([0-9]{2}):([0-9]{2})(?:.[0-9]+)?(?:z|[+-][0-9]{2}:[0-9]{2})$").ok()
});
static BASE64: Pattern = LazyLock::new(|| {
    let digit = "[A-Za-z0-9+/]";
    pattern(&format!("^(?:{digit}{{4}})*(?:{digit}{{2}}==|{digit}{{3}}=|{digit}{{4}})$")).ok()
});
static CREDIT_CARD: Pattern = LazyLock::new(|| {
    let issuers = [
        "4[0-9]{12}(?:[0-9]{3})?",
        "5[1-5][0-9]{14}",
        "6(?:011|5[0-9]{2})[0-9]{12}",
        "3[47][0-9]{13}",
        "3(?:0[0-5]|[68][0-9])[0-9]{11}",
        "(?:2131|1800|35[0-9]{3})[0-9]{11}",
    ];
    pattern(&format!("^(?:{})$", issuers.join("|"))).ok()
});

fn matches(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok()
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
    text.chars().filter(|c| !matches!(c, '-' | ' ' | '\t' | '\n' | '\x0c' | '\r')).collect()
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

/// A number as an issuer gives it, whatever stands between its digits, with its last digit right.
fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u8 = digits.bytes().rev().enumerate().fold(0, |sum, (index, digit)| {
        let doubled = (digit - b'0') << (index % 2);
        (sum + doubled / 10 + doubled % 10) % 10
    });
    sum == 0 && matches(&CREDIT_CARD, &digits)
}

/// A span of Go's, or anything with a whole number and the beginning of a unit in it, as `half of 3 weeks`.
fn is_duration(text: &str) -> bool {
    const SHORT: [&str; 11] = ["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk"];
    const LONG: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    if duration::parse(text).is_ok() {
        return true;
    }
    let mut found = false;
    for part in AMOUNT.iter().flat_map(|amount| amount.captures_iter(text)) {
        if part[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = part[2].to_lowercase();
        found |= SHORT.contains(&unit.as_str()) || LONG.iter().any(|long| unit.starts_with(long));
    }
    found
}

/// What comes after a second `T` is not looked at.
fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let time = TIME.as_ref().and_then(|shape| shape.captures(time));
    is_date(date)
        && time.is_some_and(|time| &time[1] <= "23" && &time[2] <= "59" && &time[3] <= "59")
}
