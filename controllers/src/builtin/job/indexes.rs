//! Sets of completion indexes, and the index of a pod.

use k8s_openapi::api::core::v1::Pod;
use kubeplane_workload::{is_active, phase::is_deleting};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// The annotation and label that tell a pod's completion index.
pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A set of indexes as intervals, both ends included; ordered, and never touching.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads `1,3-5`; what is not below `completions` is left out, and so is what cannot be read.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let intervals = text.split(',').filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
            (first < completions).then_some((first, last.min(completions - 1)))
        });
        Self::normal(intervals.collect())
    }

    fn normal(mut intervals: Vec<(i32, i32)>) -> Self {
        intervals.sort_unstable();
        let mut result: Vec<(i32, i32)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match result.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => {
                    previous.1 = previous.1.max(last);
                }
                _ => result.push((first, last)),
            }
        }
        Self(result)
    }

    /// This set and these indexes.
    pub(super) fn with(&self, indexes: impl IntoIterator<Item = i32>) -> Self {
        let more = indexes.into_iter().map(|index| (index, index));
        Self::normal(self.0.iter().copied().chain(more).collect())
    }

    /// What is in either set.
    pub(super) fn merge(&self, other: &Self) -> Self {
        Self::normal(self.0.iter().chain(&other.0).copied().collect())
    }

    pub(super) fn total(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many indexes are in both sets.
    pub(super) fn common(&self, other: &Self) -> i32 {
        let overlap = |a: &(i32, i32), b: &(i32, i32)| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        let (mut mine, mut theirs, mut count) = (0, 0, 0);
        while let (Some(a), Some(b)) = (self.0.get(mine), other.0.get(theirs)) {
            count += overlap(a, b);
            if a.1 <= b.1 {
                mine += 1;
            } else {
                theirs += 1;
            }
        }
        count
    }

    /// The first `count` indexes below `completions` that are not in the set.
    pub(super) fn first_missing(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut found = Vec::new();
        let mut candidate = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let left = count - found.len();
            found.extend((candidate..first.min(completions)).take(left));
            candidate = candidate.max(last.saturating_add(1));
        }
        found
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.0.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// The completion index of a pod, if it has one.
pub(super) fn index_of(pod: &Pod) -> Option<i32> {
    annotation(pod, INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// An annotation of a pod.
pub(super) fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The indexes that are not to be given to a new pod because one has them: active pods, and those that
/// are going away when only ended ones are replaced.
pub(super) fn taken(pods: &[Arc<Pod>], terminating_too: bool) -> BTreeSet<i32> {
    let counts = |pod: &&Arc<Pod>| {
        is_active(pod)
            || terminating_too && is_deleting(pod) && !kubeplane_workload::is_terminal(pod)
    };
    pods.iter().filter(counts).filter_map(|pod| index_of(pod)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_merged_and_written() {
        let table = [
            ("", 10, "", 0),
            ("0", 10, "0", 1),
            ("0,1,2,4,7-9", 10, "0-2,4,7-9", 7),
            ("3-12,x,5-y", 10, "3-9", 7),
            ("1,2,9", 9, "1,2", 2),
        ];
        for (text, completions, expected, total) in table {
            let indexes = Indexes::parse(text, completions);
            assert_eq!(
                (indexes.to_string().as_str(), indexes.total()),
                (expected, total),
                "{text}"
            );
        }
        let some = Indexes::parse("1-3,7", 10);
        assert_eq!(some.with([4, 0, 9]).to_string(), "0-4,7,9");
        assert!(some.has(2) && some.has(7) && !some.has(4) && !some.has(8));
        assert_eq!(some.common(&Indexes::parse("3-7", 10)), 2);
        assert_eq!(some.first_missing(3, 10), [0, 4, 5]);
        assert_eq!(some.first_missing(9, 8), [0, 4, 5, 6]);
    }

    #[test]
    fn more_indexes_are_put_among_those_there_are() {
        let table = [
            ("", 2, vec![1], "1"),
            ("", 11, vec![5, 5, 10], "5,10"),
            ("0-5,8-10", 8, vec![], "0-5"),
            ("0-5,8-10", 10, vec![], "0-5,8,9"),
            ("0,4,5,10-12", 13, vec![2, 7, 8], "0,2,4,5,7,8,10-12"),
            ("3,4,6", 9, vec![2, 7, 8], "2-4,6-8"),
            ("2,7,8", 9, vec![3, 4, 6], "2-4,6-8"),
            ("2-7", 10, vec![0, 3, 5, 9], "0,2-7,9"),
            ("0,1-odd,odd", 4, vec![3], "0,3"),
            ("9", 2, vec![1], "1"),
        ];
        for (before, completions, more, expected) in table {
            let after = Indexes::parse(before, completions).with(more);
            assert_eq!(after.to_string(), expected, "after {before}");
        }
        let some = Indexes::parse("2-4,6-8", 10);
        let present: Vec<_> = (0..10).filter(|index| some.has(*index)).collect();
        assert_eq!(present, [2, 3, 4, 6, 7, 8]);
        assert!(!Indexes::default().has(4));
    }

    #[test]
    fn the_first_indexes_are_free_that_no_pod_has_and_that_are_not_over() {
        let table = [
            ("", vec![], 5, 3, vec![0, 1, 2]),
            ("", vec![], 2, 5, vec![0, 1]),
            ("", vec![], 0, 5, vec![]),
            ("", vec![0, 1], 3, 10, vec![2, 3, 4]),
            ("4,5", vec![6], 6, 6, vec![0, 1, 2, 3]),
            ("2-4,9", vec![3, 5, 8], 5, 20, vec![0, 1, 6, 7, 10]),
            ("1,2,5-7,9", vec![3, 9], 5, 20, vec![0, 4, 8, 10, 11]),
        ];
        for (over, taken, count, completions, expected) in table {
            let about = format!("{count} of {completions} without {over} and {taken:?}");
            let over = Indexes::parse(over, completions).with(taken);
            assert_eq!(over.first_missing(count, completions), expected, "{about}");
        }
    }
}
