//! The original's `dra` rows.

use super::super::objects::{
    Place,
    devices::{Resources, one_of_25, one_of_25_implicit, one_of_50, same, with_claim},
    light,
};
use super::{AT_ONCE, Row, Step, before, each, full, measured, namespaces, nodes, small};
use serde_json::Value;
use std::time::Duration;

/// Devices are counted for NodeResourcesFit as CPU and memory are.
const SCORED: &str = "
profiles:
- schedulerName: default-scheduler
  pluginConfig:
  - name: NodeResourcesFit
    args:
      scoringStrategy:
        type: LeastAllocated
        resources:
        - {name: cpu, weight: 1}
        - {name: memory, weight: 1}
        - {name: example.com/gpu, weight: 1}
";

pub(super) fn rows() -> Vec<Row> {
    let all = [claims(), steady(), published(), resources(), scored()];
    all.into_iter().flatten().collect()
}

/// Pods with a claim of their own each, by a template; in the end no device is free. The original has the controller for
/// claims run beside the scheduler, too.
fn claims() -> Vec<Row> {
    let scales =
        [small("2000pods_200nodes", 200, 1000, 1000), full("5000pods_500nodes", 500, 2500, 2500)];
    each("SchedulingWithResourceClaimTemplate", &scales, |own| {
        vec![
            nodes(own.nodes),
            Step::Devices(10),
            namespaces(),
            Step::ClaimTemplate("sched-0"),
            Step::ClaimTemplate("sched-1"),
            before(own.init, with_claim()),
            measured(own.pods, with_claim()),
        ]
    })
}

/// Pods that come and go for ten seconds, where so many devices are taken before.
fn steady() -> Vec<Row> {
    let scales = [
        small("empty_100nodes", 100, 0, 0),
        small("empty_200nodes", 200, 0, 0),
        full("empty_500nodes", 500, 0, 0),
        small("half_100nodes", 100, 500, 0),
        small("half_200nodes", 200, 1000, 0),
        full("half_500nodes", 500, 2500, 0),
        small("full_100nodes", 100, 990, 0),
        small("full_200nodes", 200, 1990, 0),
        full("full_500nodes", 500, 4990, 0),
    ];
    each("SteadyStateClusterResourceClaimTemplate", &scales, |own| {
        let lasting = Duration::from_secs(10);
        vec![
            nodes(own.nodes),
            Step::Devices(10),
            namespaces(),
            Step::Claims("sched-0", own.init),
            Step::ClaimTemplate("sched-1"),
            Step::Steady { namespace: "sched-1", at_once: AT_ONCE, lasting },
        ]
    })
}

/// Nothing but devices that are published; no pod waits for them.
fn published() -> Vec<Row> {
    let scales = [full("500nodes", 500, 0, 0), full("5000nodes", 5000, 0, 0)];
    each("PublishResourceSlices", &scales, |own| {
        vec![nodes(own.nodes), namespaces(), Step::Publish(10)]
    })
}

/// Pods that ask for devices as for extended resources.
fn resources() -> Vec<Row> {
    type Apart = fn(&mut Value, Place);
    let tests: [(&'static str, Resources, usize, Apart); 3] = [
        ("ExtendedResource_25Classes", Resources::Own, 25, one_of_25),
        ("ExtendedResource_50Classes", Resources::Own, 50, one_of_50),
        ("ImplicitExtendedResource_25Classes", Resources::Implicit, 25, one_of_25_implicit),
    ];
    let mut rows = Vec::new();
    for (test, kind, classes, apart) in tests {
        let scales = [
            small("2000pods_200nodes", 200, 1000, 1000),
            full("5000pods_500nodes", 500, 2500, 2500),
        ];
        let asking = || light().each(apart);
        rows.extend(each(test, &scales, |own| {
            vec![
                nodes(own.nodes),
                Step::Devices(10),
                Step::Classes(kind, classes),
                namespaces(),
                before(own.init, asking()),
                measured(own.pods, asking()),
            ]
        }));
    }
    rows
}

fn scored() -> Vec<Row> {
    let scales = [
        (10, full("2000pods_200nodes", 200, 0, 2000)),
        (20, full("5000pods_500nodes", 500, 0, 5000)),
    ];
    let mut rows = Vec::new();
    for (classes, scale) in scales {
        rows.extend(each("ExtendedResourceScoring", &[scale], |own| {
            vec![
                nodes(own.nodes),
                Step::Devices(20),
                Step::Classes(Resources::Same, classes),
                namespaces(),
                measured(own.pods, light().each(same)),
            ]
        }));
    }
    for row in &mut rows {
        row.configuration = SCORED;
    }
    rows
}
