//! The text form of quantities.

use super::{Format, NANO, Quantity, QuantityError, at_scale};
use std::borrow::Cow;

/// A text taken apart; leading zeros of the whole digits are gone.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn digits(text: &str) -> usize {
    text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len())
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
    let (whole, mut rest) = rest.split_at(digits(rest));
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        (fraction, rest) = after.split_at(digits(after));
    }
    let letters = rest.find(|c| !"eEinumkKMGTP".contains(c)).unwrap_or(rest.len());
    let tail = &rest[letters..];
    let tail = tail.strip_prefix(['-', '+']).unwrap_or(tail);
    if digits(tail) != tail.len() {
        return Err(QuantityError::Format);
    }
    Ok(Parts {
        negative,
        whole: if whole.is_empty() { "0" } else { whole },
        fraction,
        suffix: rest,
    })
}

/// What a suffix multiplies by: a power of ten, or of two.
enum Factor {
    Ten(i32),
    Two(u32),
}

fn factor(suffix: &str) -> Result<(Factor, Format), QuantityError> {
    let ten = |power| Ok((Factor::Ten(power), Format::DecimalSi));
    let two = |power| Ok((Factor::Two(power), Format::BinarySi));
    match suffix {
        "" => ten(0),
        "n" => ten(-9),
        "u" => ten(-6),
        "m" => ten(-3),
        "k" => ten(3),
        "M" => ten(6),
        "G" => ten(9),
        "T" => ten(12),
        "P" => ten(15),
        "E" => ten(18),
        "Ki" => two(10),
        "Mi" => two(20),
        "Gi" => two(30),
        "Ti" => two(40),
        "Pi" => two(50),
        "Ei" => two(60),
        _ => {
            let power = suffix.strip_prefix(['e', 'E']).filter(|digits| !digits.is_empty());
            let power = power
                .and_then(|digits| digits.parse::<i32>().ok())
                .filter(|power| power.abs() <= MAX_POWER);
            power
                .map(|power| (Factor::Ten(power), Format::DecimalExponent))
                .ok_or(QuantityError::Suffix)
        }
    }
}

/// The original takes any power and spends memory in proportion; nothing real comes near this one.
const MAX_POWER: i32 = 100_000;
/// What the original keeps in 64 bits.
const FAST_DIGITS: usize = 18;
/// What always fits 128 bits.
const MAX_DIGITS: usize = 38;

pub(super) fn parse(text: &str) -> Result<Quantity, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let parts = split(text)?;
    let (factor, format) = factor(parts.suffix)?;
    match factor {
        Factor::Ten(power) => decimal(text, &parts, power, format),
        Factor::Two(power) => binary(text, &parts, power),
    }
}

fn decimal(
    text: &str,
    parts: &Parts<'_>,
    power: i32,
    format: Format,
) -> Result<Quantity, QuantityError> {
    let count = parts.whole.len() + parts.fraction.len();
    if parts.whole.len() > MAX_DIGITS {
        return Err(QuantityError::Numeric);
    }
    // Digits past what fits can only matter to rounding up.
    let kept = parts.fraction.len().min(MAX_DIGITS - parts.whole.len());
    let (fraction, lost) = parts.fraction.split_at(kept);
    let shifted = match fraction {
        "" => Cow::Borrowed(parts.whole),
        fraction => Cow::Owned(format!("{}{fraction}", parts.whole)),
    };
    let mut mantissa: i128 = shifted.parse().map_err(|_| QuantityError::Numeric)?;
    if lost.bytes().any(|digit| digit != b'0') {
        mantissa = mantissa.saturating_add(1);
    }
    let scale = power - i32::try_from(kept).unwrap_or(0);
    let fast = count <= FAST_DIGITS && scale >= NANO;
    let canonical =
        fast && scale % 3 == 0 && !shifted.ends_with("000") && !shifted.starts_with('0');
    let (mantissa, scale) =
        if scale < NANO { (at_scale(mantissa, scale, NANO).0, NANO) } else { (mantissa, scale) };
    let mantissa = if parts.negative { -mantissa } else { mantissa };
    Ok(Quantity { mantissa, scale, format, text: canonical.then(|| text.into()) })
}

fn binary(text: &str, parts: &Parts<'_>, power: u32) -> Result<Quantity, QuantityError> {
    let signed = |value: i128| if parts.negative { -value } else { value };
    let whole: i128 = if parts.whole.len() > MAX_DIGITS { i128::MAX } else { number(parts.whole)? };
    let cap = i128::from(i64::MAX);
    let shifted = whole.checked_mul(1 << power).filter(|value| *value <= cap);
    let Some(shifted) = shifted else {
        return Ok(Quantity {
            mantissa: signed(cap),
            scale: 0,
            format: Format::BinarySi,
            text: None,
        });
    };
    if parts.fraction.is_empty() {
        let spent = parts.whole.len() + usize::try_from(power * 3 / 10).unwrap_or(0) + 1;
        let canonical = spent <= 15 && whole & 7 != 0;
        let text = canonical.then(|| text.into());
        return Ok(Quantity {
            mantissa: signed(shifted),
            scale: 0,
            format: Format::BinarySi,
            text,
        });
    }
    let (kept, lost) = parts.fraction.split_at(parts.fraction.len().min(FAST_DIGITS));
    let places = i32::try_from(kept.len()).unwrap_or(0);
    let sticky = i128::from(lost.bytes().any(|digit| digit != b'0'));
    let fraction = if kept.is_empty() { 0 } else { number(kept)? } + sticky;
    let (nanos, _) = at_scale(fraction * (1 << power), -places, NANO);
    let total = (shifted * 1_000_000_000 + nanos).min(cap * 1_000_000_000);
    let format =
        if total > 0 && total < 1_000_000_000 { Format::DecimalSi } else { Format::BinarySi };
    Ok(Quantity { mantissa: signed(total), scale: NANO, format, text: None })
}

fn number(digits: &str) -> Result<i128, QuantityError> {
    digits.parse().map_err(|_| QuantityError::Numeric)
}
