//! Who watches what, so that a write is known to wake so many.

use crate::{
    body::{self, Body, BoxError},
    info::RequestInfo,
    query::Query,
};
use bytes::Bytes;
use http::Uri;
use http_body::{Frame, SizeHint};
use kubeplane_core::selector::FieldSelector;
use parking_lot::Mutex;
use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::{Hash, Hasher},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// The watchers of a server.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchers(Arc<Mutex<HashMap<Arc<What>, usize>>>);

/// Objects that are watched: all of a resource, those of a namespace, or one.
#[derive(Debug, PartialEq, Eq)]
struct What {
    group: String,
    resource: String,
    namespace: String,
    name: String,
}

/// A key that need not own its names, so that looking one up copies none.
trait Named {
    /// Group, resource, namespace and name.
    fn names(&self) -> [&str; 4];
}

impl Named for What {
    fn names(&self) -> [&str; 4] {
        [&self.group, &self.resource, &self.namespace, &self.name]
    }
}

impl Named for [&str; 4] {
    fn names(&self) -> [&str; 4] {
        *self
    }
}

impl Hash for What {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.names().hash(state);
    }
}

impl Hash for dyn Named + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.names().hash(state);
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for dyn Named + '_ {}

impl<'a> Borrow<dyn Named + 'a> for Arc<What> {
    fn borrow(&self) -> &(dyn Named + 'a) {
        &**self
    }
}

/// A watch that is counted.
#[derive(Debug)]
pub(super) struct Watching {
    watchers: Watchers,
    what: Arc<What>,
}

impl Watchers {
    /// Counts a watch, until the answer is dropped. Pods of one node are found by an index, which wakes nobody else.
    pub(super) fn register(&self, info: &RequestInfo, uri: &Uri) -> Option<Watching> {
        if info.verb != "watch" || is_indexed(info, uri) {
            return None;
        }
        let what = What {
            group: info.group.clone(),
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
        };
        let mut all = self.0.lock();
        let what = match all.get_key_value(&what) {
            Some((known, _)) => known.clone(),
            None => Arc::new(what),
        };
        *all.entry(what.clone()).or_default() += 1;
        Some(Watching { watchers: self.clone(), what })
    }

    /// How many a write may wake.
    pub(super) fn interested(&self, info: &RequestInfo) -> usize {
        let all = self.0.lock();
        if all.is_empty() {
            return 0;
        }
        let count = |namespace: &str, name: &str| {
            let names = [&*info.group, &*info.resource, namespace, name];
            all.get(&names as &dyn Named).copied().unwrap_or_default()
        };
        let mut sum = count("", "");
        if !info.namespace.is_empty() {
            sum += count(&info.namespace, "");
        }
        if !info.name.is_empty() {
            sum += count(&info.namespace, &info.name);
        }
        sum
    }
}

fn is_indexed(info: &RequestInfo, uri: &Uri) -> bool {
    info.resource == "pods"
        && FieldSelector::parse(Query::of(uri).text("fieldSelector"))
            .is_ok_and(|fields| fields.exact("spec.nodeName").is_some_and(|node| !node.is_empty()))
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = self.watchers.0.lock();
        if let Some(count) = all.get_mut(&self.what) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.what);
            }
        }
    }
}

/// A watch's answer, counted until it ends.
pub(super) fn counted(inner: Body, watching: Arc<Watching>) -> Body {
    body::boxed(Counted { inner, _watching: watching })
}

struct Counted {
    inner: Body,
    _watching: Arc<Watching>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn info(method: &Method, uri: &'static str) -> (RequestInfo, Uri) {
        let uri = Uri::from_static(uri);
        (RequestInfo::parse(method, &uri).unwrap(), uri)
    }

    #[test]
    fn writes_wake_those_who_watch_the_resource_the_namespace_and_the_object() {
        let watchers = Watchers::default();
        let watch = |uri: &'static str| {
            let (info, uri) = info(&Method::GET, uri);
            watchers.register(&info, &uri)
        };
        let all = [
            "/api/v1/pods?watch=1",
            "/api/v1/namespaces/a/pods?watch=1",
            "/api/v1/namespaces/b/pods?watch=1",
            "/api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3Dx",
            "/api/v1/watch/namespaces/a/pods/y",
            "/apis/apps/v1/deployments?watch=1",
            "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3D",
        ];
        let all: Vec<_> = all.map(watch).into_iter().collect();
        assert!(all.iter().all(Option::is_some));
        assert!(watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn").is_none());
        assert!(watch("/api/v1/pods").is_none());
        let interested = |uri: &'static str| watchers.interested(&info(&Method::PATCH, uri).0);
        assert_eq!(interested("/api/v1/namespaces/a/pods/x"), 4);
        assert_eq!(interested("/api/v1/namespaces/a/pods/z/status"), 3);
        assert_eq!(interested("/api/v1/namespaces/c/pods/x"), 2);
        assert_eq!(interested("/apis/apps/v1/namespaces/a/deployments/x"), 1);
        drop(all);
        assert_eq!(interested("/api/v1/namespaces/a/pods/x"), 0);
        assert!(watchers.0.lock().is_empty());
    }
}
