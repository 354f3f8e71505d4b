use super::joined;
use async_trait::async_trait;
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    Definition, Object,
    admission::{Admission, Does, Operation, Request},
    status::{ApiError, ApiResult},
};
use parking_lot::Mutex;
use serde::Deserialize;
use std::{collections::HashMap, fmt, time::Duration};

/// What a limit counts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Hash)]
pub enum EventLimitType {
    /// All events of this server.
    Server,
    /// Those of a namespace.
    Namespace,
    /// Those a user writes.
    User,
    /// Those of one source about one object.
    SourceAndObject,
}

impl fmt::Display for EventLimitType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How many events may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventLimit {
    /// What it counts by.
    #[serde(rename = "type")]
    pub kind: EventLimitType,
    /// Per second; above zero.
    pub qps: u32,
    /// At once; above zero.
    pub burst: u32,
    /// How many keys are remembered, the last used ones; 0 for 4096.
    #[serde(default)]
    pub cache_size: usize,
}

/// Why limits of events are not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EventRateLimitError(String);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Configuration {
    api_version: String,
    kind: String,
    limits: Vec<EventLimit>,
}

/// Refuses events that come too fast with 429.
#[derive(Debug)]
pub struct EventRateLimit {
    clock: SharedClock,
    limits: Vec<(EventLimit, Mutex<HashMap<String, Bucket>>)>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl EventLimit {
    /// Of a `Configuration` of `eventratelimit.admission.k8s.io`.
    ///
    /// # Errors
    /// When it is none, or a limit is not above zero.
    pub fn from_object(object: &Object) -> Result<Vec<Self>, EventRateLimitError> {
        let read: Configuration =
            object.decode().map_err(|why| EventRateLimitError(why.to_string()))?;
        let known = read.api_version == "eventratelimit.admission.k8s.io/v1alpha1";
        if !known || read.kind != "Configuration" {
            let (kind, version) = (read.kind, read.api_version);
            return Err(EventRateLimitError(format!("no Configuration: {kind} of {version}")));
        }
        if read.limits.is_empty() {
            return Err(EventRateLimitError("limits: Invalid value: []: must not be empty".into()));
        }
        for (index, limit) in read.limits.iter().enumerate() {
            for (field, value) in [("qps", limit.qps), ("burst", limit.burst)] {
                if value == 0 {
                    let why =
                        format!("limits[{index}].{field}: Invalid value: 0: must be positive");
                    return Err(EventRateLimitError(why));
                }
            }
        }
        Ok(read.limits)
    }

    fn most(&self) -> usize {
        if self.cache_size == 0 { 4096 } else { self.cache_size }
    }
}

impl EventRateLimit {
    /// With these limits, all of which must have room.
    #[must_use]
    pub fn new(clock: SharedClock, limits: Vec<EventLimit>) -> Self {
        let limits = limits.into_iter().map(|limit| (limit, Mutex::default())).collect();
        Self { clock, limits }
    }
}

/// Takes a token, if there is one.
fn take(
    limit: &EventLimit,
    buckets: &mut HashMap<String, Bucket>,
    key: String,
    now: Duration,
) -> bool {
    if buckets.len() >= limit.most() && !buckets.contains_key(&key) {
        let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
        if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
            buckets.remove(&oldest);
        }
    }
    let full = f64::from(limit.burst);
    let bucket = buckets.entry(key).or_insert(Bucket { tokens: full, at: now });
    let since = now.saturating_sub(bucket.at).as_secs_f64();
    bucket.tokens = since.mul_add(f64::from(limit.qps), bucket.tokens).min(full);
    bucket.at = now;
    let taken = bucket.tokens >= 1.0;
    if taken {
        bucket.tokens -= 1.0;
    }
    taken
}

fn key(kind: EventLimitType, request: &Request<'_>, event: &Object) -> String {
    match kind {
        EventLimitType::Server => String::new(),
        EventLimitType::Namespace => request.namespace.to_owned(),
        EventLimitType::User => request.user.name.clone(),
        EventLimitType::SourceAndObject => {
            let about = if event.at(&["involvedObject"]).is_some() {
                "involvedObject"
            } else {
                "regarding"
            };
            let source = ["component", "host"].map(|part| event.text(&["source", part]));
            let about = ["kind", "namespace", "name", "uid", "apiVersion"]
                .map(|part| event.text(&[about, part]));
            source.into_iter().chain(about).collect()
        }
    }
}

#[async_trait]
impl Admission for EventRateLimit {
    fn name(&self) -> &'static str {
        "EventRateLimit"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, _subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && definition.plural == "events"
            && matches!(definition.kind.group.as_ref(), "" | "events.k8s.io")
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(event) = request.object.as_deref().filter(|_| !request.dry_run) else {
            return Ok(());
        };
        let now = self.clock.elapsed();
        let mut refused = Vec::new();
        for (limit, buckets) in &self.limits {
            let key = key(limit.kind, request, event);
            if !take(limit, &mut buckets.lock(), key.clone(), now) {
                refused.push(format!("limit reached on type {} for key {key}", limit.kind));
            }
        }
        match joined(refused) {
            Some(why) => Err(ApiError::too_many_requests(why, 0)),
            None => Ok(()),
        }
    }
}
