//! The rows of the original's test/integration/scheduler_perf: those it labels `performance`, and smaller ones to look at.

use super::objects::{
    HOST, Template, ZONE, as_a_whole, colored, gated, labelled, light, node_affinity, of_class,
    of_color, of_daemon_set, plain, spread, with_extended_resource, with_finalizer, with_secret,
};
use serde_json::{Value, json};
use std::time::Duration;

/// What happens, in order.
pub(crate) enum Step {
    Nodes(Nodes),
    /// Namespaces `prefix-0` and so on.
    Namespaces(&'static str, usize),
    /// Something in a namespace.
    Service(&'static str),
    Pods(Pods),
    /// So many pods in each of several namespaces.
    Everywhere {
        prefix: &'static str,
        namespaces: usize,
        each: usize,
        template: Template,
    },
    Churn(Churn),
    /// Deletes all pods of a namespace, so many a second.
    Delete(&'static str, u32),
}

/// One of these pods after the other, until the row ends.
#[derive(Clone)]
pub(crate) struct Churn {
    pub(crate) template: Template,
    pub(crate) every: Duration,
    /// Whether each takes the place of the one before, with a node and a Service each.
    pub(crate) again: bool,
}

pub(crate) struct Nodes {
    pub(crate) count: usize,
    pub(crate) zones: &'static [&'static str],
    pub(crate) more: Value,
    /// The name of a single one that no divisor makes fewer.
    pub(crate) only: Option<&'static str>,
}

pub(crate) struct Pods {
    pub(crate) namespace: String,
    pub(crate) count: usize,
    pub(crate) template: Template,
    /// What volume each has.
    pub(crate) volume: Option<Value>,
    pub(crate) waits: bool,
    pub(crate) measured: bool,
}

/// One of the original's test cases at one of its sizes.
pub(crate) struct Row {
    pub(crate) test: &'static str,
    pub(crate) scale: &'static str,
    /// Whether it is one of those the original measures.
    pub(crate) performance: bool,
    pub(crate) steps: Vec<Step>,
}

impl Row {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.test, self.scale)
    }
}

/// A size: its name, and how many nodes, pods before and pods measured it has.
struct Scale {
    name: &'static str,
    nodes: usize,
    init: usize,
    pods: usize,
    performance: bool,
}

/// One that is measured.
const fn full(name: &'static str, nodes: usize, init: usize, pods: usize) -> Scale {
    Scale { name, nodes, init, pods, performance: true }
}

/// One to look at.
const fn small(name: &'static str, nodes: usize, init: usize, pods: usize) -> Scale {
    Scale { name, nodes, init, pods, performance: false }
}

fn each(test: &'static str, scales: &[Scale], steps: impl Fn(&Scale) -> Vec<Step>) -> Vec<Row> {
    let row = |own: &Scale| Row {
        test,
        scale: own.name,
        performance: own.performance,
        steps: steps(own),
    };
    scales.iter().map(row).collect()
}

fn nodes(count: usize) -> Step {
    zoned(count, &[])
}

fn zoned(count: usize, zones: &'static [&'static str]) -> Step {
    Step::Nodes(Nodes { count, zones, more: json!({}), only: None })
}

fn made(count: usize, more: Value) -> Step {
    Step::Nodes(Nodes { count, zones: &[], more, only: None })
}

const ONLY: &str = "scheduler-perf-node";
const ZONE1: &[&str] = &["zone1"];
const MOONS: &[&str] = &["moon-1", "moon-2", "moon-3"];

fn only_node() -> Step {
    let more = json!({"amounts": {"pods": "90000"}});
    Step::Nodes(Nodes { count: 1, zones: &[], more, only: Some(ONLY) })
}

fn namespaces() -> Step {
    Step::Namespaces("sched", 2)
}

pub(crate) fn pods(namespace: &str, count: usize, template: Template) -> Pods {
    let namespace = namespace.to_owned();
    Pods { namespace, count, template, volume: None, waits: true, measured: false }
}

fn before(count: usize, template: Template) -> Step {
    Step::Pods(pods("sched-0", count, template))
}

fn beside(namespace: &str, count: usize, template: Template) -> Step {
    Step::Pods(Pods { waits: false, ..pods(namespace, count, template) })
}

fn measured(count: usize, template: Template) -> Step {
    Step::Pods(Pods { measured: true, ..pods("sched-1", count, template) })
}

fn with_volume(step: Step, source: &Value) -> Step {
    match step {
        Step::Pods(own) => Step::Pods(Pods { volume: Some(source.clone()), ..own }),
        other => other,
    }
}

/// The same pods before and measured.
fn alike(
    test: &'static str,
    zones: &'static [&'static str],
    template: &Template,
    scales: &[Scale],
) -> Vec<Row> {
    each(test, scales, |own| {
        vec![
            zoned(own.nodes, zones),
            namespaces(),
            before(own.init, template.clone()),
            measured(own.pods, template.clone()),
        ]
    })
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

pub(crate) fn rows() -> Vec<Row> {
    let all = [
        among_pods(),
        among_namespaces(),
        mixed(),
        basic(),
        preemption(),
        unschedulable(),
        leaving(),
        spreading(),
        inclusion(),
        volumes(),
        resources(),
    ];
    all.into_iter().flatten().collect()
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
                Step::Delete("deleted-0", 50),
                measured(own.pods, light()),
            ]
        });
    rows.extend(each("SchedulingDeletedPodsWithFinalizers", &deleting, |own| {
        vec![
            nodes(own.nodes),
            namespaces(),
            gone(),
            beside("deleted-0", own.init, with_finalizer()),
            Step::Delete("deleted-0", 100),
            measured(own.pods, light()),
        ]
    }));
    rows
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

fn volumes() -> Vec<Row> {
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

fn resources() -> Vec<Row> {
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

/// The rows that are asked for: of one test, or whose name has a text; of one size, or those the original measures.
pub(crate) fn chosen(all: Vec<Row>, row: &str, scale: &str) -> Vec<Row> {
    let exact = all.iter().any(|own| own.test == row);
    let is_test = |own: &Row| if exact { own.test == row } else { own.name().contains(row) };
    let of_tests: Vec<_> = all.into_iter().filter(is_test).collect();
    let exact = of_tests.iter().any(|own| own.scale == scale);
    let is_scale = |own: &Row| match scale {
        "" => own.performance,
        _ if exact => own.scale == scale,
        _ => own.scale.starts_with(scale),
    };
    of_tests.into_iter().filter(is_scale).collect()
}
