//! Versions as in Semantic Versioning 2.0.0.

use super::{Function, Out, fails, overload, text};
use crate::{
    fault::Fault,
    value::{Extra, Value},
};
use std::{cmp::Ordering, sync::Arc};

/// A version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    numbers: [u64; 3],
    before: Vec<Part>,
}

/// A part of what comes before a release.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Number(u64),
    Word(String),
}

impl Version {
    /// Which is the earlier release; builds do not count.
    pub(crate) fn precedence(&self, other: &Self) -> Ordering {
        let before = match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => self.before.cmp(&other.before),
        };
        self.numbers.cmp(&other.numbers).then(before)
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let parts: Vec<&str> = text.splitn(3, '.').collect();
        let [major, minor, rest] = parts.as_slice() else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (rest, build) =
            rest.split_once('+').map_or((*rest, None), |(rest, build)| (rest, Some(build)));
        let (patch, before) =
            rest.split_once('-').map_or((rest, None), |(rest, before)| (rest, Some(before)));
        let numbers = [number("Major", major)?, number("Minor", minor)?, number("Patch", patch)?];
        let mut parsed = Vec::new();
        for part in before.into_iter().flat_map(|before| before.split('.')) {
            parsed.push(Part::parse(part)?);
        }
        for part in build.into_iter().flat_map(|build| build.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".to_owned());
            }
            if !is_word(part) {
                return Err(format!("Invalid character(s) found in build meta data \"{part}\""));
            }
        }
        Ok(Self { numbers, before: parsed })
    }

    /// With what is missing put in: `v1.2` is `1.2.0`.
    fn parse_loosely(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text
            .splitn(3, '.')
            .map(|part| {
                if part.len() < 2 {
                    return part.to_owned();
                }
                let trimmed = part.trim_start_matches('0');
                match trimmed.starts_with(|c: char| c.is_ascii_digit()) {
                    true => trimmed.to_owned(),
                    false => format!("0{trimmed}"),
                }
            })
            .collect();
        if parts.len() < 3 {
            if parts.last().is_some_and(|last| last.contains(['+', '-'])) {
                return Err("short version cannot contain PreRelease/Build meta data".to_owned());
            }
            parts.resize(3, "0".to_owned());
        }
        Self::parse(&parts.join("."))
    }
}

impl Part {
    fn parse(part: &str) -> Result<Self, String> {
        if part.is_empty() {
            return Err("Prerelease is empty".to_owned());
        }
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return match is_word(part) {
                true => Ok(Self::Word(part.to_owned())),
                false => Err(format!("Invalid character(s) found in prerelease \"{part}\"")),
            };
        }
        if part.len() > 1 && part.starts_with('0') {
            return Err(format!(
                "Numeric PreRelease version must not contain leading zeroes \"{part}\""
            ));
        }
        part.parse()
            .map(Self::Number)
            .map_err(|_| format!("strconv.ParseUint: parsing \"{part}\": value out of range"))
    }
}

fn is_word(part: &str) -> bool {
    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn number(name: &str, part: &str) -> Result<u64, String> {
    if !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "Invalid character(s) found in {} number \"{part}\"",
            name.to_lowercase()
        ));
    }
    if part.len() > 1 && part.starts_with('0') {
        return Err(format!("{name} number must not contain leading zeroes \"{part}\""));
    }
    let why = if part.is_empty() { "invalid syntax" } else { "value out of range" };
    part.parse().map_err(|_| format!("strconv.ParseUint: parsing \"{part}\": {why}"))
}

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "semver" => |args| match parsed(args)? {
            Ok(version) => Ok(Value::Extra(Extra::Semver(Arc::new(version)))),
            Err(why) => fails(why),
        },
        "isSemver" => |args| Ok(Value::Bool(parsed(args)?.is_ok())),
        "major" => |args| of(args, 0),
        "minor" => |args| of(args, 1),
        "patch" => |args| of(args, 2),
        _ => return None,
    })
}

fn parsed(args: &[Value<'_>]) -> Result<Result<Version, String>, Fault> {
    let written = text(args, 0)?;
    Ok(match args.get(1) {
        Some(Value::Bool(true)) => Version::parse_loosely(written),
        None | Some(Value::Bool(false)) => Version::parse(written),
        _ => return overload(),
    })
}

fn of<'a>(args: &[Value<'a>], index: usize) -> Out<'a> {
    match &args[0] {
        Value::Extra(Extra::Semver(version)) => {
            Ok(Value::Int(i64::try_from(version.numbers[index]).unwrap_or(i64::MAX)))
        }
        _ => overload(),
    }
}
