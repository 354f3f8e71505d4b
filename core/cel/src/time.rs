//! Moments and spans of time as they are written.

use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;

/// The first and the last second that a moment may be in.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// Whether a moment may be in this second.
pub(crate) fn is_in_range(second: i64) -> bool {
    SECONDS.contains(&second)
}

/// A moment as in RFC 3339, or a day.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    if text.len() == 10 {
        return rfc3339(&format!("{text}T00:00:00Z"));
    }
    rfc3339(text)
}

/// A moment as in RFC 3339, read as strictly as the original does.
pub(crate) fn rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let shape = "dddd-dd-ddTdd:dd:dd";
    let fits = shape.bytes().enumerate().all(|(at, wanted)| match wanted {
        b'd' => digit(at),
        wanted => bytes.get(at) == Some(&wanted),
    });
    let rest = text.get(19..).filter(|_| fits)?;
    let fraction = rest.strip_prefix(['.', ',']);
    let zone = match fraction {
        Some(digits) => {
            let zone = digits.trim_start_matches(|c: char| c.is_ascii_digit());
            (zone.len() < digits.len()).then_some(zone)?
        }
        None => rest,
    };
    let zone_fits = zone == "Z"
        || zone.len() == 6
            && zone.starts_with(['+', '-'])
            && zone.bytes().enumerate().skip(1).all(|(at, byte)| match at {
                3 => byte == b':',
                _ => byte.is_ascii_digit(),
            });
    if !zone_fits || &text[17..19] == "60" {
        return None;
    }
    text.replacen(',', ".", 1).parse().ok()
}

/// A moment in UTC with as many digits as it needs.
pub(crate) fn written(moment: Timestamp) -> String {
    moment.to_string()
}

/// The nanoseconds of a span as Go writes it; none where Go's `time.ParseDuration` fails.
pub(crate) fn span(text: &str) -> Option<i64> {
    kubeplane_core::duration::parse(text).ok()
}

/// A span in seconds, as `1.5s`.
pub(crate) fn seconds(span: i64) -> String {
    let sign = if span < 0 { "-" } else { "" };
    let length = SignedDuration::from_nanos(span).unsigned_abs();
    let mut text = format!("{sign}{}", length.as_secs());
    if length.subsec_nanos() > 0 {
        let digits = format!("{:09}", length.subsec_nanos());
        // Writing to a text cannot fail.
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text.push('s');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_moments_are_read_as_they_are_written() {
        assert_eq!(span("1h30m"), Some(5_400_000_000_000));
        assert_eq!(span("-1.5s"), Some(-1_500_000_000));
        assert_eq!(span("1"), None);
        assert_eq!(span(""), None);
        assert_eq!(span("170141183460469231731687303715884105.9us"), None);
        assert_eq!(seconds(-1_500_000_000), "-1.5s");
        assert!(moment("2026-01-02").is_some());
        assert!(rfc3339("2026-01-02T03:04:05.25+01:00").is_some());
        for wrong in
            ["2026-01-02", "2026-01-02t03:04:05Z", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z"]
        {
            assert!(rfc3339(wrong).is_none(), "{wrong}");
        }
    }
}
