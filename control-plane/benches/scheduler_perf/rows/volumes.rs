//! The original's `volumes` rows.

use super::super::objects::{of_class, plain, with_secret};
use super::{
    Pods, Row, Scale, Step, Volume, alike, before, each, full, made, measured, namespaces, nodes,
    small,
};
use serde_json::{Value, json};

pub(super) fn rows() -> Vec<Row> {
    let aws = json!({"awsElasticBlockStore": {"volumeID": ""}});
    let csi = json!({"csi": {"driver": "ebs.csi.aws.com"}});
    let room = json!({"csi": 39});
    let migrated = json!({"csi": 39, "migrated": true});
    let with = |test: &'static str, more: &Value, large: Scale, source: &Value| {
        let middle = small("500Nodes", 500, 500, 1000);
        let scales = [middle, full("5000Nodes", 5000, 5000, 1000), large];
        each(test, &scales, |own| {
            vec![
                made(own.nodes, more.clone()),
                namespaces(),
                with_volume(before(own.init, plain()), source),
                with_volume(measured(own.pods, plain()), source),
            ]
        })
    };
    let large = || full("5000Nodes_5000Pods", 5000, 5000, 5000);
    let mut rows = alike(
        "SchedulingSecrets",
        &[],
        &with_secret(),
        &[
            small("500Nodes", 500, 500, 1000),
            small("5000Nodes", 5000, 5000, 1000),
            full("5000Nodes_10000Pods", 5000, 1000, 10_000),
        ],
    );
    let fewer = full("5000Nodes_2000Pods", 5000, 1000, 2000);
    rows.extend(with("SchedulingInTreePVs", &json!({}), fewer, &aws));
    rows.extend(with("SchedulingMigratedInTreePVs", &migrated, large(), &aws));
    rows.extend(with("SchedulingCSIPVs", &room, large(), &csi));
    rows.extend(each("PreemptionPVs", &[full("1000Nodes", 1000, 4000, 1000)], |own| {
        vec![
            nodes(own.nodes),
            namespaces(),
            before(own.init, of_class("low", "900m")),
            with_volume(measured(own.pods, of_class("high", "3")), &aws),
        ]
    }));
    rows
}

fn with_volume(step: Step, source: &Value) -> Step {
    match step {
        Step::Pods(own) => Step::Pods(Pods { volume: Volume::Own(source.clone()), ..own }),
        other => other,
    }
}
