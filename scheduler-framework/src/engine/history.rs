use crate::PodInfo;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// How many changes are remembered; who comes later looks at everything anew.
const KEPT: usize = 16 * 1024;

/// What happened to a node.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// It is another one now.
    Node,
    /// A pod came (1) or went (-1).
    Pod(Arc<PodInfo>, i64),
}

/// What changed in a cache, so that whoever has seen it once need look only at that.
#[derive(Debug, Default)]
pub(crate) struct History {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Counts how often nodes came or went: indices of before mean nothing after.
    epoch: u64,
    first: u64,
    changes: VecDeque<(usize, Change)>,
}

/// A moment in a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    epoch: u64,
    position: u64,
}

impl History {
    pub(crate) fn now(&self) -> Moment {
        let inner = self.inner.lock();
        Moment { epoch: inner.epoch, position: inner.first + inner.changes.len() as u64 }
    }

    pub(crate) fn record(&self, index: usize, change: Change) {
        let mut inner = self.inner.lock();
        if inner.changes.len() >= KEPT {
            inner.changes.pop_front();
            inner.first += 1;
        }
        inner.changes.push_back((index, change));
    }

    /// Nodes came or went.
    pub(crate) fn renumber(&self) {
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        inner.first += inner.changes.len() as u64;
        inner.changes.clear();
    }

    /// Tells of all changes since a moment; `false` when they are not known any more.
    pub(crate) fn since(&self, moment: Moment, mut tell: impl FnMut(usize, &Change)) -> bool {
        let inner = self.inner.lock();
        if moment.epoch != inner.epoch || moment.position < inner.first {
            return false;
        }
        let skip = usize::try_from(moment.position - inner.first).unwrap_or(usize::MAX);
        inner.changes.iter().skip(skip).for_each(|(index, change)| tell(*index, change));
        true
    }
}
