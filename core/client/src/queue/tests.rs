use super::*;
use futures::FutureExt;
use kubeplane_clock::PausedClock;
use prometheus_client::{encoding::text::encode, registry::Registry};

fn paused() -> PausedClock {
    PausedClock::starting_at(jiff::Timestamp::UNIX_EPOCH)
}

fn queue(clock: &PausedClock) -> WorkQueue<u32> {
    WorkQueue::new(Arc::new(clock.clone()), &QueueOptions::named("test"))
}

fn now(queue: &WorkQueue<u32>) -> Option<u32> {
    queue.take().now_or_never().flatten()
}

#[tokio::test]
async fn an_item_added_while_worked_on_comes_again_when_done_and_not_before() {
    let queue = queue(&paused());
    queue.add(1);
    queue.add(1);
    assert_eq!(now(&queue), Some(1));
    queue.add(1);
    queue.add(1);
    assert_eq!(now(&queue), None);
    queue.done(&1);
    assert_eq!(now(&queue), Some(1));
    queue.done(&1);
    assert_eq!(now(&queue), None);
    assert!(queue.is_idle());
}

#[tokio::test]
async fn the_most_urgent_comes_first_and_equals_in_their_order() {
    let clock = paused();
    let queue = queue(&clock);
    queue.add(1);
    queue.add_prioritized(2, 5);
    queue.add_prioritized(3, -5);
    queue.add_prioritized(4, 5);
    // What waits becomes more urgent, never less.
    queue.add_prioritized(3, 10);
    queue.add_prioritized(2, 1);
    let all: Vec<_> = std::iter::from_fn(|| now(&queue)).collect();
    assert_eq!(all, [3, 2, 4, 1]);
    // What is added while it is worked on is as urgent as that add says.
    queue.add(4);
    queue.add_prioritized(1, 7);
    queue.done(&4);
    queue.done(&1);
    assert_eq!((now(&queue), now(&queue)), (Some(1), Some(4)));
    // A retry is as urgent as the first try was.
    queue.add_rate_limited(1);
    queue.done(&1);
    queue.add(6);
    clock.advance(Duration::from_millis(5));
    assert_eq!((now(&queue), now(&queue)), (Some(1), Some(6)));
    for item in [2, 3, 4, 1, 6] {
        queue.forget(&item);
        queue.done(&item);
    }
    assert!(queue.is_idle() && queue.is_empty());
    // Nothing is left of what the items were.
    queue.add(8);
    queue.add_after(7, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    assert_eq!((now(&queue), now(&queue)), (Some(8), Some(7)));
}

#[tokio::test]
async fn the_shortest_of_several_delays_counts() {
    let clock = paused();
    let queue = queue(&clock);
    queue.add_after(1, Duration::from_secs(10));
    queue.add_after(1, Duration::from_secs(5));
    queue.add_after(1, Duration::from_secs(20));
    clock.advance(Duration::from_secs(4));
    assert_eq!(now(&queue), None);
    clock.advance(Duration::from_secs(1));
    assert_eq!(now(&queue), Some(1));
    queue.done(&1);
    clock.advance(Duration::from_secs(60));
    assert_eq!(now(&queue), None);
}

#[tokio::test]
async fn a_waiting_worker_wakes_at_the_deadline() {
    let clock = paused();
    let queue = queue(&clock);
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.take().await }
    });
    tokio::task::yield_now().await;
    queue.add_after(7, Duration::from_secs(1));
    while clock.next_wake().is_none() {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(worker.await.unwrap(), Some(7));
}

#[tokio::test]
async fn failures_double_the_pause_until_success() {
    let clock = paused();
    let queue = queue(&clock);
    for expected in [5, 10, 20, 40] {
        queue.add_rate_limited(1);
        clock.advance(Duration::from_millis(expected - 1));
        assert_eq!(now(&queue), None, "before {expected} ms");
        clock.advance(Duration::from_millis(1));
        assert_eq!(now(&queue), Some(1), "after {expected} ms");
        queue.done(&1);
    }
    assert_eq!(queue.failures(&1), 4);
    queue.forget(&1);
    assert_eq!(queue.failures(&1), 0);
}

#[tokio::test]
async fn all_items_together_keep_to_the_overall_rate() {
    let clock = paused();
    let queue = queue(&clock);
    for item in 0..110 {
        queue.add_rate_limited(item);
    }
    clock.advance(Duration::from_millis(50));
    let at_once = std::iter::from_fn(|| now(&queue)).count();
    assert_eq!(at_once, 100);
    clock.advance(Duration::from_secs(1));
    assert_eq!(std::iter::from_fn(|| now(&queue)).count(), 10);
}

#[tokio::test]
async fn workers_end_after_the_last_ready_item() {
    let queue = queue(&paused());
    queue.add(1);
    queue.add_after(2, Duration::from_secs(1));
    queue.shut_down();
    queue.add(3);
    assert_eq!(queue.take().await, Some(1));
    assert_eq!(queue.take().await, None);
}

#[test]
fn nothing_is_kept_of_what_is_done_and_did_not_fail() {
    let queue = queue(&paused());
    for item in 0..1000 {
        queue.add(item);
        queue.add(item + 1);
        assert_eq!(now(&queue), Some(item));
        queue.done(&item);
        assert_eq!(now(&queue), Some(item + 1));
        queue.done(&(item + 1));
    }
    queue.note_failure(&1);
    queue.done(&7);
    assert!(queue.is_idle() && queue.failures(&1) == 1);
    let number = queue.shared.numbers.lock().reserve(&5000);
    assert!(number <= 2, "{number}: numbers are used again");
    queue.forget(&1);
    assert_eq!(queue.failures(&1), 0);
}

#[tokio::test]
async fn what_two_workers_do_at_once_stays_apart() {
    let queue = queue(&paused());
    queue.add(1);
    queue.add(2);
    assert_eq!((now(&queue), now(&queue)), (Some(1), Some(2)));
    queue.done(&1);
    queue.add(3);
    queue.add(2);
    assert_eq!(now(&queue), Some(3));
    assert_eq!(now(&queue), None);
    queue.done(&2);
    assert_eq!(now(&queue), Some(2));
    queue.done(&3);
    queue.done(&2);
    assert!(queue.is_idle());
}

#[test]
fn metrics_have_the_original_names() {
    let (clock, options) = (paused(), QueueOptions::named("deployment"));
    let queue: WorkQueue<u32> = WorkQueue::new(Arc::new(clock.clone()), &options);
    let mut registry = Registry::default();
    options.metrics.register(&mut registry);
    queue.add(1);
    queue.add(2);
    assert_eq!(now(&queue), Some(1));
    clock.advance(Duration::from_secs(2));
    assert_eq!(now(&queue), Some(2));
    clock.advance(Duration::from_secs(1));
    let told = || {
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    };
    let text = told();
    for line in [
        "workqueue_depth{name=\"deployment\"} 0",
        "workqueue_adds_total{name=\"deployment\"} 2",
        "workqueue_retries_total{name=\"deployment\"} 0",
        "workqueue_queue_duration_seconds_count{name=\"deployment\"} 2",
        "workqueue_unfinished_work_seconds{name=\"deployment\"} 4.0",
        "workqueue_longest_running_processor_seconds{name=\"deployment\"} 3.0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    queue.done(&1);
    let text = told();
    let left = "workqueue_longest_running_processor_seconds{name=\"deployment\"} 1.0";
    assert!(text.contains(left), "{left} is not in\n{text}");
    drop(queue);
    assert!(
        !told().contains("workqueue_unfinished_work_seconds"),
        "a queue that is gone works no more"
    );
}
