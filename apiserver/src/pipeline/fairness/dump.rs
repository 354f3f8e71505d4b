//! What the levels do right now, for people, at the original's paths and in its form: values with commas, in columns.

use super::{
    desk::{Desk, Entry, Level, Levels, Queue, Work},
    estimate::Width,
};
use crate::{
    api::Api,
    body::{self, Body},
    handler::Route,
    output,
    query::Query,
};
use async_trait::async_trait;
use http::{HeaderValue, Response, header, request::Parts};
use jiff::{SignedDuration, Timestamp};
use kubeplane_core::{GroupVersion, status::ApiResult};
use std::{fmt::Write, sync::Arc, time::Duration};

/// Where it is served.
const PATH: &str = "/debug/api_priority_and_fairness";
/// How wide a column is at least.
const NARROWEST: usize = 8;
/// The time of what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

const LEVELS: [&str; 10] = [
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: [&str; 9] = [
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
/// The third is spelled as in the original.
const REQUESTS: [&str; 10] = [
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAILS: [&str; 8] =
    ["UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource"];

type Row = Vec<String>;

/// The route of the three tables.
#[derive(Debug)]
pub(crate) struct Dump(Arc<Desk>);

impl Dump {
    pub(crate) const PATH: &str = PATH;

    pub(crate) fn new(desk: Arc<Desk>) -> Self {
        Self(desk)
    }
}

#[async_trait]
impl Route for Dump {
    async fn serve(&self, _api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let now = Now { elapsed: self.0.clock().elapsed(), time: self.0.clock().now() };
        let text = match head.uri.path().strip_prefix(PATH).unwrap_or_default() {
            "/dump_priority_levels" => self.0.look(levels),
            "/dump_queues" => self.0.look(queues),
            "/dump_requests" => {
                let detailed = !Query::of(&head.uri).text("includeRequestDetails").is_empty();
                self.0.look(|levels| requests(levels, now, detailed))
            }
            _ => return Ok(output::nowhere()),
        };
        let mut response = Response::new(body::full(text));
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        Ok(response)
    }
}

/// Requests that no schema is about have a level without a name, which is not shown.
fn named(levels: &Levels) -> impl Iterator<Item = (&str, &Level)> {
    levels.iter().map(|(name, level)| (&**name, level)).filter(|(name, _)| !name.is_empty())
}

fn levels(levels: &Levels) -> String {
    let row = |(name, level): (&str, &Level)| -> Row {
        let active = level.queues.values().filter(|queue| queue.waiting().next().is_some()).count();
        let counts = level.counts;
        vec![
            name.to_owned(),
            active.to_string(),
            level.is_idle().to_string(),
            level.ending.to_string(),
            level.waiting.to_string(),
            level.executing.to_string(),
            counts.dispatched.to_string(),
            counts.rejected.to_string(),
            // The original counts who waited too long with those who went away.
            0.to_string(),
            counts.cancelled.to_string(),
        ]
    };
    table(&LEVELS, named(levels).map(row).collect())
}

fn queues(levels: &Levels) -> String {
    let mut rows = Vec::new();
    for (name, level) in named(levels) {
        let wanted = level.limits.queuing.map_or(0, |queuing| queuing.queues);
        let last = level.queues.last_key_value().map_or(0, |(index, _)| index + 1);
        for index in 0..wanted.max(last) {
            let queue = level.queues.get(&index);
            let sum = |entries: &dyn Fn(&Queue) -> usize| queue.map_or(0, entries).to_string();
            let waiting = sum(&|queue| queue.waiting().len());
            rows.push(vec![
                name.to_owned(),
                index.to_string(),
                waiting,
                sum(&|queue| queue.serving().len()),
                sum(&|queue| seats(queue.serving(), Width::most)),
                level.start(index).to_string(),
                sum(&|queue| seats(queue.waiting(), |width| width.seats)),
                sum(&|queue| seats(queue.waiting(), Width::most)),
                queue.map_or(Work::default(), |queue| queue.work).to_string(),
            ]);
        }
    }
    table(&QUEUES, rows)
}

fn seats<'e>(entries: impl Iterator<Item = &'e Entry>, of: impl Fn(Width) -> usize) -> usize {
    entries.map(|entry| of(entry.asked.width)).sum()
}

fn requests(levels: &Levels, now: Now, detailed: bool) -> String {
    let mut rows = Vec::new();
    for (name, level) in named(levels) {
        let mut add = |queue: Option<usize>, place: Option<usize>, entry: &Entry| {
            let mut row = request(name, [queue, place], entry, now);
            if detailed {
                row.extend(details(entry));
            }
            rows.push(row);
        };
        for (index, queue) in &level.queues {
            for (place, entry) in queue.waiting().enumerate() {
                add(Some(*index), Some(place), entry);
            }
            queue.serving().for_each(|entry| add(Some(*index), None, entry));
        }
        level.unqueued.values().for_each(|entry| add(None, None, entry));
    }
    let heads = if detailed { [&REQUESTS[..], &DETAILS].concat() } else { REQUESTS.to_vec() };
    table(&heads, rows)
}

/// `place` is the queue and the place in it, as far as there are any.
fn request(level: &str, place: [Option<usize>; 2], entry: &Entry, now: Now) -> Row {
    let [queue, index] =
        place.map(|at| at.map_or_else(|| "-1".to_owned(), |index| index.to_string()));
    let asked = &entry.asked;
    let distinguisher = asked.by.map(|by| by.distinguisher(&asked.info, &asked.user));
    vec![
        level.to_owned(),
        asked.schema.to_string(),
        queue,
        index,
        distinguisher.unwrap_or_default().to_owned(),
        now.shown(entry.arrived),
        asked.width.seats.to_string(),
        asked.width.last.to_string(),
        duration(asked.width.linger),
        entry.began.map_or_else(|| NEVER.to_owned(), |began| now.shown(began)),
    ]
}

/// As the original writes it, below a minute.
fn duration(time: Duration) -> String {
    let (amount, unit) = match time {
        Duration::ZERO => (0.0, "s"),
        time if time < Duration::from_millis(1) => (time.as_secs_f64() * 1e6, "µs"),
        time if time < Duration::from_secs(1) => (time.as_secs_f64() * 1e3, "ms"),
        time => (time.as_secs_f64(), "s"),
    };
    // No more digits than a nanosecond has.
    let amount = (amount * 1e6).round() / 1e6;
    format!("{amount}{unit}")
}

fn details(entry: &Entry) -> Row {
    let (info, user) = (&entry.asked.info, &entry.asked.user);
    let version = GroupVersion::new(info.group.clone(), info.version.clone());
    vec![
        user.name.clone(),
        info.verb.clone(),
        info.path.clone(),
        info.namespace.clone(),
        info.name.clone(),
        version.to_string(),
        info.resource.clone(),
        info.subresource.clone(),
    ]
}

/// The time, in both of a clock's forms.
#[derive(Debug, Clone, Copy)]
struct Now {
    elapsed: Duration,
    time: Timestamp,
}

impl Now {
    fn shown(self, at: Duration) -> String {
        let ago = SignedDuration::try_from(self.elapsed.saturating_sub(at)).unwrap_or_default();
        self.time.checked_sub(ago).unwrap_or(self.time).to_string()
    }
}

/// Values with commas behind all but the last, all of a column equally wide.
fn table(heads: &[&str], rows: Vec<Row>) -> String {
    let heads: Row = heads.iter().map(|head| (*head).to_owned()).collect();
    let last = heads.len() - 1;
    let rows: Vec<Row> = std::iter::once(heads).chain(rows).collect();
    // The comma, and a space at least.
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        (longest.unwrap_or_default() + 2).max(NARROWEST)
    };
    let widths: Vec<usize> = (0..last).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (value, width) in row.iter().zip(&widths) {
            let cell = format!("{value},");
            // Writing to memory cannot fail.
            let _ = write!(out, "{cell:<width$}");
        }
        out.push_str(&row[last]);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_value() {
        let row = |values: [&str; 3]| values.map(str::to_owned).to_vec();
        let text = table(&["PriorityLevelName", "Index", "R"], vec![row(["a", "1", "0.5ss"])]);
        assert_eq!(text, "PriorityLevelName, Index,  R\na,                 1,      0.5ss\n");
    }

    #[test]
    fn work_is_printed_with_eight_places_and_time_with_those_it_has() {
        let work = |seats| Work::of(seats, Duration::from_millis(3)).to_string();
        assert_eq!(work(0.0), "0.00000000ss");
        assert_eq!(work(2.0), "0.00600000ss");
        assert_eq!(work(1000.0), "3.00000000ss");
        let times = [0, 5_000_000, 7_500_000, 1_250_000_000].map(Duration::from_nanos);
        assert_eq!(times.map(duration), ["0s", "5ms", "7.5ms", "1.25s"]);
    }
}
