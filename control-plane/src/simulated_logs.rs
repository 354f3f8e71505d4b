//! `pods/log` of pods whose nodes have no kubelet: what their annotations say they said.

use crate::ways::Ways;
use async_trait::async_trait;
use axum::body::Body as Stream;
use futures::future::BoxFuture;
use http::{Response, header};
use jiff::Timestamp;
use kubeplane_apiserver::{Api, Body, Handler, HandlerRequest, Query, body};
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult},
};
use kubeplane_handlers::PodLog;
use kubeplane_simulated::Logs;
use serde_json::Value;
use std::{fmt::Write as _, io, sync::Arc, time::Duration};

/// Answers for nodes without kubelets as long as the ways to them are open, and passes on what is asked of others.
#[derive(Debug)]
pub(crate) struct LogsOfAll {
    pub(crate) kubelets: PodLog,
    pub(crate) ways: Arc<dyn Ways>,
}

#[async_trait]
impl Handler for LogsOfAll {
    async fn handle(&self, request: HandlerRequest) -> ApiResult<Response<Body>> {
        match own(&request, &*self.ways).await? {
            Some(log) => {
                let parted = self.ways.cut(log.pod.text(&["spec", "nodeName"]));
                log.answer(request.api, parted).await
            }
            None => self.kubelets.handle(request).await,
        }
    }
}

/// The log of one container.
struct Log {
    pod: Object,
    container: String,
    wish: Wish,
}

/// What is asked for of it.
#[derive(Debug, Default)]
struct Wish {
    follow: bool,
    previous: bool,
    timestamps: bool,
    tail: Option<u64>,
    bytes: Option<usize>,
    since: Option<Timestamp>,
}

impl Wish {
    /// `None` when something is wrong with it, which others say.
    fn of(query: &Query, now: Timestamp) -> Option<Self> {
        let number =
            |name: &str| query.integer(name).ok().map(|value| value.filter(|own| *own >= 0));
        let since = match number("sinceSeconds")? {
            Some(seconds) => {
                Some(now.saturating_sub(Duration::from_secs(seconds.unsigned_abs())).ok()?)
            }
            None => query.first("sinceTime").map(str::parse).transpose().ok()?,
        };
        Some(Self {
            follow: query.flag("follow") == Some(true),
            previous: query.flag("previous") == Some(true),
            timestamps: query.flag("timestamps") == Some(true),
            tail: number("tailLines")?.map(i64::unsigned_abs),
            bytes: number("limitBytes")?.and_then(|bytes| usize::try_from(bytes).ok()),
            since,
        })
    }
}

/// A log that is ours to tell; whatever is wrong with the request others say.
async fn own(request: &HandlerRequest, ways: &dyn Ways) -> ApiResult<Option<Log>> {
    let reader = request.api.reader();
    let pods = GroupResource::new("", "pods");
    let info = &request.info;
    let Some(pod) = reader.get(&pods, &info.namespace, &info.name).await? else { return Ok(None) };
    let node = pod.text(&["spec", "nodeName"]);
    if node.is_empty() || ways.is_cut(node) {
        return Ok(None);
    }
    let node = reader.get(&GroupResource::new("", "nodes"), "", node).await?;
    if !node.is_some_and(|node| crate::metrics_api::is_simulated(&node)) {
        return Ok(None);
    }
    let query = request.query();
    let Some(wish) = Wish::of(&query, request.api.clock().now()) else { return Ok(None) };
    let names: Vec<_> = containers(&pod).collect();
    let container = match (query.text("container"), names.as_slice()) {
        ("", [only]) => (*only).to_owned(),
        (named, names) if names.contains(&named) => named.to_owned(),
        _ => return Ok(None),
    };
    Ok(Some(Log { pod: Object::clone(&pod), container, wish }))
}

fn containers(pod: &Object) -> impl Iterator<Item = &str> {
    let all = pod.at(&["spec", "containers"]).and_then(Value::as_array);
    all.into_iter().flatten().filter_map(|own| own["name"].as_str())
}

/// A time in which a container ran.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: Timestamp,
    /// Not there while it runs.
    end: Option<Timestamp>,
}

fn status<'a>(pod: &'a Object, container: &str) -> Option<&'a Value> {
    let all = pod.at(&["status", "containerStatuses"]).and_then(Value::as_array);
    all.into_iter().flatten().find(|own| own["name"] == container)
}

/// The run that is asked for, as the status tells it.
fn run(pod: &Object, container: &str, previous: bool) -> Option<Run> {
    let status = status(pod, container)?;
    let time = |value: &Value| value.as_str()?.parse().ok();
    let ended = |state: &Value| {
        let start = time(&state["terminated"]["startedAt"])?;
        Some(Run { start, end: time(&state["terminated"]["finishedAt"]) })
    };
    let (state, last) = (&status["state"], &status["lastState"]);
    if previous {
        return ended(last);
    }
    let running = time(&state["running"]["startedAt"]).map(|start| Run { start, end: None });
    // One that waits to be started again has said what it said before.
    running.or_else(|| ended(state)).or_else(|| ended(last))
}

impl Log {
    fn logs(&self) -> Logs {
        self.pod.annotation(Logs::ANNOTATION).and_then(Logs::parse).unwrap_or_default()
    }

    /// How many lines a run said until now.
    fn said(&self, logs: &Logs, run: Run, now: Timestamp) -> u64 {
        let time = run.end.unwrap_or(now).duration_since(run.start);
        Duration::try_from(time).map_or(0, |time| logs.said(time))
    }

    /// The first line that is told, of so many. Who wants the last ones is not made to wait for those before.
    fn first(&self, logs: &Logs, said: u64) -> u64 {
        let wished = self.wish.tail.unwrap_or(u64::MAX);
        said.saturating_sub(wished.min(kept(logs)))
    }

    /// These lines as they are sent.
    fn text(&self, logs: &Logs, run: Run, numbers: std::ops::Range<u64>) -> String {
        let mut text = String::new();
        for number in numbers {
            let Some((line, after)) = logs.line(number) else { break };
            let at = run.start.saturating_add(after).unwrap_or(run.start);
            if self.wish.since.is_some_and(|since| at < since) {
                continue;
            }
            if self.wish.timestamps {
                let _ = write!(text, "{at:.9} ");
            }
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// What is asked for; what goes on ends when `parted` does.
    async fn answer(self, api: Api, parted: BoxFuture<'static, ()>) -> ApiResult<Response<Body>> {
        let (container, pod) = (&self.container, self.pod.name());
        let Some(run) = run(&self.pod, container, self.wish.previous) else {
            let (which, what) = match (status(&self.pod, container), self.wish.previous) {
                (None, _) => ("", "is not available"),
                (Some(_), true) => ("previous terminated ", "not found"),
                (Some(_), false) => ("", "is waiting to start - no logs yet"),
            };
            let why = format!("{which}container {container:?} in pod {pod:?} {what}");
            return Err(ApiError::bad_request(why));
        };
        let logs = self.logs();
        let said = self.said(&logs, run, api.clock().now());
        let mut text = self.text(&logs, run, self.first(&logs, said)..said);
        let left = self.wish.bytes.map(|bytes| bytes.saturating_sub(text.len()));
        cut(&mut text, self.wish.bytes);
        let content = if self.wish.follow && run.end.is_none() && left != Some(0) {
            let start = Some((self, api, parted, said, left));
            let stream = futures::stream::unfold(start, move |state| {
                let logs = logs.clone();
                async move {
                    let (log, api, mut parted, said, left) = state?;
                    let (mut more, next) = tokio::select! {
                        biased;
                        () = &mut parted => return Some((Err(reset()), None)),
                        more = log.more(&logs, &api, run, said) => more?,
                    };
                    let is_all = left.is_some_and(|left| more.len() >= left);
                    cut(&mut more, left);
                    let left = left.map(|left| left.saturating_sub(more.len()));
                    let next = next.filter(|_| !is_all);
                    Some((Ok(more), next.map(|said| (log, api, parted, said, left))))
                }
            });
            let before = futures::stream::iter([Ok(text)]);
            body::boxed(Stream::from_stream(futures::StreamExt::chain(before, stream)))
        } else {
            body::full(text)
        };
        Response::builder()
            .header(header::CONTENT_TYPE, "text/plain")
            .body(content)
            .map_err(ApiError::internal)
    }

    /// Waits for more lines: them, and how many were said then; without a number it has ended.
    async fn more(
        &self,
        logs: &Logs,
        api: &Api,
        run: Run,
        said: u64,
    ) -> Option<(String, Option<u64>)> {
        loop {
            api.clock().sleep(LOOK).await;
            let pods = GroupResource::new("", "pods");
            let pod =
                api.reader().get(&pods, self.pod.namespace(), self.pod.name()).await.ok()??;
            let now = self::run(&pod, &self.container, false)?;
            // Another run is another log.
            let over = now.start != run.start || pod.uid() != self.pod.uid();
            let end = if over { None } else { now.end };
            let until = self.said(logs, Run { end, ..run }, api.clock().now());
            if over {
                return None;
            }
            if until > said || end.is_some() {
                let text = self.text(logs, run, said.max(until.saturating_sub(kept(logs)))..until);
                return Some((text, end.is_none().then_some(until)));
            }
        }
    }
}

/// How many bytes of a log there are at most: a kubelet begins another file then, and tells the last.
const KEPT: usize = 10 << 20;
/// How long the end of a line is, and its time before it.
const AROUND: usize = 32;

/// How many of the last lines there are.
fn kept(logs: &Logs) -> u64 {
    let longest = logs.lines.iter().map(String::len).max().unwrap_or_default();
    (KEPT / (longest + AROUND)).max(1) as u64
}

/// As a connection to a kubelet ends that is cut.
fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

/// How often it is looked for more lines.
const LOOK: Duration = Duration::from_millis(200);

fn cut(text: &mut String, bytes: Option<usize>) {
    if let Some(bytes) = bytes {
        let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn log(wish: Wish) -> Log {
        let pod = json!({
            "metadata": {"name": "p", "annotations": {
                "kubeplane.dev/logs": r#"{"lines": ["a", "b"], "every": "10s", "repeat": true}"#}},
            "spec": {"containers": [{"name": "c"}]},
            "status": {"containerStatuses": [{"name": "c",
                "state": {"running": {"startedAt": "2026-01-01T00:01:00Z"}},
                "lastState": {"terminated": {
                    "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:15Z"}}}]}});
        Log { pod: Object::from_value(pod).unwrap(), container: "c".to_owned(), wish }
    }

    fn text(wish: Wish, now: &str) -> String {
        let log = log(wish);
        let (logs, run) = (log.logs(), run(&log.pod, "c", log.wish.previous).unwrap());
        let said = log.said(&logs, run, now.parse().unwrap());
        log.text(&logs, run, 0..said)
    }

    #[test]
    fn a_run_has_said_what_was_due_in_it() {
        assert_eq!(text(Wish::default(), "2026-01-01T00:01:25Z"), "a\nb\na\n");
        let previous = Wish { previous: true, timestamps: true, ..Wish::default() };
        let expected = "2026-01-01T00:00:00.000000000Z a\n2026-01-01T00:00:10.000000000Z b\n";
        assert_eq!(text(previous, "2026-01-01T00:01:25Z"), expected);
        let since = Some("2026-01-01T00:01:10Z".parse().unwrap());
        assert_eq!(text(Wish { since, ..Wish::default() }, "2026-01-01T00:01:25Z"), "b\na\n");
    }

    #[test]
    fn who_says_much_is_told_of_as_far_back_as_a_kubelet_would() {
        let all = log(Wish::default());
        let last = log(Wish { tail: Some(2), ..Wish::default() });
        let line = "x".repeat(1000);
        let logs = Logs { lines: vec![line], every: Duration::from_millis(1), repeat: true };
        let (run, said) = (run(&all.pod, "c", false).unwrap(), 365 * 86_400_000);
        let text = all.text(&logs, run, all.first(&logs, said)..said);
        assert!((KEPT / 2..=KEPT).contains(&text.len()), "{} bytes", text.len());
        assert_eq!(last.first(&logs, said), said - 2);
    }

    #[test]
    fn a_limit_does_not_cut_a_letter_in_two() {
        let mut text = "né".to_owned();
        cut(&mut text, Some(2));
        assert_eq!(text, "n");
    }
}
