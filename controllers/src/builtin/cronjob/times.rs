//! The times of a schedule around now.

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::api::batch::v1::CronJob;
use kubeplane_workload::cron::{Schedule, ScheduleError, time_zone};
use std::time::Duration;

/// How much later than its time a schedule is looked at, so that a clock a little late does not miss it.
const SLACK: Duration = Duration::from_millis(100);
/// More missed times than this are worth a warning.
const MANY: i64 = 100;

/// The schedule in its time zone; an unknown zone counts as none.
pub(super) fn schedule(cron: &CronJob) -> Result<Schedule, ScheduleError> {
    let text = cron.spec.schedule.as_str();
    let zone = cron.spec.time_zone.as_deref();
    match zone.filter(|zone| !text.contains("TZ") && time_zone(zone).is_ok()) {
        Some(zone) => Schedule::parse(&format!("TZ={zone} {text}")),
        None => Schedule::parse(text),
    }
}

/// The schedule has no times, as one on a day that no month has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Never;

/// What has been due since the last start.
#[derive(Debug, PartialEq, Eq)]
struct Missed {
    earliest: Timestamp,
    latest: Option<Timestamp>,
    count: i64,
}

fn next(schedule: &Schedule, after: Timestamp) -> Result<Timestamp, Never> {
    let next = schedule.next_after(&after.to_zoned(TimeZone::UTC)).ok_or(Never)?;
    Ok(next.timestamp())
}

fn missed(
    cron: &CronJob,
    schedule: &Schedule,
    now: Timestamp,
    with_deadline: bool,
) -> Result<Missed, Never> {
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let first = last.or(cron.metadata.creation_timestamp.as_ref());
    let mut earliest = first.map_or(now, |time| time.0);
    if let Some(seconds) = deadline(cron).filter(|_| with_deadline) {
        let start = now.saturating_sub(SignedDuration::from_secs(seconds));
        earliest = earliest.max(start.unwrap_or(earliest));
    }
    let one = next(schedule, earliest)?;
    if now < one {
        return Ok(Missed { earliest, latest: None, count: 0 });
    }
    let two = next(schedule, one)?;
    if now < two {
        return Ok(Missed { earliest, latest: Some(one), count: 0 });
    }
    let between = two.duration_since(one).as_secs().max(1);
    let count = now.duration_since(one).as_secs() / between + 1;
    // The times may be unevenly spread, so the last steps are taken one by one.
    let jump = SignedDuration::from_secs((count - 2).saturating_mul(between));
    let mut time = next(schedule, one.saturating_add(jump).unwrap_or(one))?;
    let mut latest = None;
    while time <= now {
        latest = Some(time);
        time = next(schedule, time)?;
    }
    Ok(Missed { earliest, latest, count })
}

fn deadline(cron: &CronJob) -> Option<i64> {
    cron.spec.starting_deadline_seconds
}

/// The latest time that is due, and whether very many before it were missed.
pub(super) fn due(
    cron: &CronJob,
    schedule: &Schedule,
    now: Timestamp,
) -> Result<Option<(Timestamp, bool)>, Never> {
    let missed = missed(cron, schedule, now, true)?;
    Ok(missed.latest.map(|latest| (latest, missed.count > MANY)))
}

/// How long until the next time.
pub(super) fn until_next(cron: &CronJob, schedule: &Schedule, now: Timestamp) -> Duration {
    let from = match missed(cron, schedule, now, false) {
        Ok(missed) => {
            missed.latest.unwrap_or(if missed.count == 0 { missed.earliest } else { now })
        }
        Err(Never) => now,
    };
    // Where there is none, it is told at once.
    let next = next(schedule, from).unwrap_or(now);
    Duration::try_from(next.duration_since(now)).unwrap_or_default().saturating_add(SLACK)
}

/// Whether it is too late to start what was due at `time`.
pub(super) fn is_too_late(cron: &CronJob, time: Timestamp, now: Timestamp) -> bool {
    deadline(cron).is_some_and(|seconds| now.duration_since(time).as_secs_f64() > seconds as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cron(schedule: &str, zone: Option<&str>, deadline: Option<i64>) -> CronJob {
        serde_json::from_value(json!({
            "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"schedule": schedule, "timeZone": zone, "startingDeadlineSeconds": deadline,
                "jobTemplate": {}},
        }))
        .unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_latest_missed_time_is_due_unless_its_deadline_has_passed() {
        let table = [
            ("0 * * * *", None, "2026-01-01T00:59:59Z", None, false),
            ("0 * * * *", None, "2026-01-01T01:10:00Z", Some("2026-01-01T01:00:00Z"), false),
            ("0 * * * *", None, "2026-01-03T01:10:00Z", Some("2026-01-03T01:00:00Z"), false),
            ("* * * * *", None, "2026-01-01T03:00:30Z", Some("2026-01-01T03:00:00Z"), true),
            ("* * * * *", Some(90), "2026-01-01T03:00:30Z", Some("2026-01-01T03:00:00Z"), false),
            ("0 * * * *", Some(60), "2026-01-01T03:10:00Z", None, false),
            ("0 9 * * MON-FRI", None, "2026-01-05T10:00:00Z", Some("2026-01-05T09:00:00Z"), false),
        ];
        for (text, deadline, now, expected, many) in table {
            let cron = cron(text, None, deadline);
            let schedule = schedule(&cron).unwrap();
            let expected = expected.map(|time| (at(time), many));
            assert_eq!(due(&cron, &schedule, at(now)), Ok(expected), "{text} at {now}");
        }
        let never = cron("59 23 31 2 *", None, None);
        let none = schedule(&never).unwrap();
        assert_eq!(due(&never, &none, at("2026-01-02T00:00:00Z")), Err(Never));
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let cron = cron("0 6 * * *", Some("America/New_York"), None);
        let schedule = schedule(&cron).unwrap();
        let left = until_next(&cron, &schedule, at("2026-01-01T10:00:00Z"));
        assert_eq!(left, Duration::from_secs(3600) + SLACK);
    }
}
