//! The bench of the scheduler measures what the original measures, and runs.

#[path = "../../benches/scheduler_perf/figures.rs"]
mod figures;
#[path = "../../benches/scheduler_perf/objects.rs"]
mod objects;
#[path = "../../benches/scheduler_perf/once.rs"]
mod once;
#[path = "../../benches/scheduler_perf/process.rs"]
mod process;
#[path = "../../benches/scheduler_perf/rates.rs"]
mod rates;
#[path = "../../benches/scheduler_perf/rows.rs"]
mod rows;
#[path = "../../benches/scheduler_perf/run.rs"]
mod run;

use figures::{figures, medians, told};
use once::once;
use process::Chosen;
use rates::Rates;
use rows::{Row, Step, chosen, rows};
use run::Measured;
use std::{collections::BTreeSet, time::Duration};

/// Test and size, nodes, pods that are there before, and pods that are measured, as the original labels `performance`.
const LABELLED: [(&str, usize, usize, usize); 56] = [
    ("SchedulingBasic/5000Nodes_10000Pods", 5000, 1000, 10_000),
    ("SchedulingBasic/5000Nodes_50000Pods", 5000, 5000, 50_000),
    ("SchedulingDaemonset/15000Nodes", 15_001, 0, 30_000),
    ("PreemptionBasic/1000Nodes", 1000, 4000, 1000),
    ("PreemptionAsync/5000Nodes", 5000, 20_000, 5000),
    ("Unschedulable/5kNodes_100Init_10kPods", 5000, 100, 10_000),
    ("Unschedulable/5kNodes_20kInit_10kPods", 5000, 20_000, 10_000),
    ("SchedulingWithMixedChurn/5000Nodes_10000Pods", 5000, 0, 10_000),
    ("SchedulingWhileGated/1Node_10000GatedPods", 1, 30_000, 20_000),
    ("SchedulingDeletedPodsWithFinalizers/5000Node_5000DeletingPods", 5000, 5000, 5000),
    ("SchedulingWithExtendedResource/5000pods_5000nodes", 5000, 0, 5000),
    ("SchedulingPodAntiAffinity/5000Nodes_2000Pods", 5000, 1000, 2000),
    ("SchedulingPodMatchingAntiAffinity/5000Nodes_5000Pods", 5000, 1000, 5000),
    ("SchedulingPodAffinity/5000Nodes", 5000, 5000, 1000),
    ("SchedulingPodAffinity/5000Nodes_5000Pods", 5000, 5000, 5000),
    ("SchedulingPreferredPodAffinity/5000Nodes_5000Pods", 5000, 5000, 5000),
    ("SchedulingPreferredPodAntiAffinity/5000Nodes", 5000, 5000, 1000),
    ("SchedulingPreferredPodAntiAffinity/5000Nodes_5000Pods", 5000, 5000, 5000),
    ("SchedulingNodeAffinity/5000Nodes_10000Pods", 5000, 5000, 10_000),
    ("MixedSchedulingBasePod/5000Nodes_5000Pods", 5000, 10_000, 5000),
    ("SchedulingRequiredPodAntiAffinityWithNSSelector/5000Nodes", 5000, 4000, 1000),
    ("SchedulingRequiredPodAntiAffinityWithNSSelector/5000Nodes_2000Pods", 6000, 4000, 2000),
    ("SchedulingPreferredAntiAffinityWithNSSelector/5000Nodes", 5000, 4000, 1000),
    ("SchedulingPreferredAntiAffinityWithNSSelector/5000Nodes_2000Pods", 5000, 4000, 2000),
    ("SchedulingRequiredPodAffinityWithNSSelector/5000Nodes", 5000, 5000, 1000),
    ("SchedulingRequiredPodAffinityWithNSSelector/5000Nodes_2000Pods", 5000, 5000, 2000),
    ("SchedulingPreferredAffinityWithNSSelector/5000Nodes_5000Pods", 5000, 5000, 5000),
    (
        "SchedulingGatedPodsWithPodAffinityImpactForThroughput/1Node_10000GatedPods",
        1,
        10_000,
        20_000,
    ),
    ("SchedulingSecrets/5000Nodes_10000Pods", 5000, 1000, 10_000),
    ("SchedulingInTreePVs/5000Nodes", 5000, 5000, 1000),
    ("SchedulingInTreePVs/5000Nodes_2000Pods", 5000, 1000, 2000),
    ("SchedulingMigratedInTreePVs/5000Nodes", 5000, 5000, 1000),
    ("SchedulingMigratedInTreePVs/5000Nodes_5000Pods", 5000, 5000, 5000),
    ("SchedulingCSIPVs/5000Nodes", 5000, 5000, 1000),
    ("SchedulingCSIPVs/5000Nodes_5000Pods", 5000, 5000, 5000),
    ("PreemptionPVs/1000Nodes", 1000, 4000, 1000),
    ("TopologySpreading/5000Nodes", 5000, 5000, 2000),
    ("PreferredTopologySpreading/5000Nodes_5000Pods", 5000, 5000, 5000),
    ("DefaultTopologySpreading/5000Nodes_50000Pods", 5000, 5000, 50_000),
    ("SchedulingWithNodeInclusionPolicy/5000Nodes", 5000, 0, 4000),
    ("EventHandlingPodDelete/50Nodes_500Pods", 50, 960, 2960),
    ("EventHandlingPodUpdate/1Node_1000Pods", 3, 1000, 6000),
    ("EventHandlingNodeAdd/100Nodes_1000Pods", 302, 0, 6000),
    ("EventHandlingPodAdd/1000Pods", 2, 2001, 2000),
    ("EventHandlingNodeUpdate/100Nodes_1000Pods", 400, 0, 6000),
    ("SchedulingWithResourceClaimTemplate/5000pods_500nodes", 500, 2500, 2500),
    ("SteadyStateClusterResourceClaimTemplate/empty_500nodes", 500, 0, 10),
    ("SteadyStateClusterResourceClaimTemplate/half_500nodes", 500, 0, 10),
    ("SteadyStateClusterResourceClaimTemplate/full_500nodes", 500, 0, 10),
    ("ExtendedResource_25Classes/5000pods_500nodes", 500, 2500, 2500),
    ("ExtendedResource_50Classes/5000pods_500nodes", 500, 2500, 2500),
    ("ImplicitExtendedResource_25Classes/5000pods_500nodes", 500, 2500, 2500),
    ("ExtendedResourceScoring/2000pods_200nodes", 200, 0, 2000),
    ("ExtendedResourceScoring/5000pods_500nodes", 500, 0, 5000),
    ("PublishResourceSlices/500nodes", 500, 0, 0),
    ("PublishResourceSlices/5000nodes", 5000, 0, 0),
];

/// Nodes, pods before and pods measured.
fn sizes(row: &Row) -> (usize, usize, usize) {
    let (mut nodes, mut before, mut measured) = (0, 0, 0);
    for step in &row.steps {
        match step {
            Step::Nodes(own) => nodes += own.count,
            Step::Pods(own) if own.measured || own.is_watched() => measured += own.count,
            Step::Steady { at_once, .. } => measured += at_once,
            Step::Pods(own) => before += own.count,
            Step::Everywhere { namespaces, each, .. } => before += namespaces * each,
            Step::Namespaces(..)
            | Step::Service(_)
            | Step::Churn(_)
            | Step::Delete { .. }
            | Step::Watch
            | Step::Tried
            | Step::Settled
            | Step::Update(_)
            | Step::Devices(_)
            | Step::Publish(_)
            | Step::Classes(..)
            | Step::ClaimTemplate(_)
            | Step::Claims(..) => {}
        }
    }
    (nodes, before, measured)
}

#[test]
fn rows_have_the_originals_sizes() {
    let all = rows();
    let names: BTreeSet<_> = all.iter().map(Row::name).collect();
    assert_eq!(names.len(), all.len(), "no two rows have one name");
    for (name, nodes, before, measured) in LABELLED {
        let row = all.iter().find(|own| own.name() == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(row.performance, "{name}");
        assert_eq!(sizes(row), (nodes, before, measured), "{name}");
    }
    for row in &all {
        let measuring = |step: &&Step| match step {
            Step::Pods(own) => own.measured,
            Step::Watch | Step::Steady { .. } | Step::Publish(_) => true,
            _ => false,
        };
        assert_eq!(row.steps.iter().filter(measuring).count(), 1, "{}", row.name());
        let paced = ["EventHandling", "SteadyState", "PublishResourceSlices"];
        let paced = paced.iter().any(|prefix| row.test.starts_with(prefix));
        assert_eq!(row.is_paced(), paced, "{}", row.name());
    }
}

#[test]
fn rows_are_chosen_by_test_and_size() {
    let names = |row: &str, scale: &str| {
        chosen(rows(), row, scale).iter().map(Row::name).collect::<Vec<_>>()
    };
    assert_eq!(names("SchedulingBasic", "5000Nodes"), ["SchedulingBasic/5000Nodes"]);
    assert_eq!(
        names("SchedulingBasic", ""),
        ["SchedulingBasic/5000Nodes_10000Pods", "SchedulingBasic/5000Nodes_50000Pods"]
    );
    assert_eq!(names("TopologySpreading", "5000Nodes").len(), 1, "not those that end so");
    assert!(names("Preemption", "").len() >= 3, "a part of a name is enough");
    assert!(names("NoSuchRow", "").is_empty());
    assert!(names("", "").len() >= LABELLED.len());
}

#[test]
fn figures_are_the_originals() {
    let rates = Rates::new((1..=10).rev().map(f64::from).collect());
    assert_eq!(rates.average(), Some(5.5));
    let percentiles = [50, 90, 95, 99].map(|percent| rates.percentile(percent));
    assert_eq!(percentiles, [Some(5.0), Some(9.0), Some(10.0), Some(10.0)]);
    let run = |seconds: u64, rates: Rates| {
        let (made, placed) = (Duration::from_secs(1), Duration::from_secs(seconds));
        figures(&Measured { nodes: 5, pods: 1000, made, placed, rates })
    };
    let short = run(1, Rates::default());
    assert_eq!(short, [Some(1000.0), None, None, None, None, None], "no second was whole");
    let three = medians(&[run(2, rates), short, run(10, Rates::new(vec![100.0; 9]))]);
    // Of two there are the one that is between them.
    assert_eq!(three[..2], [Some(500.0), Some(52.75)]);
    assert!(told(&short).ends_with("average      - p50      - p90      - p95      - p99      -"));
}

async fn run_small(row: &str, scale: &str, scheduler: &Chosen) {
    let row = chosen(rows(), row, scale).remove(0);
    let own = once(&row, 100, scheduler).await;
    let own = own.unwrap_or_else(|why| panic!("{} with {}: {why}", row.name(), scheduler.name()));
    assert_eq!((own.nodes, own.pods), (5, 10), "{}", row.name());
    assert!(own.made <= own.placed, "the last is placed after it was made");
    assert_eq!(figures(&own)[0].map(|rate| rate > 0.0), Some(true));
}

/// Runs a row and says how many nodes it had, and how many pods were measured.
async fn run_divided(row: &str, scale: &str, divisor: usize) -> (usize, usize) {
    let row = chosen(rows(), row, scale).remove(0);
    let own = once(&row, divisor, &Chosen::of("")).await;
    let own = own.unwrap_or_else(|why| panic!("{}: {why}", row.name()));
    assert!(own.made <= own.placed, "{}", row.name());
    (own.nodes, own.pods)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_wait_for_events_of_pods_get_their_nodes() {
    assert_eq!(run_divided("EventHandlingPodDelete", "2Nodes_20Pods", 1).await, (2, 110));
    assert_eq!(run_divided("EventHandlingPodUpdate", "1Node_10Pods", 1).await, (3, 60));
    assert_eq!(run_divided("EventHandlingPodAdd", "10Pods", 1).await, (2, 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_wait_for_events_of_nodes_get_their_nodes() {
    assert_eq!(run_divided("EventHandlingNodeAdd", "2Nodes_20Pods", 1).await, (8, 120));
    assert_eq!(run_divided("EventHandlingNodeUpdate", "2Nodes_20Pods", 1).await, (8, 120));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_devices_in_every_row_with_devices() {
    for row in ["ExtendedResource_25", "ExtendedResource_50", "ImplicitExtendedResource_25"] {
        let row = format!("{row}Classes");
        assert_eq!(run_divided(&row, "2000pods_200nodes", 100).await, (2, 10), "{row}");
    }
    let scored = run_divided("ExtendedResourceScoring", "2000pods_200nodes", 100).await;
    assert_eq!(scored, (2, 20));
    assert_eq!(run_divided("PublishResourceSlices", "500nodes", 100).await, (5, 5));
    for scale in ["empty_100nodes", "half_100nodes", "full_100nodes"] {
        let steady = run_divided("SteadyStateClusterResourceClaimTemplate", scale, 20).await;
        assert!(steady.0 == 5 && steady.1 >= 10, "{scale}: {steady:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_runs_with_the_scheduler_inside() {
    run_small("SchedulingBasic", "500Nodes", &Chosen::of("")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_runs_with_the_scheduler_as_a_process() {
    let own = Chosen::of("own");
    assert!(own.is_apart() && Chosen::of("/usr/bin/kube-scheduler").is_apart());
    run_small("SchedulingBasic", "500Nodes", &own).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_whose_scheduler_ends_is_told() {
    let row = chosen(rows(), "SchedulingBasic", "500Nodes").remove(0);
    let why = once(&row, 100, &Chosen::of("/bin/false")).await.err().unwrap_or_default();
    assert!(why.starts_with("the scheduler ended: "), "{why}");
}
