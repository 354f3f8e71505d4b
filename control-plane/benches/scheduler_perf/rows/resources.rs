//! The original's rows about what nodes have beside CPU and memory: extended resources and features.

use super::super::objects::{as_a_whole, with_extended_resource};
use super::{Row, before, each, full, made, measured, namespaces, small};
use serde_json::json;

pub(super) fn rows() -> Vec<Row> {
    let scales =
        [small("500pods_500nodes", 500, 0, 500), full("5000pods_5000nodes", 5000, 0, 5000)];
    let mut rows = each("SchedulingWithExtendedResource", &scales, |own| {
        let place = made(own.nodes, json!({"extended": true}));
        vec![place, namespaces(), measured(own.pods, with_extended_resource())]
    });
    // How many features each node says it has.
    for (features, scale) in [
        (20, full("5000Nodes20DeclaredFeatures", 5000, 5000, 5000)),
        (40, full("5000Nodes40DeclaredFeatures", 5000, 5000, 5000)),
        (100, full("5000Nodes100DeclaredFeatures", 5000, 5000, 5000)),
    ] {
        let names: Vec<_> = (0..features).map(|index| format!("Feature{index:03}")).collect();
        let amounts = json!({"cpu": "128", "memory": "16Gi"});
        rows.extend(each("NodeDeclaredFeaturesEnabled", &[scale], |own| {
            vec![
                made(own.nodes, json!({"features": names, "amounts": amounts})),
                namespaces(),
                before(own.init, as_a_whole()),
                measured(own.pods, as_a_whole()),
            ]
        }));
    }
    rows
}
