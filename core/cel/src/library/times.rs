//! The parts of moments and spans of time.

use super::{Function, Out, fails, overload, text};
use crate::{fault::Fault, value::Value};
use jiff::{
    Zoned,
    tz::{Offset, TimeZone},
};

pub(super) fn named(name: &str) -> Option<Function> {
    Some(match name {
        "getFullYear" => |args| part(args, |at| i64::from(at.year()), None),
        "getMonth" => |args| part(args, |at| i64::from(at.month()) - 1, None),
        "getDayOfYear" => |args| part(args, |at| i64::from(at.day_of_year()) - 1, None),
        "getDayOfMonth" => |args| part(args, |at| i64::from(at.day()) - 1, None),
        "getDate" => |args| part(args, |at| i64::from(at.day()), None),
        "getDayOfWeek" => {
            |args| part(args, |at| i64::from(at.weekday().to_sunday_zero_offset()), None)
        }
        "getHours" => |args| part(args, |at| i64::from(at.hour()), Some(3_600_000_000_000)),
        "getMinutes" => |args| part(args, |at| i64::from(at.minute()), Some(60_000_000_000)),
        "getSeconds" => |args| part(args, |at| i64::from(at.second()), Some(1_000_000_000)),
        "getMilliseconds" => milliseconds,
        _ => return None,
    })
}

/// A part of a moment, or how often so many nanoseconds are in a span.
fn part<'a>(args: &[Value<'a>], of: fn(&Zoned) -> i64, nanoseconds: Option<i64>) -> Out<'a> {
    match (&args[0], nanoseconds) {
        (Value::Timestamp(moment), _) => {
            let zone = if args.len() > 1 { zone(text(args, 1)?)? } else { TimeZone::UTC };
            Ok(Value::Int(of(&moment.to_zoned(zone))))
        }
        (Value::Duration(span), Some(unit)) => Ok(Value::Int(span / unit)),
        _ => overload(),
    }
}

fn milliseconds<'a>(args: &[Value<'a>]) -> Out<'a> {
    match &args[0] {
        Value::Duration(span) => Ok(Value::Int(span / 1_000_000)),
        _ => part(args, |at| i64::from(at.millisecond()), None),
    }
}

/// A zone by its name, or by its hours and minutes as `-08:00`.
fn zone(name: &str) -> Result<TimeZone, Fault> {
    let unknown = || Fault::new(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return match name {
            "" | "UTC" => Ok(TimeZone::UTC),
            name => TimeZone::get(name).map_err(|_| unknown()),
        };
    };
    let (negative, hours) = match hours.strip_prefix('-') {
        Some(hours) => (true, hours),
        None => (false, hours),
    };
    let hours: i32 = hours.parse().map_err(|_| unknown())?;
    let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
    let seconds = (hours * 60 + minutes) * 60;
    match Offset::from_seconds(if negative { -seconds } else { seconds }) {
        Ok(offset) => Ok(TimeZone::fixed(offset)),
        Err(_) => fails(format!("unknown time zone {name}")),
    }
}
