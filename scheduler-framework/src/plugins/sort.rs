use crate::{ClusterEvent, PodInfo, QueueSort, SchedulerPlugin};
use std::{cmp::Ordering, time::Duration};

/// Pods of higher priority first, then those that have waited longer.
#[derive(Debug, Clone, Copy, Default)]
pub struct PrioritySort;

impl SchedulerPlugin for PrioritySort {
    fn name(&self) -> &'static str {
        "PrioritySort"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        Vec::new()
    }

    fn as_queue_sort(&self) -> Option<&dyn QueueSort> {
        Some(self)
    }
}

impl QueueSort for PrioritySort {
    fn compare(&self, a: (&PodInfo, Duration), b: (&PodInfo, Duration)) -> Ordering {
        b.0.priority().cmp(&a.0.priority()).then(a.1.cmp(&b.1))
    }
}
