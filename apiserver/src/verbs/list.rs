use super::Call;
use crate::{
    body::Body,
    cache::{Freshness, Row, Snapshot},
    filter::Filter,
    options::{ListOptions, VersionMatch},
    output::{self, Accepted, ListMeta, Offer},
    registry::Resource,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Response;
use kubeplane_core::{ApiError, status::ApiResult};
use kubeplane_store_trait::{self as store, KeyRange, ReadAt, Revision};
use serde_json::{Value, json};
use std::sync::Arc;

/// What the API says when a continue token is too old.
const TOO_OLD: &str = "The provided continue parameter is too old to display a consistent list result. You can \
     start a new list without the continue parameter, or use the continue token in this response to retrieve the \
     remainder of the results. Continuing with the provided token results in an inconsistent list - objects that \
     were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
/// How many objects are read from the store at once when the cache cannot serve.
const PAGE: usize = 500;

/// A list as found.
pub(super) struct Found {
    pub(super) rows: Vec<Arc<Row>>,
    pub(super) meta: ListMeta,
}

/// Lists objects.
pub(super) async fn serve(call: Call) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(&call.head, Offer::list(call.definition()))?;
    let options =
        ListOptions::parse(&call.query(), &call.info, call.definition(), call.api.features())?;
    let found = find(&call, &options).await?;
    let cache = call.resource.cache();
    if accepted.is_protobuf_object() {
        cache.keep_protobuf();
    }
    output::list(&accepted, cache.shape(), found.rows, &found.meta, call.now).await
}

/// Reads what the options ask for, from the cache where it can.
pub(super) async fn find(call: &Call, options: &ListOptions) -> ApiResult<Found> {
    let resource = &call.resource;
    let range = resource.range(&options.filter.namespace);
    if let Some(token) = &options.continues {
        return continued(call, options, &range, token).await;
    }
    let exact = match (options.version, options.version_match) {
        (Some(version), Some(VersionMatch::Exact)) => Some(version),
        (Some(version), None) if version.0 > 0 && options.limit.is_some() => Some(version),
        _ => None,
    };
    if let Some(version) = exact {
        let limits = Limits { at: ReadAt::Exact(version), limit: options.limit, token: version.0 };
        return from_store(call, &options.filter, range, &limits).await.map_err(
            |error| match error {
                // The original tells no time to wait for a revision read exactly.
                Unread::Store(store::Error::Future { requested, latest }) => {
                    crate::storage::future_error(requested, latest).retry_after(0)
                }
                error => error.told(),
            },
        );
    }
    let freshness = match options.version {
        None => Freshness::Consistent,
        Some(Revision(0)) => Freshness::Any,
        Some(version) => Freshness::AtLeast(version),
    };
    let snapshot = match resource.cache().snapshot(freshness).await {
        // A cache that is not told what is there in time keeps nobody from reading it.
        Err(error) if freshness == Freshness::Consistent && is_behind(&error) => {
            let limits = Limits { at: ReadAt::Latest, limit: options.limit, token: 0 };
            let found = from_store(call, &options.filter, range, &limits).await;
            return found.map_err(Unread::told);
        }
        snapshot => snapshot.map_err(|error| without_cache(call, error))?,
    };
    // As in the original, whatever is there in its cache comes whole.
    let limit = options.limit.filter(|_| freshness != Freshness::Any || is_uncached(call));
    Ok(from_cache(resource, &options.filter, &range, limit, &snapshot))
}

/// Whether a cache did not come as far as it had to.
fn is_behind(error: &ApiError) -> bool {
    let causes = error.details().map(|details| details.causes.as_slice()).unwrap_or_default();
    causes.iter().any(|cause| cause.reason == "ResourceVersionTooLarge")
}

/// The original keeps no cache of what does not last.
fn is_uncached(call: &Call) -> bool {
    call.definition().ttl_seconds.is_some()
}

/// Without a cache the original tells no time to wait for a revision.
pub(super) fn without_cache(call: &Call, error: ApiError) -> ApiError {
    match error.details() {
        Some(details) if is_uncached(call) && details.retry_after_seconds > 0 => {
            error.retry_after(0)
        }
        _ => error,
    }
}

fn from_cache(
    resource: &Resource,
    filter: &Filter,
    range: &KeyRange,
    limit: Option<usize>,
    snapshot: &Snapshot,
) -> Found {
    let mut meta = ListMeta { revision: snapshot.through.to_string(), ..ListMeta::default() };
    if let Some(name) = filter.name() {
        let key = resource.key(&filter.namespace, name);
        if let Some(key) = key {
            let row = snapshot.rows.get(key.as_bytes()).filter(|row| filter.matches(row));
            return Found { rows: row.cloned().into_iter().collect(), meta };
        }
    }
    let mut rows = Vec::new();
    let mut picked = snapshot.range(range).filter(|(_, row)| filter.matches(row));
    let Some(limit) = limit else {
        rows.extend(picked.map(|(_, row)| row.clone()));
        return Found { rows, meta };
    };
    let mut last: Option<&Bytes> = None;
    for (key, row) in picked.by_ref().take(limit) {
        rows.push(row.clone());
        last = Some(key);
    }
    let rest =
        if filter.is_everything() { picked.count() } else { usize::from(picked.next().is_some()) };
    if let Some(last) = last.filter(|_| rest > 0) {
        meta.continues = Some(token(resource, last, snapshot.through.0));
        meta.remaining = filter.is_everything().then_some(rest as u64);
    }
    Found { rows, meta }
}

struct Limits {
    at: ReadAt,
    limit: Option<usize>,
    /// The revision that continue tokens carry; zero for that of the read.
    token: u64,
}

/// Why the store's own answer cannot be given.
enum Unread {
    Store(store::Error),
    Conversion(ApiError),
}

impl Unread {
    fn told(self) -> ApiError {
        match self {
            Self::Store(error) => crate::storage::plain_error(&error),
            Self::Conversion(error) => error,
        }
    }
}

impl From<store::Error> for Unread {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

async fn from_store(
    call: &Call,
    filter: &Filter,
    mut range: KeyRange,
    limits: &Limits,
) -> Result<Found, Unread> {
    let (resource, shape) = (&call.resource, call.resource.cache().shape());
    let mut options = store::ListOptions { at: limits.at, ..store::ListOptions::default() };
    let mut rows: Vec<Arc<Row>> = Vec::new();
    let corrupt = |error: serde_json::Error| store::Error::Corrupt { reason: error.to_string() };
    loop {
        let wanted = limits
            .limit
            .map_or(PAGE, |limit| if filter.is_everything() { limit - rows.len() } else { PAGE });
        options.limit = Some(wanted);
        let page = call.api.store().list(&range, options).await?;
        options.at = ReadAt::Exact(page.revision);
        let count = page.entries.len() as u64;
        let mut meta = ListMeta { revision: page.revision.to_string(), ..ListMeta::default() };
        let mut last = None;
        let values = page.entries.iter().map(|entry| entry.value.clone()).collect();
        let values = shape.adopt_all(values).await.map_err(Unread::Conversion)?;
        for (index, (entry, value)) in page.entries.into_iter().zip(values).enumerate() {
            let key = entry.key.as_bytes().clone();
            let value = value.map_err(corrupt)?;
            let row = Row::new(shape, resource.prefix(), key.clone(), value, entry.revision);
            let row = row.map_err(corrupt)?;
            if filter.matches(&row) {
                rows.push(Arc::new(row));
            }
            last = Some(entry.key);
            let rest = page.remaining + count - index as u64 - 1;
            if limits.limit == Some(rows.len()) && rest > 0 {
                let revision = if limits.token == 0 { page.revision.0 } else { limits.token };
                meta.continues = Some(token(resource, &key, revision));
                meta.remaining = filter.is_everything().then_some(rest);
                return Ok(Found { rows, meta });
            }
        }
        match last.filter(|_| page.remaining > 0) {
            Some(last) => range = range.after(&last),
            None => return Ok(Found { rows, meta }),
        }
    }
}

async fn continued(
    call: &Call,
    options: &ListOptions,
    range: &KeyRange,
    sent: &str,
) -> ApiResult<Found> {
    let (start, revision) = opened(sent, call.resource.prefix())?;
    if options.versioned {
        let why = "specifying resource version is not allowed when using continue";
        return Err(ApiError::bad_request(why));
    }
    let rest = KeyRange::between(start.clone().max(range.start().clone()), range.end().cloned());
    // A negative revision continues an inconsistent list: from the key on, as things are now.
    let Some(revision) = revision else {
        let limits = Limits { at: ReadAt::Latest, limit: options.limit, token: 0 };
        let found = from_store(call, &options.filter, rest, &limits).await;
        return found.map_err(Unread::told);
    };
    let limits = Limits { at: ReadAt::Exact(revision), limit: options.limit, token: revision.0 };
    from_store(call, &options.filter, rest, &limits).await.map_err(|error| match error {
        Unread::Store(store::Error::Compacted { .. }) => {
            let key = String::from_utf8_lossy(&start[call.resource.prefix().len()..]).into_owned();
            ApiError::expired(TOO_OLD).continue_with(encoded(&key, -1))
        }
        error => error.told(),
    })
}

/// Where a text stops being base64, as Go says it.
fn illegal(token: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    // One letter alone behind groups of four is half a byte.
    let whole = token.len() - usize::from(token.len() % 4 == 1);
    let at = token.bytes().position(|byte| !legal(byte)).unwrap_or(whole);
    format!("illegal base64 data at input byte {at}")
}

/// A token to continue behind a key.
fn token(resource: &Resource, key: &Bytes, revision: u64) -> String {
    let key = String::from_utf8_lossy(&key[resource.prefix().len()..]);
    encoded(&format!("{key}\0"), i64::try_from(revision).unwrap_or(i64::MAX))
}

fn encoded(start: &str, revision: i64) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// The key a token continues from and its revision; `None` for an inconsistent list.
fn opened(token: &str, prefix: &str) -> ApiResult<(Bytes, Option<Revision>)> {
    let bad = |why: &str| {
        ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
    };
    let data = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad(&illegal(token)))?;
    let token: Value = serde_json::from_slice(&data).map_err(|error| match data.first() {
        Some(byte) if error.column() <= 1 => {
            let found = match byte {
                // What cannot be printed, in Go's form.
                0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
                0x7f => r"'\x7f'".to_owned(),
                byte if byte.is_ascii_control() => format!("'\\x{byte:02x}'"),
                byte => format!("{:?}", char::from(*byte)),
            };
            bad(&format!("invalid character {found} looking for beginning of value"))
        }
        _ => bad("unexpected end of JSON input"),
    })?;
    if token["v"] != "meta.k8s.io/v1" {
        let version = token["v"].as_str().unwrap_or_default();
        return Err(bad(&format!("server does not recognize this encoded version {version}")));
    }
    let revision = token["rv"].as_i64().unwrap_or_default();
    let start = token["start"].as_str().unwrap_or_default();
    match (revision, start) {
        (0, _) => Err(bad("incorrect encoded start resourceVersion (version meta.k8s.io/v1)")),
        (_, "") => Err(bad("encoded start key empty (version meta.k8s.io/v1)")),
        (_, start) if start.split('/').any(|part| matches!(part, "" | "." | "..")) => {
            Err(bad(start))
        }
        (revision, start) => {
            Ok((format!("{prefix}{start}").into(), u64::try_from(revision).ok().map(Revision)))
        }
    }
}
