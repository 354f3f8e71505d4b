//! Whose turn it is: one node that is slow does not keep those who write for the others.

use kubeplane_client::ObjectKey;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// How many pods of one node are worked on at once.
const AT_ONCE: usize = 4;

/// The pods that are worked on or wait for it, by their nodes.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<String, Line>>);

#[derive(Debug, Default)]
struct Line {
    under_way: usize,
    waiting: VecDeque<ObjectKey>,
}

impl Lines {
    /// The pod, if it is to be worked on now. If not, [`next`](Self::next) will give it to somebody.
    pub(super) fn enter(&self, node: &str, pod: ObjectKey) -> Option<ObjectKey> {
        let mut lines = self.0.lock();
        let Some(line) = lines.get_mut(node) else {
            lines.insert(node.to_owned(), Line { under_way: 1, ..Line::default() });
            return Some(pod);
        };
        if line.under_way < AT_ONCE {
            line.under_way += 1;
            return Some(pod);
        }
        line.waiting.push_back(pod);
        None
    }

    /// The pod that is to be worked on in place of one that was, if any waits.
    pub(super) fn next(&self, node: &str) -> Option<ObjectKey> {
        let mut lines = self.0.lock();
        let line = lines.get_mut(node)?;
        if let Some(pod) = line.waiting.pop_front() {
            return Some(pod);
        }
        line.under_way -= 1;
        if line.under_way == 0 {
            lines.remove(node);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(number: usize) -> ObjectKey {
        ObjectKey { namespace: "default".to_owned(), name: format!("pod-{number}") }
    }

    #[test]
    fn pods_of_one_node_wait_in_line_and_no_others() {
        let lines = Lines::default();
        let begun: Vec<_> = (0..AT_ONCE + 2).map(|number| lines.enter("a", pod(number))).collect();
        assert_eq!(begun.iter().flatten().count(), AT_ONCE);
        assert_eq!(lines.enter("b", pod(9)), Some(pod(9)));

        let next: Vec<_> = (0..AT_ONCE + 2).map(|_| lines.next("a")).collect();
        assert_eq!(next[..3], [Some(pod(AT_ONCE)), Some(pod(AT_ONCE + 1)), None]);
        assert_eq!(lines.next("b"), None);
        assert!(lines.0.lock().is_empty(), "who is done leaves nothing");
        assert_eq!(lines.enter("a", pod(0)), Some(pod(0)));
    }
}
