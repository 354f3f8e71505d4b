//! `format`: texts with `%s`, `%d`, `%f`, `%e`, `%b`, `%o`, `%x` and `%X`.

use super::{Out, convert, fails, overload, strings, to_base64};
use crate::{
    fault::Fault,
    time,
    types::Type,
    value::{Key, Value},
};
use kubeplane_core::field::go_quote;

/// The digits behind the point where none are asked for.
const PRECISION: usize = 6;
/// The most that can be asked for.
const LONGEST: usize = 1_000;

/// A part of a pattern.
enum Part {
    Text(char),
    Clause(char, usize),
}

/// The parts of a pattern.
fn parts(pattern: &str) -> Result<Vec<Part>, String> {
    let mut found = Vec::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            found.push(Part::Text(c));
            continue;
        }
        let mut verb = rest.next();
        if verb == Some('%') {
            found.push(Part::Text('%'));
            continue;
        }
        let mut precision = PRECISION;
        if verb == Some('.') {
            let digits: String = rest.clone().take_while(char::is_ascii_digit).collect();
            rest = rest.as_str()[digits.len()..].chars();
            precision = digits.parse().ok().filter(|digits| *digits <= LONGEST).ok_or(
                "error while parsing precision: could not find end of precision specifier",
            )?;
            verb = rest.next();
        }
        found.push(Part::Clause(verb.ok_or("unexpected end of string")?, precision));
    }
    Ok(found)
}

/// How many values a pattern takes, if they can be of these types; otherwise which is wrong and why.
pub(crate) fn fits(pattern: &str, types: &[&Type]) -> Result<usize, (Option<usize>, String)> {
    let mut index = 0;
    for part in parts(pattern).map_err(|why| (None, why))? {
        let Part::Clause(verb, _) = part else { continue };
        if wanted(verb).is_none() {
            return Err((None, unknown(verb)));
        }
        let Some(of) = types.get(index) else {
            return Err((None, format!("index {index} out of range")));
        };
        if !can_be(verb, of) {
            let wanted = wanted(verb).unwrap_or_default();
            let message = format!("error during formatting: {wanted}, was given {}", of.name());
            return Err((Some(index), message));
        }
        index += 1;
    }
    Ok(index)
}

/// Whether values of a type can be shown so.
fn can_be(verb: char, of: &Type) -> bool {
    match (verb, of) {
        (_, Type::Dyn | Type::Error)
        | ('d' | 'o' | 'b' | 'x' | 'X', Type::Int | Type::Uint)
        | ('b', Type::Bool)
        | ('f' | 'e', Type::Double | Type::String)
        | ('x' | 'X', Type::String | Type::Bytes) => true,
        ('s', Type::List(items)) => can_be('s', items),
        ('s', Type::Map(entry)) => can_be('s', &entry.0) && can_be('s', &entry.1),
        ('s', of) => !matches!(of, Type::Opaque(..) | Type::Object(_)),
        _ => false,
    }
}

fn unknown(verb: char) -> String {
    format!("could not parse formatting clause: unrecognized formatting clause \"{verb}\"")
}

/// What can be shown so, in the original's words.
fn wanted(verb: char) -> Option<&'static str> {
    Some(match verb {
        's' => {
            "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps"
        }
        'd' => "decimal clause can only be used on integers",
        'f' => "fixed-point clause can only be used on doubles",
        'e' => "scientific clause can only be used on doubles",
        'b' => "only integers and bools can be formatted as binary",
        'o' => "octal clause can only be used on integers",
        'x' | 'X' => "only integers, byte buffers, and strings can be formatted as hex",
        _ => return None,
    })
}

pub(super) fn formatted<'a>(pattern: &str, args: Option<&Value<'a>>) -> Out<'a> {
    let Some(Value::List(args)) = args else { return overload() };
    let mut out = String::with_capacity(pattern.len());
    let mut index = 0;
    for part in parts(pattern).map_err(Fault::new)? {
        let (verb, precision) = match part {
            Part::Text(c) => {
                out.push(c);
                continue;
            }
            Part::Clause(verb, precision) => (verb, precision),
        };
        let Some(value) = args.get(index) else {
            return fails(format!("index {index} out of range"));
        };
        index += 1;
        out.push_str(&clause(verb, precision, &value)?);
        if out.len() > strings::LONGEST {
            return Err(Fault::Spent);
        }
    }
    Ok(out.into())
}

fn clause(verb: char, precision: usize, value: &Value<'_>) -> Result<String, Fault> {
    Ok(match (verb, value) {
        ('s', value) => shown(value)?,
        ('d', Value::Int(value)) => value.to_string(),
        ('d', Value::Uint(value)) => value.to_string(),
        ('f', Value::Double(value)) => grouped(&format!("{value:.precision$}")),
        // The original takes the precision for a width.
        ('e', Value::Double(value)) => {
            format!("{:>precision$}", scientific(*value, PRECISION))
        }
        ('f' | 'e', Value::String(text)) if is_odd_number(text.as_str()) => {
            text.as_str().to_owned()
        }
        ('b', Value::Int(value)) => signed(*value, |value| format!("{value:b}")),
        ('b', Value::Uint(value)) => format!("{value:b}"),
        ('b', Value::Bool(value)) => if *value { "1" } else { "0" }.to_owned(),
        ('o', Value::Int(value)) => signed(*value, |value| format!("{value:o}")),
        ('o', Value::Uint(value)) => format!("{value:o}"),
        ('x', Value::Int(value)) => signed(*value, |value| format!("{value:x}")),
        ('X', Value::Int(value)) => signed(*value, |value| format!("{value:X}")),
        ('x', Value::Uint(value)) => format!("{value:x}"),
        ('X', Value::Uint(value)) => format!("{value:X}"),
        ('x' | 'X', Value::String(text)) => hexadecimal(text.as_str().as_bytes(), verb),
        ('x' | 'X', Value::Bytes(bytes)) => hexadecimal(bytes, verb),
        (verb, value) => return wrong(verb, value),
    })
}

fn wrong<T>(verb: char, value: &Value<'_>) -> Result<T, Fault> {
    let of = value.type_of();
    match wanted(verb) {
        Some(wanted) => {
            fails(format!("error during formatting: {wanted}, was given {}", of.name()))
        }
        None => fails(unknown(verb)),
    }
}

/// With commas between thousands, as readers of English have it.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut out = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}

fn is_odd_number(text: &str) -> bool {
    matches!(text, "NaN" | "Infinity" | "-Infinity")
}

fn signed(value: i64, write: fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", write(value.unsigned_abs()))
}

fn hexadecimal(bytes: &[u8], verb: char) -> String {
    let digits = bytes.iter().map(|byte| match verb {
        'X' => format!("{byte:02X}"),
        _ => format!("{byte:02x}"),
    });
    digits.collect()
}

/// As it is written for readers: the exponent in small digits.
fn scientific(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let power: i32 = exponent.parse().unwrap_or_default();
    let small = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let exponent = format!("{:02}", power.abs());
    let exponent = exponent.chars().filter_map(|digit| small.get(digit.to_digit(10)? as usize));
    let sign = if power < 0 { "⁻" } else { "" };
    format!("{digits}×10{sign}{}", exponent.collect::<String>())
}

/// A value as a text of its own.
fn shown(value: &Value<'_>) -> Result<String, Fault> {
    match value {
        Value::Null => Ok("null".to_owned()),
        Value::Type(of) => Ok(of.name().to_owned()),
        Value::List(_) | Value::Map(_) => inside(value),
        Value::Optional(_) | Value::Extra(_) | Value::Failed(_) => wrong('s', value),
        value => match convert::string(std::slice::from_ref(value))? {
            Value::String(text) => Ok(text.as_str().to_owned()),
            _ => overload(),
        },
    }
}

/// A value inside of a list or map.
fn inside(value: &Value<'_>) -> Result<String, Fault> {
    Ok(match value {
        Value::String(text) => go_quote(text.as_str()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("b{}", go_quote(text)),
            Err(_) => format!("b{}", go_quote(&to_base64(bytes))),
        },
        Value::Double(value) if value.is_finite() => format!("{value:.PRECISION$}"),
        Value::Double(value) => go_quote(&convert::go_double(*value)),
        Value::Timestamp(moment) => format!("timestamp({})", go_quote(&time::written(*moment))),
        Value::Duration(span) => format!("duration({})", go_quote(&time::seconds(*span))),
        Value::List(list) => {
            let items: Result<Vec<String>, Fault> = list.iter().map(|item| inside(&item)).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Map(map) => {
            let mut entries = Vec::new();
            for (key, value) in map.entries() {
                let key = match &key {
                    Key::Text(text) => go_quote(text.as_str()),
                    key => key.to_text().into_owned(),
                };
                entries.push((key, inside(&value)?));
            }
            entries.sort();
            let entries: Vec<_> =
                entries.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => shown(other)?,
    })
}
