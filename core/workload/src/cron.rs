//! Schedules of CronJobs: the five fields of cron, descriptors like `@daily`, and `@every 90m`.

use jiff::{SignedDuration, Span, Zoned, civil::Weekday, tz::TimeZone};
use std::fmt;

/// Set beside the bits of a field that was written as `*` or `?`.
const STAR: u64 = 1 << 63;
/// A schedule with no time in so many years has none.
const YEARS: i16 = 5;
const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Why a schedule is not understood, in the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(String);

type Parsed<T> = Result<T, ScheduleError>;

fn refuse<T>(text: impl fmt::Display) -> Parsed<T> {
    Err(ScheduleError(text.to_string()))
}

/// When something happens again and again.
///
/// ```
/// use kubeplane_workload::cron::Schedule;
/// let schedule = Schedule::parse("30 6 * * MON-FRI")?;
/// let friday = "2026-01-02T07:00[Europe/Berlin]".parse().unwrap();
/// assert_eq!(schedule.next_after(&friday).unwrap().to_string(), "2026-01-05T06:30:00+01:00[Europe/Berlin]");
/// # Ok::<(), kubeplane_workload::cron::ScheduleError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    times: Times,
    /// Named in the schedule itself.
    zone: Option<TimeZone>,
}

#[derive(Debug, Clone, PartialEq)]
enum Times {
    Fields { minutes: u64, hours: u64, days: u64, months: u64, weekdays: u64 },
    Every(SignedDuration),
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// Too few or many fields, numbers out of range, unknown names, descriptors or time zones.
    pub fn parse(text: &str) -> Parsed<Self> {
        let (mut text, mut zone) = (text, None);
        if text.is_empty() {
            return refuse("empty spec string");
        }
        if let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
            let Some((name, rest)) = rest.split_once(' ') else {
                return refuse(
                    "invalid schedule format: runtime error: slice bounds out of range [:-1]",
                );
            };
            let found = time_zone(name);
            let found = found
                .map_err(|why| ScheduleError(format!("provided bad location {name}: {why}")))?;
            (text, zone) = (rest.trim(), Some(found));
        }
        let times = if text.starts_with('@') { descriptor(text)? } else { fields(text)? };
        Ok(Self { times, zone })
    }

    /// The first time after this one, in its time zone unless the schedule names one; `None` if there is none within
    /// five years.
    #[must_use]
    pub fn next_after(&self, time: &Zoned) -> Option<Zoned> {
        if let Times::Every(every) = self.times {
            let whole = time.with().subsec_nanosecond(0).build().ok()?;
            return whole.checked_add(every).ok();
        }
        let zone = self.zone.as_ref().unwrap_or_else(|| time.time_zone());
        let mut next = time.with_time_zone(zone.clone());
        next = next.with().second(0).subsec_nanosecond(0).build().ok()?;
        next = next.checked_add(SignedDuration::from_mins(1)).ok()?;
        let last = next.year().saturating_add(YEARS);
        while next.year() <= last {
            next = match self.step(&next)? {
                None => return Some(next.with_time_zone(time.time_zone().clone())),
                Some(later) => later,
            };
        }
        None
    }

    /// The earliest time after one that does not match that may match; nothing inside if this one does.
    #[expect(clippy::option_option, reason = "the outer one is about what a calendar can hold")]
    fn step(&self, time: &Zoned) -> Option<Option<Zoned>> {
        let Times::Fields { minutes, hours, months, .. } = self.times else { return Some(None) };
        let has = |bits: u64, number: i8| bits & (1 << u32::from(number.unsigned_abs())) != 0;
        let minutes_on =
            |count: i8| time.checked_add(SignedDuration::from_mins(i64::from(count))).ok();
        if !has(months, time.month()) {
            let first = time.first_of_month().ok()?.checked_add(Span::new().months(1)).ok()?;
            return Some(Some(first.start_of_day().ok()?));
        }
        if !self.day_matches(time) {
            let next = time.start_of_day().ok()?.checked_add(Span::new().days(1)).ok()?;
            return Some(Some(next.start_of_day().ok()?));
        }
        if !has(hours, time.hour()) {
            return Some(Some(minutes_on(60 - time.minute())?));
        }
        if !has(minutes, time.minute()) {
            return Some(Some(minutes_on(1)?));
        }
        Some(None)
    }

    /// Days of the month and of the week both count if one of them is a star, else either does.
    fn day_matches(&self, time: &Zoned) -> bool {
        let Times::Fields { days, weekdays, .. } = self.times else { return false };
        let weekday = match time.weekday() {
            Weekday::Sunday => 0,
            other => u32::from(other.to_monday_one_offset().unsigned_abs()),
        };
        let day = days & (1 << u32::from(time.day().unsigned_abs())) != 0;
        let weekday = weekdays & (1 << weekday) != 0;
        if days & STAR != 0 || weekdays & STAR != 0 { day && weekday } else { day || weekday }
    }
}

/// The time zone of this exact name.
///
/// # Errors
/// No such zone, in the original's words.
pub fn time_zone(name: &str) -> Result<TimeZone, String> {
    match name {
        "" | "UTC" => return Ok(TimeZone::UTC),
        "Local" => return Ok(TimeZone::system()),
        _ if name.starts_with(['/', '\\']) || name.split('/').any(|part| part == "..") => {
            return Err("time: invalid location name".to_owned());
        }
        _ => {}
    }
    let found = TimeZone::get(name).ok().filter(|zone| zone.iana_name() == Some(name));
    found.ok_or_else(|| format!("unknown time zone {name}"))
}

fn fields(text: &str) -> Parsed<Times> {
    let fields: Vec<_> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return refuse(format_args!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        ));
    };
    Ok(Times::Fields {
        minutes: field(minute, 0, 59, &[])?,
        hours: field(hour, 0, 23, &[])?,
        days: field(day, 1, 31, &[])?,
        months: field(month, 1, 12, MONTHS)?,
        weekdays: field(weekday, 0, 6, DAYS)?,
    })
}

/// The bits of a field; `names` stand for numbers from the least one on.
fn field(text: &str, low: u64, high: u64, names: &[&str]) -> Parsed<u64> {
    let mut bits = 0;
    for part in text.split(',').filter(|part| !part.is_empty()) {
        bits |= range(part, low, high, names)?;
    }
    Ok(bits)
}

/// `5`, `*`, `1-5`, `*/10`, `5/10`, `1-30/5`.
fn range(text: &str, low: u64, high: u64, names: &[&str]) -> Parsed<u64> {
    let parts: Vec<_> = text.split('/').collect();
    let bounds: Vec<_> = parts[0].split('-').collect();
    let number = |text: &str| {
        let known = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        match known.and_then(|index| u64::try_from(index).ok()) {
            Some(index) => Ok(low + index),
            None => integer(text),
        }
    };
    let star = matches!(bounds[0], "*" | "?");
    let (start, mut end) = match bounds[..] {
        _ if star => (low, high),
        [only] => {
            let only = number(only)?;
            (only, only)
        }
        [start, end] => (number(start)?, number(end)?),
        _ => return refuse(format_args!("too many hyphens: {text}")),
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => integer(step)?,
        _ => return refuse(format_args!("too many slashes: {text}")),
    };
    if parts.len() == 2 && bounds.len() == 1 {
        end = high;
    }
    if start < low {
        return refuse(format_args!("beginning of range ({start}) below minimum ({low}): {text}"));
    }
    if end > high {
        return refuse(format_args!("end of range ({end}) above maximum ({high}): {text}"));
    }
    if start > end {
        return refuse(format_args!(
            "beginning of range ({start}) beyond end of range ({end}): {text}"
        ));
    }
    if step == 0 {
        return refuse(format_args!("step of range should be a positive number: {text}"));
    }
    let mut bits = if star && step == 1 { STAR } else { 0 };
    let mut at = start;
    while at <= end {
        bits |= 1 << at;
        at = at.saturating_add(step);
    }
    Ok(bits)
}

fn integer(text: &str) -> Parsed<u64> {
    let number: i64 = match text.parse::<i64>() {
        Ok(number) => number,
        Err(error) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let why = match error.kind() {
                PosOverflow | NegOverflow => "value out of range",
                _ => "invalid syntax",
            };
            return refuse(format_args!(
                "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}"
            ));
        }
    };
    let negative = || ScheduleError(format!("negative number ({number}) not allowed: {text}"));
    u64::try_from(number).map_err(|_| negative())
}

fn descriptor(text: &str) -> Parsed<Times> {
    let fields = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let Some(duration) = text.strip_prefix("@every ") else {
                return refuse(format_args!("unrecognized descriptor: {text}"));
            };
            let parsed = kubeplane_core::duration::parse(duration);
            let nanos = parsed
                .map_err(|why| ScheduleError(format!("failed to parse duration {text}: {why}")))?;
            let seconds = (nanos / 1_000_000_000).max(1);
            return Ok(Times::Every(SignedDuration::from_secs(seconds)));
        }
    };
    self::fields(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(schedule: &str, time: &str) -> String {
        let next = Schedule::parse(schedule).unwrap().next_after(&time.parse().unwrap());
        next.map_or_else(|| "never".to_owned(), |next| next.datetime().to_string())
    }

    #[test]
    fn the_next_time_is_found() {
        let table = [
            ("* * * * *", "2026-01-01T00:00[UTC]", "2026-01-01T00:01:00"),
            ("*/15 * * * *", "2026-01-01T00:15:30[UTC]", "2026-01-01T00:30:00"),
            ("0 0 29 2 *", "2026-01-01T00:00[UTC]", "2028-02-29T00:00:00"),
            ("0 0 31 2 *", "2026-01-01T00:00[UTC]", "never"),
            ("0 12 13 * fri", "2026-01-01T00:00[UTC]", "2026-01-02T12:00:00"),
            ("0 0 * JAN-MAR/2 ?", "2026-02-01T00:00[UTC]", "2026-03-01T00:00:00"),
            ("30 2 * * *", "2026-03-29T00:00[Europe/Berlin]", "2026-03-30T02:30:00"),
            ("TZ=Asia/Tokyo 0 9 * * *", "2026-01-01T00:00[UTC]", "2026-01-02T00:00:00"),
            ("@weekly", "2026-01-01T00:00[UTC]", "2026-01-04T00:00:00"),
            ("@every 1h30m", "2026-01-01T00:00:00.5[UTC]", "2026-01-01T01:30:00"),
        ];
        for (schedule, time, expected) in table {
            assert_eq!(next(schedule, time), expected, "{schedule} after {time}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        let table = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            (
                "x * * * *",
                "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            ("@never", "unrecognized descriptor: @never"),
            ("@every 5", "failed to parse duration @every 5: time: missing unit in duration \"5\""),
            ("TZ=No/Such * * * * *", "provided bad location No/Such: unknown time zone No/Such"),
        ];
        for (schedule, expected) in table {
            let error = Schedule::parse(schedule).unwrap_err();
            assert_eq!(error.to_string(), expected, "{schedule}");
        }
        assert!(time_zone("europe/berlin").is_err());
    }
}
