//! Query parameters, decoded as the original decodes them.

use kubeplane_core::status::{ApiError, ApiResult};
use std::{
    borrow::Cow,
    num::{IntErrorKind, ParseIntError},
};

/// The parameters of a request's URL, in order, percent-decoded.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Parses the part behind the question mark.
    #[must_use]
    pub fn parse(raw: &str) -> Self {
        let pairs = raw.split('&').filter(|pair| is_whole(pair)).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key).into_owned(), decode(value).into_owned())
        });
        Self(pairs.collect())
    }

    /// Those of a URI.
    #[must_use]
    pub fn of(uri: &http::Uri) -> Self {
        uri.query().map(Self::parse).unwrap_or_default()
    }

    /// The first value of a parameter.
    #[must_use]
    pub fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, or the empty text.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.first(key).unwrap_or_default()
    }

    /// Every value of a parameter.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == key).map(|(_, value)| value.as_str())
    }

    /// A truth value: as in the original, anything but `false` and `0` is true, and so is a parameter
    /// without a value.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        self.first(key).map(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400 when it is none, as the empty text.
    pub fn integer(&self, key: &str) -> ApiResult<Option<i64>> {
        let Some(text) = self.first(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: ParseIntError| {
            let why = match error.kind() {
                IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
        })
    }

    /// Whether there are no parameters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether a pair says anything: one with a semicolon, or a percent sign before what is no byte, is passed over.
fn is_whole(pair: &str) -> bool {
    let is_byte = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    !pair.is_empty() && !pair.contains(';') && pair.split('%').skip(1).all(is_byte)
}

/// Percent-decodes; `+` is a space.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Percent-decodes one segment of a path.
#[must_use]
pub(crate) fn decode_segment(segment: &str) -> String {
    decode(&segment.replace('+', "%2B")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_flags_read_as_the_original_reads_them() {
        let query = Query::parse("labelSelector=a%3Db%2Cc&watch=1&limit=x&pretty&s=a+b");
        assert_eq!(query.text("labelSelector"), "a=b,c");
        assert_eq!(query.flag("watch"), Some(true));
        assert_eq!(query.flag("pretty"), Some(true));
        assert_eq!(query.flag("other"), None);
        assert_eq!(query.text("s"), "a b");
        assert!(query.integer("limit").is_err());
        let why = "strconv.ParseInt: parsing \"\": invalid syntax";
        assert_eq!(Query::parse("limit=").integer("limit").unwrap_err().message(), why);
        assert_eq!(Query::parse("limit").integer("limit").unwrap_err().message(), why);
        let broken = Query::parse("a=1;b&limit=%zz&limit=5&c=%4");
        assert_eq!((broken.first("a"), broken.first("c")), (None, None));
        assert_eq!(broken.integer("limit").unwrap(), Some(5));
        let large = Query::parse("limit=99999999999999999999&low=-99999999999999999999");
        for (key, sent) in [("limit", "99999999999999999999"), ("low", "-99999999999999999999")] {
            let why = format!("strconv.ParseInt: parsing \"{sent}\": value out of range");
            assert_eq!(large.integer(key).unwrap_err().message(), why);
        }
    }
}
