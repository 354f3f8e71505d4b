//! Times and base64, read and written as Go does.

use crate::field::go_quote;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{Timestamp, civil, tz::Offset};
use std::borrow::Cow;

const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
const MICROS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// A time as the API writes it: UTC, whole seconds.
#[must_use]
pub fn time(time: Timestamp) -> String {
    printed(time, false)
}

/// A time as the API writes a MicroTime: UTC, six digits of a second.
#[must_use]
pub fn micro_time(time: Timestamp) -> String {
    printed(time, true)
}

fn printed(time: Timestamp, micro: bool) -> String {
    let at = Offset::UTC.to_datetime(time);
    let (year, month, day) = (at.year(), at.month(), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    let base = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if micro { format!("{base}.{:06}Z", at.subsec_nanosecond() / 1000) } else { format!("{base}Z") }
}

/// The canonical form of a time; `None` for Go's zero time, which it writes as null.
pub(super) fn normal_time(text: &str, micro: bool) -> Result<Option<String>, String> {
    let time = parse_time(text, micro)?;
    Ok((text != "0001-01-01T00:00:00Z").then(|| printed(time, micro)))
}

/// Walks the layout as Go's parser does, so that the error names the same place.
fn parse_time(text: &str, micro: bool) -> Result<Timestamp, String> {
    let layout = if micro { MICROS } else { SECONDS };
    let quoted = go_quote(text);
    let mut rest = text;
    let expected = |rest: &str, element: &str| {
        format!(
            "parsing time {quoted} as {}: cannot parse {} as {}",
            go_quote(layout),
            go_quote(rest),
            go_quote(element)
        )
    };
    let out_of_range = |what: &str| format!("parsing time {quoted}: {what} out of range");
    let mut numbers = [0i16; 6];
    let elements = [
        ("2006", 4, "-"),
        ("01", 2, "-"),
        ("02", 2, "T"),
        ("15", 2, ":"),
        ("04", 2, ":"),
        ("05", 2, ""),
    ];
    for (index, (element, length, separator)) in elements.into_iter().enumerate() {
        let digits = rest.get(..length).filter(|digits| digits.bytes().all(|c| c.is_ascii_digit()));
        let number = digits.and_then(|digits| digits.parse().ok());
        numbers[index] = number.ok_or_else(|| expected(rest, element))?;
        rest = &rest[length..];
        let high = [i16::MAX, 12, 31, 23, 59, 59][index];
        let low = i16::from(index == 1);
        if !(low..=high).contains(&numbers[index]) {
            return Err(out_of_range(["year", "month", "day", "hour", "minute", "second"][index]));
        }
        rest = rest.strip_prefix(separator).ok_or_else(|| expected(rest, separator))?;
    }
    let nanos = fraction(&mut rest, micro).ok_or_else(|| expected(rest, ".000000"))?;
    let offset = offset(&mut rest).ok_or_else(|| expected(rest, "Z07:00"))?;
    if !rest.is_empty() {
        return Err(format!("parsing time {quoted}: extra text: {}", go_quote(rest)));
    }
    let [year, month, day, hour, minute, second] = numbers;
    let small = |number: i16| i8::try_from(number).unwrap_or(i8::MAX);
    civil::DateTime::new(
        year,
        small(month),
        small(day),
        small(hour),
        small(minute),
        small(second),
        nanos,
    )
    .ok()
    .and_then(|at| Offset::from_seconds(offset).ok()?.to_timestamp(at).ok())
    .ok_or_else(|| out_of_range("day"))
}

/// Nanoseconds; six digits exactly in a MicroTime, any number or none elsewhere.
fn fraction(rest: &mut &str, micro: bool) -> Option<i32> {
    let Some(after) = rest.strip_prefix(['.', ',']) else {
        return (!micro).then_some(0);
    };
    let available = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let length = if micro { 6 } else { available };
    if available < length || length == 0 {
        return (!micro).then_some(0);
    }
    let digits: String = after[..length].chars().chain("000000000".chars()).take(9).collect();
    *rest = &after[length..];
    digits.parse().ok()
}

fn offset(rest: &mut &str) -> Option<i32> {
    if let Some(after) = rest.strip_prefix('Z') {
        *rest = after;
        return Some(0);
    }
    let sign = match rest.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |at: usize| {
        rest.get(at..at + 2)
            .filter(|text| text.bytes().all(|c| c.is_ascii_digit()))?
            .parse::<i32>()
            .ok()
    };
    let (hours, minutes) = (two(1)?, two(4)?);
    if rest.as_bytes().get(3) != Some(&b':') || hours > 24 || minutes > 60 {
        return None;
    }
    *rest = &rest[6..];
    Some(sign * (hours * 3600 + minutes * 60))
}

/// The canonical form of base64; line breaks are allowed and dropped.
pub(super) fn normal_base64(text: &str) -> Result<Cow<'_, str>, String> {
    if STANDARD.decode(text).is_ok() {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = decode_base64(text.as_bytes())
        .map_err(|at| format!("illegal base64 data at input byte {at}"))?;
    Ok(Cow::Owned(STANDARD.encode(bytes)))
}

/// Go's decoder: where it fails is part of its error.
fn decode_base64(text: &[u8]) -> Result<Vec<u8>, usize> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let line_break = |at: usize| matches!(text.get(at), Some(b'\n' | b'\r'));
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut at, mut bits, mut count) = (0, 0u32, 0usize);
    while let Some(&c) = text.get(at) {
        at += 1;
        if let Some(value) = value(c) {
            (bits, count) = (bits << 6 | u32::from(value), count + 1);
            if count == 4 {
                out.extend_from_slice(&bits.to_be_bytes()[1..]);
                (bits, count) = (0, 0);
            }
            continue;
        }
        if matches!(c, b'\n' | b'\r') {
            continue;
        }
        if c != b'=' || count < 2 {
            return Err(at - 1);
        }
        if count == 2 {
            while line_break(at) {
                at += 1;
            }
            match text.get(at) {
                None => return Err(text.len()),
                Some(b'=') => at += 1,
                Some(_) => return Err(at - 1),
            }
        }
        while line_break(at) {
            at += 1;
        }
        if at < text.len() {
            return Err(at);
        }
        let rest = (bits << (6 * (4 - count))).to_be_bytes();
        out.extend_from_slice(&rest[1..count]);
        return Ok(out);
    }
    if count == 0 { Ok(out) } else { Err(at - count) }
}
