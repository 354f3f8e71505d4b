//! How many seats a request takes, as the original estimates it: a list by what of it is in memory at once, a write by
//! those who watch.

use super::watchers::Watchers;
use crate::{info::RequestInfo, query::Query, registry::Registry};
use http::Uri;
use kubeplane_clock::SharedClock;
use kubeplane_core::{GroupVersion, features::Features};
use std::{sync::Arc, time::Duration};

/// The most seats of a write, and of a list that is estimated by the number of its objects.
const MOST: usize = 10;
/// The most seats of a list that is estimated by its size.
const MOST_BY_SIZE: usize = 100;
const BYTES_PER_SEAT: u64 = 100_000;
/// A list from a cache is sent as it goes, so that no more of it is in memory.
const MOST_FROM_CACHE: u64 = 1_000_000;
/// The size of objects that is taken where it is not known.
const LARGEST: u64 = 1_500_000;
const OBJECTS_PER_SEAT: u64 = 100;
const WATCHERS_PER_SEAT: usize = 10;
/// What a seat's worth of watchers costs.
const PER_EVENT: Duration = Duration::from_millis(5);

/// The seats of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Width {
    /// Until it is answered.
    pub(super) seats: usize,
    /// From then on, for some time.
    pub(super) last: usize,
    pub(super) linger: Duration,
}

impl Width {
    pub(super) const ONE: Self = Self::of(1);

    const fn of(seats: usize) -> Self {
        Self { seats, last: 0, linger: Duration::ZERO }
    }

    /// Those it has to get.
    pub(super) fn most(self) -> usize {
        self.seats.max(self.last)
    }

    /// The same work on no more seats than these at the end.
    pub(super) fn within(self, seats: usize) -> Self {
        if self.last <= seats || seats == 0 {
            return self;
        }
        let linger = self.linger.mul_f64(self.last as f64 / seats as f64);
        Self { last: seats, linger, ..self }
    }
}

/// What is stored of a resource.
#[derive(Debug, Clone, Copy)]
struct Stored {
    objects: u64,
    /// Bytes of one, on the average.
    size: u64,
}

/// Estimates requests.
#[derive(Debug)]
pub(super) struct Estimator {
    registry: Arc<Registry>,
    clock: SharedClock,
    by_size: bool,
    watch_lists: bool,
}

impl Estimator {
    pub(super) fn new(registry: Arc<Registry>, clock: SharedClock, features: &Features) -> Self {
        Self {
            registry,
            clock,
            by_size: features.is_on("SizeBasedListCostEstimate"),
            watch_lists: features.is_on("WatchList"),
        }
    }

    /// The seats of a request, of a level where one may have `widest` of them at most; zero for as many as any.
    pub(super) fn width(
        &self,
        info: &RequestInfo,
        uri: &Uri,
        widest: usize,
        watchers: &Watchers,
    ) -> Width {
        match info.verb.as_str() {
            "list" => self.list(info, uri, widest),
            "watch" if self.watch_lists => self.list(info, uri, widest),
            // What is given back after a time never is while none passes.
            "create" | "update" | "patch" | "delete" if !self.clock.is_paused() => {
                write(info, widest, watchers)
            }
            _ => Width::ONE,
        }
    }

    fn list(&self, info: &RequestInfo, uri: &Uri, widest: usize) -> Width {
        let most = capped(widest, if self.by_size { MOST_BY_SIZE } else { MOST });
        let query = Query::of(uri);
        let numbers = (query.integer("limit"), query.integer("timeoutSeconds"));
        let (Ok(limit), Ok(_)) = numbers else { return Width::of(most) };
        let asked = Listed::of(info, &query, limit);
        if !asked.initial {
            return Width::ONE;
        }
        let Some(stored) = self.stored(info) else { return Width::ONE };
        let seats = if self.by_size { asked.by_size(stored) } else { asked.by_count(stored) };
        Width::of(usize::try_from(seats).unwrap_or(usize::MAX).clamp(1, most))
    }

    /// What is there, if this server knows.
    fn stored(&self, info: &RequestInfo) -> Option<Stored> {
        let version = GroupVersion::new(info.group.clone(), info.version.clone());
        let resource = self.registry.find(&version, &info.resource)?;
        let snapshot = resource.cache().peek()?;
        let objects = snapshot.rows.len() as u64;
        let size = snapshot.bytes.checked_div(objects).unwrap_or_default();
        Some(Stored { objects, size })
    }
}

/// No more than a level may give, and no more than any gives.
fn capped(widest: usize, most: usize) -> usize {
    if widest == 0 { most } else { widest.min(most) }
}

/// A list, as far as it is estimated by it.
#[derive(Debug, Clone, Copy)]
struct Listed {
    single: bool,
    selected: bool,
    from_cache: bool,
    /// Zero for all.
    limit: u64,
    /// Objects are sent at all, and not only what comes.
    initial: bool,
}

impl Listed {
    fn of(info: &RequestInfo, query: &Query, limit: Option<i64>) -> Self {
        let watch = info.verb == "watch";
        let version = query.text("resourceVersion");
        let unversioned = matches!(version, "" | "0");
        let selected = ["fieldSelector", "labelSelector"].map(|key| !query.text(key).is_empty());
        let stored = match query.text("resourceVersionMatch") {
            "NotOlderThan" => false,
            "" => !query.text("continue").is_empty() || limit > Some(0) && !unversioned,
            _ => true,
        };
        Self {
            single: !info.name.is_empty(),
            selected: selected.contains(&true),
            from_cache: watch || !stored,
            limit: limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or_default(),
            initial: !watch || unversioned || query.flag("sendInitialEvents") == Some(true),
        }
    }

    fn limited(self, objects: u64) -> u64 {
        if self.limit == 0 { objects } else { objects.min(self.limit) }
    }

    fn by_size(self, stored: Stored) -> u64 {
        let objects = stored.objects;
        let loaded = match self {
            Self { single: true, .. } => 1,
            Self { from_cache: false, selected: true, .. } => {
                self.limited(objects).max(objects / 2)
            }
            _ => self.limited(objects),
        };
        let size = if stored.size == 0 && objects > 0 { LARGEST } else { stored.size };
        let bytes = loaded.saturating_mul(size);
        let bytes = if self.from_cache { bytes.min(MOST_FROM_CACHE) } else { bytes };
        bytes.div_ceil(BYTES_PER_SEAT)
    }

    fn by_count(self, stored: Stored) -> u64 {
        let objects = stored.objects;
        let looked_at = match self {
            Self { single: true, .. } => 1,
            Self { from_cache: true, .. } => objects,
            Self { selected: true, .. } => objects + self.limited(objects),
            _ => 2 * self.limited(objects),
        };
        looked_at.div_ceil(OBJECTS_PER_SEAT)
    }
}

/// A write keeps seats for a while after it was answered, while those who watch are told.
fn write(info: &RequestInfo, widest: usize, watchers: &Watchers) -> Width {
    if info.resource == "serviceaccounts" && info.subresource == "token" {
        return Width::ONE;
    }
    let watching = watchers.interested(info);
    if watching < WATCHERS_PER_SEAT {
        return Width::ONE;
    }
    let seats = watching.div_ceil(WATCHERS_PER_SEAT);
    Width { last: seats, linger: PER_EVENT, ..Width::ONE }.within(capped(widest, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn info(method: &Method, uri: &str) -> (RequestInfo, Uri) {
        let uri: Uri = uri.parse().unwrap();
        (RequestInfo::parse(method, &uri).unwrap(), uri)
    }

    fn listed(uri: &str) -> Listed {
        let (info, uri) = info(&Method::GET, uri);
        let query = Query::of(&uri);
        Listed::of(&info, &query, query.integer("limit").unwrap())
    }

    #[test]
    fn a_list_is_as_wide_as_what_of_it_is_in_memory() {
        let stored = Stored { objects: 1000, size: 10_000 };
        let cases = [
            // From the cache no more than a megabyte.
            ("", 10),
            ("?resourceVersion=0", 10),
            ("?limit=50", 5),
            ("?resourceVersion=0&limit=50", 5),
            ("?labelSelector=a%3Db&limit=50", 5),
            ("?resourceVersion=7&resourceVersionMatch=NotOlderThan", 10),
            // From the store all of it.
            ("?resourceVersion=7&resourceVersionMatch=Exact", 100),
            ("?continue=x&limit=500", 50),
            ("?resourceVersion=7&limit=500", 50),
            ("?continue=x&limit=20&labelSelector=a%3Db", 50),
            ("?continue=x&limit=2", 1),
            ("?fieldSelector=metadata.name%3Done", 1),
        ];
        for (query, seats) in cases {
            let listed = listed(&format!("/api/v1/namespaces/a/pods{query}"));
            assert_eq!(listed.by_size(stored), seats, "{query}");
        }
        let unknown = Stored { objects: 3, size: 0 };
        assert_eq!(listed("/api/v1/pods?continue=x").by_size(unknown), 45);
        assert_eq!(listed("/api/v1/pods").by_size(Stored { objects: 0, size: 0 }), 0);
    }

    #[test]
    fn without_its_gate_a_list_is_estimated_by_the_number_of_its_objects() {
        let stored = Stored { objects: 450, size: 10_000 };
        let cases = [
            ("", 5),
            ("?limit=100", 5),
            ("?continue=x&limit=100", 2),
            ("?continue=x&limit=100&fieldSelector=spec.nodeName%3Dn", 6),
            ("?fieldSelector=metadata.name%3Done", 1),
        ];
        for (query, seats) in cases {
            let listed = listed(&format!("/api/v1/pods{query}"));
            assert_eq!(listed.by_count(stored), seats, "{query}");
        }
    }

    #[test]
    fn a_watch_is_a_list_only_if_it_begins_with_what_is_there() {
        let initial = |query: &str| listed(&format!("/api/v1/pods?watch=true{query}")).initial;
        assert!(initial("") && initial("&resourceVersion=0"));
        assert!(initial("&resourceVersion=7&sendInitialEvents=true"));
        assert!(
            !initial("&resourceVersion=7")
                && !initial("&resourceVersion=7&sendInitialEvents=false")
        );
    }

    #[test]
    fn writes_keep_seats_by_the_number_of_those_who_watch() {
        let watchers = Watchers::default();
        let (watch, uri) = info(&Method::GET, "/api/v1/namespaces/a/configmaps?watch=true");
        let mut all: Vec<_> = (0..9).map(|_| watchers.register(&watch, &uri)).collect();
        let width = |uri: &str, widest: usize| write(&info(&Method::PUT, uri).0, widest, &watchers);
        let path = "/api/v1/namespaces/a/configmaps/x";
        assert_eq!(width(path, 0), Width::ONE);
        all.extend((0..16).map(|_| watchers.register(&watch, &uri)));
        let three = Width { seats: 1, last: 3, linger: PER_EVENT };
        assert_eq!(width(path, 0), three);
        assert_eq!(width("/api/v1/namespaces/b/configmaps/x", 0), Width::ONE);
        // The same work on fewer seats takes longer.
        assert_eq!(width(path, 2), Width { last: 2, linger: PER_EVENT.mul_f64(1.5), ..three });
        all.extend((0..175).map(|_| watchers.register(&watch, &uri)));
        assert_eq!(width(path, 0), Width { last: 10, linger: 2 * PER_EVENT, ..three });
        drop(all);
        assert_eq!(width(path, 0), Width::ONE);
    }

    #[test]
    fn nothing_is_kept_while_no_time_passes() {
        let watchers = Watchers::default();
        let (watch, uri) = info(&Method::GET, "/api/v1/namespaces/a/configmaps?watch=true");
        let _all: Vec<_> = (0..25).map(|_| watchers.register(&watch, &uri)).collect();
        let width = |clock: SharedClock| {
            let store = Arc::new(kubeplane_store_memory::MemoryStore::new());
            let cache = crate::cache::CacheOptions { store, clock: clock.clone() };
            let registry = Registry::new("/registry".to_owned(), cache);
            let (put, uri) = info(&Method::PUT, "/api/v1/namespaces/a/configmaps/x");
            Estimator::new(registry, clock, &Features::default()).width(&put, &uri, 0, &watchers)
        };
        assert_eq!(width(kubeplane_clock::real()).last, 3);
        assert_eq!(
            width(Arc::new(kubeplane_clock::PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH))),
            Width::ONE
        );
    }
}
