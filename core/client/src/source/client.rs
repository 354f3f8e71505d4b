use super::{InformerSource, Listed, Query, SourceEvent, SourceEvents, gather::gather};
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{AsyncBufRead, AsyncBufReadExt, StreamExt, stream};
use kube::{
    Resource,
    api::{ListParams, WatchParams},
    core::{Request, Status},
};
use kubeplane_clock::SharedClock;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{fmt, io, time::Duration};

/// Lists and watches over a [`kube::Client`].
#[derive(Clone)]
pub struct ClientSource {
    client: kube::Client,
    gathered: Vec<Gathered>,
}

/// A resource whose changes may be told late.
#[derive(Clone)]
struct Gathered {
    group: String,
    plural: String,
    pause: Duration,
    clock: SharedClock,
}

impl fmt::Debug for ClientSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSource").finish_non_exhaustive()
    }
}

impl ClientSource {
    /// A source over `client`.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client, gathered: Vec::new() }
    }

    /// Reads changes of this kind up to `pause` late, and then all that came: what many others renew all the time, such as
    /// the leases of nodes, costs far less so than if its reader woke for each. Lists are as before.
    #[must_use]
    pub fn gathering<K: Resource<DynamicType = ()>>(
        mut self,
        pause: Duration,
        clock: SharedClock,
    ) -> Self {
        let (group, plural) = (K::group(&()).into_owned(), K::plural(&()).into_owned());
        self.gathered.push(Gathered { group, plural, pause, clock });
        self
    }

    fn gathered(&self, query: &Query) -> Option<&Gathered> {
        let asked = &query.resource;
        self.gathered.iter().find(|own| own.group == asked.group && own.plural == asked.plural)
    }

    async fn page(&self, query: &Query, params: &ListParams) -> Result<Bytes> {
        let request = Request::new(query.path());
        let request =
            if query.metadata_only { request.list_metadata(params) } else { request.list(params) };
        let text = self.client.request_text(request.map_err(build)?).await.map_err(api)?;
        Ok(Bytes::from(text))
    }
}

#[derive(Deserialize)]
struct Page<'a> {
    metadata: PageMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct BookmarkObject {
    metadata: PageMeta,
}

#[async_trait]
impl InformerSource for ClientSource {
    async fn list(&self, query: &Query, at_least: &str) -> Result<Listed> {
        let mut params = ListParams {
            field_selector: selector(&query.field_selector),
            label_selector: selector(&query.label_selector),
            resource_version: selector(at_least),
            ..ListParams::default()
        };
        let mut listed = Listed::default();
        loop {
            let text = self.page(query, &params).await?;
            let page: Page<'_> = decode(&text, "a list")?;
            let items = page.items.unwrap_or_default();
            listed.items.extend(items.iter().map(|item| text.slice_ref(item.get().as_bytes())));
            listed.resource_version = page.metadata.resource_version;
            params.continue_token = page.metadata.next.filter(|next| !next.is_empty());
            if params.continue_token.is_none() {
                return Ok(listed);
            }
        }
    }

    async fn watch(&self, query: &Query, after: &str, lifetime: Duration) -> Result<SourceEvents> {
        let params = WatchParams {
            field_selector: selector(&query.field_selector),
            label_selector: selector(&query.label_selector),
            timeout: Some(u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).max(1)),
            bookmarks: true,
            send_initial_events: false,
        };
        let request = Request::new(query.path());
        let mut request = if query.metadata_only {
            request.watch_metadata(&params, after)
        } else {
            request.watch(&params, after)
        }
        .map_err(build)?;
        // A compressed stream is flushed late by some proxies, and events must arrive at once.
        request
            .headers_mut()
            .insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        let body = self.client.request_stream(request).await.map_err(api)?;
        let events = events(body).boxed();
        Ok(match self.gathered(query) {
            Some(own) => gather(events, own.pause, own.clock.clone()),
            None => events,
        })
    }
}

fn events(
    body: impl AsyncBufRead + Send + 'static,
) -> impl futures::Stream<Item = Result<SourceEvent>> + Send {
    stream::unfold(Some((Box::pin(body), 0)), |left| async move {
        // One event is about as long as the one before.
        let (mut body, length) = left?;
        let mut line = Vec::with_capacity(length);
        match body.read_until(b'\n', &mut line).await {
            // The last line is cut off when the connection breaks; the next watch brings that event again.
            Ok(_) if line.last() != Some(&b'\n') => None,
            Ok(length) => {
                let event = parse(Bytes::from(line));
                let rest = event.is_ok().then_some((body, length));
                Some((event, rest))
            }
            Err(error) if is_end(&error) => None,
            Err(error) => Some((Err(Error::Interrupted(error)), None)),
        }
    })
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::TimedOut)
        || error.to_string().contains("unexpected EOF")
}

/// The kind of an event and its object, of a line as API servers write it: nothing is behind the object, and whoever reads
/// that finds out whether it is one.
fn plain(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(br#"{"type":""#)?;
    let (kind, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'"')?)?;
    let object = rest.strip_prefix(br#"","object":"#)?.trim_ascii_end().strip_suffix(b"}")?;
    (object.first() == Some(&b'{') && object.last() == Some(&b'}')).then_some((kind, object))
}

fn parse(line: Bytes) -> Result<SourceEvent> {
    let frame: Frame<'_>;
    let (kind, object) = match plain(&line) {
        Some(found) => found,
        None => {
            frame = decode(&line, "a watch event")?;
            (frame.kind.as_bytes(), frame.object.get().as_bytes())
        }
    };
    let kind = std::str::from_utf8(kind).unwrap_or_default();
    let object = line.slice_ref(object);
    match kind {
        "ADDED" => Ok(SourceEvent::Added(object)),
        "MODIFIED" => Ok(SourceEvent::Modified(object)),
        "DELETED" => Ok(SourceEvent::Deleted(object)),
        "BOOKMARK" => {
            let bookmark: BookmarkObject = decode(&object, "a bookmark")?;
            Ok(SourceEvent::Bookmark(bookmark.metadata.resource_version))
        }
        _ => {
            let status: Status = decode(&object, "a watch error")?;
            Err(api(kube::Error::Api(Box::new(status))))
        }
    }
}

fn selector(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn build(error: kube::core::request::Error) -> Error {
    Error::Request(Box::new(error))
}

fn api(error: kube::Error) -> Error {
    match error {
        kube::Error::Api(status) if is_expired(&status) => {
            Error::Expired { message: status.message }
        }
        other => Error::Api(other),
    }
}

fn is_expired(status: &Status) -> bool {
    let too_new = status.details.as_ref().is_some_and(|details| {
        details.causes.iter().any(|cause| cause.reason == "ResourceVersionTooLarge")
    });
    too_new || status.code == 410 || status.reason == "Expired" || status.reason == "Gone"
}

fn decode<'a, T: Deserialize<'a>>(text: &'a [u8], what: &'static str) -> Result<T> {
    serde_json::from_slice(text).map_err(|source| Error::Decode { what: what.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &'static str) -> Vec<Result<SourceEvent>> {
        events(futures::io::Cursor::new(text)).collect().await
    }

    #[tokio::test]
    async fn a_watch_ends_after_an_error_and_drops_a_torn_line() {
        let seen = read("{\"type\":\"ADDED\",\"object\":{\"a\":1}}\n{\"type\":\"ADD").await;
        assert!(
            matches!(seen.as_slice(), [Ok(SourceEvent::Added(object))] if object.as_ref() == br#"{"a":1}"#)
        );
        let gone = "{\"object\":{\"code\":410,\"message\":\"too old\",\"reason\":\"Expired\"},\"type\":\"ERROR\"}\n{}\n";
        let seen = read(gone).await;
        assert!(
            matches!(seen.as_slice(), [Err(Error::Expired { message })] if message == "too old")
        );
    }

    #[tokio::test]
    async fn bookmarks_carry_only_their_version() {
        let seen =
            read("{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}\n")
                .await;
        assert!(matches!(seen.as_slice(), [Ok(SourceEvent::Bookmark(version))] if version == "7"));
    }
}
