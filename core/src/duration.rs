//! Durations as Go's `time.ParseDuration` reads them, with its words for those that are none.

/// The nanoseconds of the longest duration below zero; one above zero has one less.
const LIMIT: u64 = 1 << 63;
/// How many digits of a fraction are looked at; more say nothing about nanoseconds.
const DIGITS: usize = 18;

/// The nanoseconds of a text of numbers with units, as `1h30m`, `-1.5s` or `0`: of the units `h`, `m`, `s`, `ms`, `us` and
/// `ns`, and up to about 292 years either way.
///
/// # Errors
/// Why it is no duration, as `time: invalid duration "x"`.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let (number, tail) = Number::read(rest).ok_or_else(invalid)?;
        let end = tail.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(tail.len());
        let (name, tail) = tail.split_at(end);
        if name.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let unknown = || format!("time: unknown unit {name:?} in duration {text:?}");
        let nanoseconds = number.times(unit(name).ok_or_else(unknown)?).ok_or_else(invalid)?;
        sum = sum.checked_add(nanoseconds).filter(|sum| *sum <= LIMIT).ok_or_else(invalid)?;
        rest = tail;
    }
    let signed = if negative { -i128::from(sum) } else { i128::from(sum) };
    i64::try_from(signed).map_err(|_| invalid())
}

/// A unit in nanoseconds.
fn unit(name: &str) -> Option<u64> {
    Some(match name {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// A number without a sign.
struct Number<'a> {
    whole: u64,
    /// The digits behind the point.
    fraction: &'a str,
}

impl<'a> Number<'a> {
    /// A number at the beginning of a text, and what follows it.
    fn read(text: &'a str) -> Option<(Self, &'a str)> {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (whole, tail) = text.split_at(digits(text));
        let (fraction, tail) = match tail.strip_prefix('.') {
            Some(tail) => tail.split_at(digits(tail)),
            None => ("", tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        Some((Self { whole, fraction }, tail))
    }

    fn times(&self, unit: u64) -> Option<u64> {
        let kept = self.fraction.get(..DIGITS).unwrap_or(self.fraction);
        let part = match kept.parse::<u64>() {
            Ok(digits) => {
                let places = u32::try_from(kept.len()).ok()?;
                u64::try_from(u128::from(digits) * u128::from(unit) / 10_u128.pow(places)).ok()?
            }
            Err(_) => 0,
        };
        self.whole.checked_mul(unit)?.checked_add(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, wanted) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("+5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".25s", 250_000_000),
            ("3.s", 3_000_000_000),
            ("2000\u{b5}s", 2_000_000),
            ("-1s", -1_000_000_000),
            ("-1.5h2m", -5_520_000_000_000),
            ("9223372036854775807ns", i64::MAX),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_in_the_words_of_go() {
        for text in [
            "x",
            "-",
            "+",
            ".s",
            "9999999999h",
            "-9999999999h",
            "99999999999999999999s",
            "9223372036854775808ns",
            "",
        ] {
            assert_eq!(parse(text), Err(format!("time: invalid duration {text:?}")));
        }
        for text in ["1", "5.", "1s1"] {
            assert_eq!(parse(text), Err(format!("time: missing unit in duration {text:?}")));
        }
        for (text, unit) in [("1d", "d"), ("1e3s", "e"), ("1 s", " s"), ("1m-1s", "m-")] {
            let why = format!("time: unknown unit {unit:?} in duration {text:?}");
            assert_eq!(parse(text), Err(why));
        }
    }
}
