use super::selectors::Selectors;
use crate::objects::Objects;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::resource::v1::{Device, ResourceSlice};
use kubeplane_cel::Device as Seen;
use kubeplane_client::Changes;
use parking_lot::Mutex;
use std::{collections::HashMap, fmt, sync::Arc};

/// A device as expressions see it, or why they cannot.
pub(super) type Sight = Arc<Result<Seen, String>>;

/// The slices of a cluster, laid out by the nodes that they are for.
pub(super) struct Shelf {
    pub(super) slices: Vec<Arc<ResourceSlice>>,
    /// Slices of single nodes, and those that may concern several.
    near: HashMap<String, Vec<usize>>,
    wide: Vec<usize>,
    /// Devices as expressions see them, by slice and place in it.
    seen: Mutex<HashMap<(usize, usize), Sight>>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("slices", &self.slices.len()).finish_non_exhaustive()
    }
}

impl Shelf {
    pub(super) fn new(slices: Vec<Arc<ResourceSlice>>) -> Self {
        let (mut near, mut wide): (HashMap<String, Vec<usize>>, _) = Default::default();
        for (index, slice) in slices.iter().enumerate() {
            let counters = slice.spec.shared_counters.as_ref().is_some_and(|own| !own.is_empty());
            match slice.spec.node_name.as_ref().filter(|name| !name.is_empty() && !counters) {
                Some(node) => near.entry(node.clone()).or_default().push(index),
                None => Vec::push(&mut wide, index),
            }
        }
        Self { slices, near, wide, seen: Mutex::default() }
    }

    fn is_of(&self, slices: &[Arc<ResourceSlice>]) -> bool {
        self.slices.len() == slices.len()
            && self.slices.iter().zip(slices).all(|(own, other)| Arc::ptr_eq(own, other))
    }

    /// The slices that may be for a node.
    pub(super) fn near(&self, node: &str) -> impl Iterator<Item = &Arc<ResourceSlice>> {
        let own = self.near.get(node).into_iter().flatten();
        own.chain(&self.wide).map(|index| &self.slices[*index])
    }

    /// A device of one of the slices as expressions see it.
    pub(super) fn seen(
        &self,
        selectors: &Selectors,
        slice: &Arc<ResourceSlice>,
        (index, device): (usize, &Device),
    ) -> Sight {
        // Nothing else is at that address while the slices are held here.
        let place = (Arc::as_ptr(slice).addr(), index);
        let mut all = self.seen.lock();
        all.entry(place).or_insert_with(|| Arc::new(selectors.seen(slice, device))).clone()
    }
}

/// Keeps the last shelf for as long as the slices are the same ones: laying them out, and reading their devices, takes
/// longer than to find some for a pod.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    source: Objects<ResourceSlice>,
    /// `None` when the source does not tell: its slices are compared.
    changes: Option<Changes<ResourceSlice>>,
    shelf: Arc<Shelf>,
}

impl Last {
    /// Whether it is sure that no slice came, went or changed since it was asked last.
    fn is_current(&mut self) -> bool {
        let Some(changes) = &mut self.changes else { return false };
        let mut same = true;
        while let Some(Some(_)) = changes.next().now_or_never() {
            same = false;
        }
        same
    }
}

impl Shelves {
    pub(super) fn of(&self, source: &Objects<ResourceSlice>) -> Arc<Shelf> {
        let mut last = self.last.lock();
        let known = last.as_mut().filter(|own| Arc::ptr_eq(&own.source, source));
        if let Some(own) = known {
            if !own.is_current() {
                let slices = source.all();
                if !own.shelf.is_of(&slices) {
                    own.shelf = Arc::new(Shelf::new(slices));
                }
            }
            return own.shelf.clone();
        }
        // Listed after it began to tell, lest something be missed.
        let (changes, slices) = (source.changes(), source.all());
        let same = last.as_ref().filter(|own| own.shelf.is_of(&slices));
        let shelf = match same {
            Some(own) => own.shelf.clone(),
            None => Arc::new(Shelf::new(slices)),
        };
        *last = Some(Last { source: source.clone(), changes, shelf: shelf.clone() });
        shelf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Weak;

    #[test]
    fn slices_are_laid_out_anew_only_when_there_are_others() {
        let slice = |name: &str, node: Option<&str>| {
            let slice = json!({"metadata": {"name": name}, "spec": {"driver": "d", "nodeName": node,
                "allNodes": node.is_none(),
                "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}}});
            Arc::new(serde_json::from_value::<ResourceSlice>(slice).unwrap())
        };
        let all = vec![slice("1", Some("a")), slice("2", None), slice("3", Some("b"))];
        let shelves = Shelves::default();
        let of = |slices: &[Arc<ResourceSlice>]| {
            let source: Objects<ResourceSlice> = Arc::new(slices.to_vec());
            shelves.of(&source)
        };
        let first = of(&all);
        let names = |node: &str| {
            let near = first.near(node).filter_map(|own| own.metadata.name.as_deref());
            near.collect::<Vec<_>>().join(" ")
        };
        assert_eq!((names("a"), names("b"), names("c")), ("1 2".into(), "3 2".into(), "2".into()));
        assert!(Arc::ptr_eq(&first, &of(&all)));
        let changed = vec![all[0].clone(), all[1].clone(), slice("3", Some("b"))];
        let second = of(&changed);
        assert!(!Arc::ptr_eq(&first, &second), "a slice is another one");
        let weak: Weak<Shelf> = Arc::downgrade(&first);
        drop(first);
        assert!(weak.upgrade().is_none(), "only the last is kept");
    }
}
