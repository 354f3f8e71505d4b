//! Numbers and texts as they are written.

use crate::ast::Literal;

pub(super) enum Unquoted {
    String(String),
    Bytes(Vec<u8>),
}

/// The number of such a text.
pub(super) fn number(text: &str) -> Result<Literal, String> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let unsigned = digits.strip_suffix(['u', 'U']);
    let digits = unsigned.unwrap_or(digits);
    let hexadecimal = digits.strip_prefix("0x");
    if hexadecimal.is_none() && digits.contains(['.', 'e', 'E']) {
        let value = text.parse().ok().filter(|value: &f64| value.is_finite());
        return value.map(Literal::Double).ok_or_else(|| "invalid double literal".to_owned());
    }
    let parse = |sign: &str| match hexadecimal {
        Some(digits) => i128::from_str_radix(&format!("{sign}{digits}"), 16),
        None => format!("{sign}{digits}").parse::<i128>(),
    };
    let value = parse(if negative { "-" } else { "" }).ok();
    if unsigned.is_some() {
        let value = value.and_then(|value| u64::try_from(value).ok());
        return value.map(Literal::Uint).ok_or_else(|| "invalid uint literal".to_owned());
    }
    let value = value.and_then(|value| i64::try_from(value).ok());
    value.map(Literal::Int).ok_or_else(|| "invalid int literal".to_owned())
}

/// The text between quotes without its escapes.
pub(super) fn unquoted(inner: &[char], raw: bool, bytes: bool) -> Result<Unquoted, String> {
    let mut out = Out { bytes: Vec::new(), is_bytes: bytes };
    let mut rest = inner.iter().copied().peekable();
    while let Some(c) = rest.next() {
        if c == '\r' {
            // Line ends are one character each.
            if rest.peek() == Some(&'\n') {
                rest.next();
            }
            out.character('\n');
        } else if c != '\\' || raw {
            out.character(c);
        } else {
            escaped(&mut rest, &mut out)?;
        }
    }
    Ok(match bytes {
        true => Unquoted::Bytes(out.bytes),
        false => Unquoted::String(String::from_utf8_lossy(&out.bytes).into_owned()),
    })
}

struct Out {
    bytes: Vec<u8>,
    is_bytes: bool,
}

impl Out {
    fn character(&mut self, c: char) {
        self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// What a number stands for: a byte among bytes, a character among characters.
    fn code(&mut self, code: u32) -> Result<(), String> {
        match u8::try_from(code) {
            Ok(byte) if self.is_bytes => self.bytes.push(byte),
            _ => self.character(char::from_u32(code).ok_or("unable to unescape string")?),
        }
        Ok(())
    }
}

type Rest<'a> = std::iter::Peekable<std::iter::Copied<std::slice::Iter<'a, char>>>;

const WRONG: &str = "unable to unescape string";

fn escaped(rest: &mut Rest<'_>, out: &mut Out) -> Result<(), String> {
    let plain = match rest.next().ok_or(WRONG)? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        c @ ('\\' | '\'' | '"' | '`' | '?') => c,
        'x' | 'X' => return out.code(digits(rest, 2, 16, 0)?),
        'u' if !out.is_bytes => return out.code(digits(rest, 4, 16, 0)?),
        'U' if !out.is_bytes => return out.code(digits(rest, 8, 16, 0)?),
        c @ '0'..='3' => return out.code(digits(rest, 2, 8, c.to_digit(8).unwrap_or(0))?),
        _ => return Err(WRONG.to_owned()),
    };
    out.character(plain);
    Ok(())
}

/// So many digits, after what came before.
fn digits(rest: &mut Rest<'_>, count: usize, radix: u32, start: u32) -> Result<u32, String> {
    let mut code = start;
    for _ in 0..count {
        let digit = rest.next().and_then(|c| c.to_digit(radix)).ok_or(WRONG)?;
        code = code.checked_mul(radix).and_then(|code| code.checked_add(digit)).ok_or(WRONG)?;
    }
    Ok(code)
}
