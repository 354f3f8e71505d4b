//! The original's `misc` rows.

use super::super::objects::{gated, light, of_class, of_daemon_set, plain, with_finalizer};
use super::{
    Churn, ONLY, Row, Step, alike, before, beside, each, full, measured, namespaces, nodes,
    only_node, pods, small,
};
use std::time::Duration;

pub(super) fn rows() -> Vec<Row> {
    [basic(), preemption(), unschedulable(), leaving()].into_iter().flatten().collect()
}

fn basic() -> Vec<Row> {
    let mut rows = alike(
        "SchedulingBasic",
        &[],
        &plain(),
        &[
            small("500Nodes", 500, 500, 1000),
            small("5000Nodes", 5000, 1000, 1000),
            full("5000Nodes_10000Pods", 5000, 1000, 10_000),
            full("5000Nodes_50000Pods", 5000, 5000, 50_000),
        ],
    );
    rows.extend(each("SchedulingDaemonset", &[full("15000Nodes", 15_000, 0, 30_000)], |own| {
        let daemons = measured(own.pods, of_daemon_set(ONLY));
        vec![only_node(), nodes(own.nodes), namespaces(), daemons]
    }));
    rows
}

fn churn(cpu: &str, every: u64, again: bool) -> Step {
    let every = Duration::from_millis(every);
    Step::Churn(Churn { template: of_class("high", cpu), every, again })
}

fn preemption() -> Vec<Row> {
    let low = || of_class("low", "900m");
    let async_scales = [small("500Nodes", 500, 2000, 500), full("5000Nodes", 5000, 20_000, 5000)];
    let mut rows = each("PreemptionBasic", &[full("1000Nodes", 1000, 4000, 1000)], |own| {
        vec![
            nodes(own.nodes),
            namespaces(),
            before(own.init, low()),
            measured(own.pods, of_class("high", "3")),
        ]
    });
    rows.extend(each("PreemptionAsync", &async_scales, |own| {
        vec![
            nodes(own.nodes),
            namespaces(),
            before(own.init, low()),
            churn("3", 200, false),
            measured(own.pods, plain()),
        ]
    }));
    rows
}

fn unschedulable() -> Vec<Row> {
    let scales = [
        small("500Nodes_10Init_1kPods", 500, 10, 1000),
        small("5kNodes_100Init_1kPods", 5000, 100, 1000),
        full("5kNodes_100Init_10kPods", 5000, 100, 10_000),
        full("5kNodes_20kInit_10kPods", 5000, 20_000, 10_000),
    ];
    let mut rows = each("Unschedulable", &scales, |own| {
        vec![
            nodes(own.nodes),
            namespaces(),
            before(own.init, plain()),
            churn("9", 200, false),
            measured(own.pods, plain()),
        ]
    });
    let scales = [
        small("1000Nodes", 1000, 0, 1000),
        small("5000Nodes", 5000, 0, 2000),
        full("5000Nodes_10000Pods", 5000, 0, 10_000),
    ];
    rows.extend(each("SchedulingWithMixedChurn", &scales, |own| {
        vec![nodes(own.nodes), namespaces(), churn("9", 1000, true), measured(own.pods, plain())]
    }));
    rows
}

fn leaving() -> Vec<Row> {
    let gone = || Step::Namespaces("deleted", 1);
    let delete = |per_second| Step::Delete { namespace: "deleted-0", labels: "", per_second };
    let deleting = [
        small("1000Node_1000DeletingPods", 1000, 1000, 1000),
        full("5000Node_5000DeletingPods", 5000, 5000, 5000),
    ];
    let mut rows =
        each("SchedulingWhileGated", &[full("1Node_10000GatedPods", 1, 10_000, 20_000)], |own| {
            vec![
                only_node(),
                namespaces(),
                gone(),
                beside("sched-0", own.init, gated(false)),
                Step::Pods(pods("deleted-0", own.pods, light())),
                delete(50),
                measured(own.pods, light()),
            ]
        });
    rows.extend(each("SchedulingDeletedPodsWithFinalizers", &deleting, |own| {
        vec![
            nodes(own.nodes),
            namespaces(),
            gone(),
            beside("deleted-0", own.init, with_finalizer()),
            delete(100),
            measured(own.pods, light()),
        ]
    }));
    rows
}
