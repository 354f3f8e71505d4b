use super::refuse;
use crate::{filter::Filter, info::RequestInfo, query::Query};
use http::StatusCode;
use kubeplane_core::{
    Definition,
    features::Features,
    field::{self, Path},
    selector::{FieldSelector, LabelSelector},
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::Revision;
use std::{num::IntErrorKind, time::Duration};

/// How a list's resourceVersion is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    Exact,
    NotOlderThan,
}

/// The options of a list or watch.
#[derive(Debug, Clone)]
pub(crate) struct ListOptions {
    pub(crate) filter: Filter,
    /// `None` when not sent, and where a list is continued.
    pub(crate) version: Option<Revision>,
    /// A resourceVersion other than `0` was sent, which nobody may who continues a list.
    pub(crate) versioned: bool,
    pub(crate) version_match: Option<VersionMatch>,
    pub(crate) limit: Option<usize>,
    pub(crate) continues: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) bookmarks: bool,
    pub(crate) initial_events: Option<bool>,
}

impl ListOptions {
    pub(crate) fn parse(
        query: &Query,
        info: &RequestInfo,
        definition: &Definition,
        features: &Features,
    ) -> ApiResult<Self> {
        let watch = info.verb == "watch";
        // What is no number is told before what does not go together.
        let limit = query.integer("limit")?.filter(|limit| *limit > 0);
        let timeout = query.integer("timeoutSeconds")?.and_then(lasting);
        let (labels, fields) = selectors(query)?;
        let lists = features.is_on("WatchList");
        let sent_version = query.text("resourceVersion");
        let mut version_match = query.text("resourceVersionMatch");
        let mut initial_events = query.flag("sendInitialEvents");
        let legacy = lists && watch && initial_events.is_none() && version_match.is_empty();
        if legacy && matches!(sent_version, "" | "0") {
            initial_events = Some(true);
            version_match = "NotOlderThan";
        }
        let errors = if watch {
            watch_errors(version_match, initial_events, query.text("continue"), lists)
        } else {
            list_errors(version_match, initial_events, query)
        };
        refuse("ListOptions", &errors)?;
        let continues =
            query.first("continue").filter(|token| !token.is_empty()).map(str::to_owned);
        let version = match &continues {
            Some(_) if !watch => None,
            _ => version(sent_version, watch)?,
        };
        Ok(Self {
            filter: filter(labels, fields, info, definition)?,
            version,
            versioned: !matches!(sent_version, "" | "0"),
            version_match: match version_match {
                "Exact" => Some(VersionMatch::Exact),
                "NotOlderThan" => Some(VersionMatch::NotOlderThan),
                _ => None,
            },
            limit: limit.and_then(|limit| usize::try_from(limit).ok()),
            continues,
            timeout,
            bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
            initial_events,
        })
    }
}

/// How long a watch lasts: no time for what is negative, or is so in nanoseconds; whatever the server likes for 0.
fn lasting(seconds: i64) -> Option<Duration> {
    match seconds.wrapping_mul(1_000_000_000) {
        0 => None,
        nanos => Some(u64::try_from(nanos).map_or(Duration::ZERO, Duration::from_nanos)),
    }
}

fn version(sent: &str, watch: bool) -> ApiResult<Option<Revision>> {
    if sent.is_empty() {
        return Ok(None);
    }
    sent.parse().map(|number| Some(Revision(number))).map_err(|_| match watch {
        true => unreadable(sent),
        false => refused(sent),
    })
}

/// A resourceVersion that is no number; the original answers reads of such from a cache with a bare 500.
pub(crate) fn bad_version(sent: &str, definition: &Definition) -> ApiError {
    // It keeps no cache of what does not last.
    if definition.ttl_seconds.is_some() { refused(sent) } else { unreadable(sent) }
}

fn refused(sent: &str) -> ApiError {
    ApiError::bad_request(format!("invalid resource version: {}", unreadable(sent).message()))
}

fn unreadable(sent: &str) -> ApiError {
    let is_large =
        sent.parse::<u64>().is_err_and(|error| *error.kind() == IntErrorKind::PosOverflow);
    let why = if is_large { "value out of range" } else { "invalid syntax" };
    let why = format!("strconv.ParseUint: parsing {sent:?}: {why}");
    let error = field::Error::invalid(&Path::new("resourceVersion"), sent, why);
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", error.to_string())
}

fn selectors(query: &Query) -> ApiResult<(LabelSelector, FieldSelector)> {
    let labels = LabelSelector::parse(query.text("labelSelector"))
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let fields = FieldSelector::parse(query.text("fieldSelector"))
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok((labels, fields))
}

fn filter(
    labels: LabelSelector,
    mut fields: FieldSelector,
    info: &RequestInfo,
    definition: &Definition,
) -> ApiResult<Filter> {
    if !info.name.is_empty() {
        if fields.is_everything() {
            fields = FieldSelector::equal("metadata.name", &info.name);
        } else if fields.exact("metadata.name") != Some(&info.name) {
            let why = "fieldSelector metadata.name doesn't match requested name";
            return Err(ApiError::bad_request(why));
        }
    }
    let namespace = if definition.is_namespaced() { info.namespace.as_str() } else { "" };
    Filter::new(namespace, labels, fields, definition)
}

const MATCH: &str = "resourceVersionMatch";

fn list_errors(matching: &str, initial_events: Option<bool>, query: &Query) -> field::Errors {
    let path = Path::new(MATCH);
    let version = query.text("resourceVersion");
    let mut errors = field::Errors::new();
    if !matching.is_empty() {
        if version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            errors.push(field::Error::forbidden(&path, why));
        }
        if !query.text("continue").is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(field::Error::forbidden(&path, why));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            // In this order, which is not the sorted one.
            errors.push(field::Error {
                detail: "supported values: \"Exact\", \"NotOlderThan\", \"\"".into(),
                ..field::Error::not_supported(&path, matching, &[])
            });
        }
        if matching == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(field::Error::forbidden(&path, why));
        }
    }
    if initial_events.is_some() {
        let why = "sendInitialEvents is forbidden for list";
        errors.push(field::Error::forbidden(&Path::new("sendInitialEvents"), why));
    }
    errors
}

fn watch_errors(
    matching: &str,
    initial_events: Option<bool>,
    continues: &str,
    lists: bool,
) -> field::Errors {
    let path = Path::new(MATCH);
    let mut errors = field::Errors::new();
    if initial_events.is_some() && matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(field::Error::forbidden(&path, why));
    }
    if initial_events.is_some() && !lists {
        let why =
            "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        errors.push(field::Error::forbidden(&Path::new("sendInitialEvents"), why));
    }
    if !matching.is_empty() {
        if initial_events.is_none() {
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(field::Error::forbidden(&path, why));
        }
        if matching != "NotOlderThan" {
            errors.push(field::Error::not_supported(&path, matching, &["NotOlderThan"]));
        }
        if !continues.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(field::Error::forbidden(&path, why));
        }
    }
    errors
}
