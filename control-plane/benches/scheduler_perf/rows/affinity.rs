//! The original's `affinity` rows.

use super::super::objects::{
    HOST, Template, ZONE, colored, gated, labelled, node_affinity, of_color, plain,
};
use super::{
    Row, Scale, Step, ZONE1, alike, before, beside, each, full, measured, namespaces, nodes,
    only_node, small, zoned,
};

pub(super) fn rows() -> Vec<Row> {
    [among_pods(), among_namespaces(), mixed()].into_iter().flatten().collect()
}

fn among_pods() -> Vec<Row> {
    let (anti, with) = ("podAntiAffinity", "podAffinity");
    let required = of_color("green", anti, HOST, true, false);
    let together = of_color("blue", with, ZONE, true, false);
    let liking = of_color("red", with, HOST, false, false);
    let shunning = of_color("yellow", anti, HOST, false, false);
    let matching = [small("500Nodes", 500, 100, 400), full("5000Nodes_5000Pods", 5000, 1000, 5000)];
    let middle = small("500Nodes", 500, 500, 1000);
    let large = || full("5000Nodes_5000Pods", 5000, 5000, 5000);
    [
        alike(
            "SchedulingPodAntiAffinity",
            &[],
            &required,
            &[
                small("500Nodes", 500, 100, 400),
                small("5000Nodes", 5000, 1000, 1000),
                full("5000Nodes_2000Pods", 5000, 1000, 2000),
            ],
        ),
        each("SchedulingPodMatchingAntiAffinity", &matching, |own| {
            vec![
                nodes(own.nodes),
                namespaces(),
                before(own.init, required.clone()),
                // They have no rule themselves, but those before want none of them near.
                measured(own.pods, colored("green")),
            ]
        }),
        alike(
            "SchedulingPodAffinity",
            ZONE1,
            &together,
            &[small("500Nodes", 500, 500, 1000), full("5000Nodes", 5000, 5000, 1000), large()],
        ),
        alike(
            "SchedulingPreferredPodAffinity",
            &[],
            &liking,
            &[middle, small("5000Nodes", 5000, 5000, 1000), large()],
        ),
        alike(
            "SchedulingPreferredPodAntiAffinity",
            &[],
            &shunning,
            &[small("500Nodes", 500, 500, 1000), full("5000Nodes", 5000, 5000, 1000), large()],
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn among_namespaces() -> Vec<Row> {
    let (anti, with) = ("podAntiAffinity", "podAffinity");
    let required = of_color("green", anti, HOST, true, true);
    let shunning = of_color("green", anti, HOST, false, true);
    let together = of_color("blue", with, ZONE, true, true);
    let liking = of_color("red", with, HOST, false, true);
    [
        selected(
            "SchedulingRequiredPodAntiAffinityWithNSSelector",
            &[],
            &required,
            &[
                full("5000Nodes", 5000, 40, 1000),
                // So the original calls it.
                full("5000Nodes_2000Pods", 6000, 40, 2000),
            ],
        ),
        selected(
            "SchedulingPreferredAntiAffinityWithNSSelector",
            &[],
            &shunning,
            &[full("5000Nodes", 5000, 40, 1000), full("5000Nodes_2000Pods", 5000, 40, 2000)],
        ),
        selected(
            "SchedulingRequiredPodAffinityWithNSSelector",
            ZONE1,
            &together,
            &[full("5000Nodes", 5000, 50, 1000), full("5000Nodes_2000Pods", 5000, 50, 2000)],
        ),
        selected(
            "SchedulingPreferredAffinityWithNSSelector",
            &[],
            &liking,
            &[small("5000Nodes", 5000, 50, 1000), full("5000Nodes_5000Pods", 5000, 50, 5000)],
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn mixed() -> Vec<Row> {
    let (anti, with) = ("podAntiAffinity", "podAffinity");
    let scales = [
        small("500Nodes", 500, 200, 1000),
        small("5000Nodes", 5000, 2000, 1000),
        full("5000Nodes_5000Pods", 5000, 2000, 5000),
    ];
    let mut rows = alike(
        "SchedulingNodeAffinity",
        ZONE1,
        &node_affinity(),
        &[
            small("500Nodes", 500, 500, 1000),
            small("5000Nodes", 5000, 5000, 1000),
            full("5000Nodes_10000Pods", 5000, 5000, 10_000),
        ],
    );
    rows.extend(each("MixedSchedulingBasePod", &scales, |own| {
        vec![
            zoned(own.nodes, ZONE1),
            namespaces(),
            before(own.init, plain()),
            before(own.init, of_color("blue", with, ZONE, true, false)),
            before(own.init, of_color("green", anti, HOST, true, false)),
            before(own.init, of_color("red", with, HOST, false, false)),
            before(own.init, of_color("yellow", anti, HOST, false, false)),
            measured(own.pods, plain()),
        ]
    }));
    rows.extend(each(
        "SchedulingGatedPodsWithPodAffinityImpactForThroughput",
        &[full("1Node_10000GatedPods", 1, 10_000, 20_000)],
        |own| {
            vec![
                only_node(),
                namespaces(),
                beside("sched-0", own.init, gated(true)),
                measured(own.pods, labelled()),
            ]
        },
    ));
    rows
}

/// Pods in a hundred namespaces that a selector picks, so many in each.
fn selected(
    test: &'static str,
    zones: &'static [&'static str],
    template: &Template,
    scales: &[Scale],
) -> Vec<Row> {
    let (prefix, count) = ("init-ns", 100);
    each(test, scales, |own| {
        let each = own.init;
        vec![
            zoned(own.nodes, zones),
            Step::Namespaces(prefix, count),
            namespaces(),
            Step::Everywhere { prefix, namespaces: count, each, template: template.clone() },
            measured(own.pods, template.clone()),
        ]
    })
}
