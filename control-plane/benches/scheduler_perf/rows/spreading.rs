//! The original's `topology_spreading` rows.

use super::super::objects::{HOST, Template, ZONE, labelled, plain, spread};
use super::{
    MOONS, Row, Scale, Step, before, each, full, made, measured, namespaces, nodes, small, zoned,
};
use serde_json::json;

pub(super) fn rows() -> Vec<Row> {
    [spreading(), inclusion()].into_iter().flatten().collect()
}

fn spreading() -> Vec<Row> {
    let over = |test: &'static str, short: Scale, template: Template| {
        let large = full("5000Nodes_5000Pods", 5000, 5000, 5000);
        let scales = [small("500Nodes", 500, 1000, 1000), short, large];
        each(test, &scales, |own| {
            vec![
                zoned(own.nodes, MOONS),
                namespaces(),
                before(own.init, plain()),
                measured(own.pods, template.clone()),
            ]
        })
    };
    let short = || full("5000Nodes", 5000, 5000, 2000);
    let served = [
        small("500Nodes", 500, 1000, 1000),
        full("5000Nodes_10000Pods", 5000, 5000, 10_000),
        full("5000Nodes_50000Pods", 5000, 5000, 50_000),
    ];
    let mut rows = over("TopologySpreading", short(), spread(5, ZONE, "DoNotSchedule"));
    let preferred = spread(5, ZONE, "ScheduleAnyway");
    rows.extend(over("PreferredTopologySpreading", short(), preferred));
    rows.extend(each("DefaultTopologySpreading", &served, |own| {
        vec![
            zoned(own.nodes, MOONS),
            namespaces(),
            Step::Service("sched-1"),
            before(own.init, plain()),
            measured(own.pods, labelled()),
        ]
    }));
    rows
}

fn inclusion() -> Vec<Row> {
    let tainted = json!({"taints": [{"key": "foo", "effect": "NoSchedule"}]});
    // The second number is that of tainted nodes.
    let scales = [small("500Nodes", 400, 100, 400), full("5000Nodes", 4000, 1000, 4000)];
    each("SchedulingWithNodeInclusionPolicy", &scales, |own| {
        vec![
            nodes(own.nodes),
            made(own.init, tainted.clone()),
            namespaces(),
            measured(own.pods, spread(1, HOST, "DoNotSchedule")),
        ]
    })
}
