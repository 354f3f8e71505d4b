//! The `performance` rows of the original's test/integration/scheduler_perf.

use super::objects::{
    HOST, Template, ZONE, colored, gated, labelled, light, node_affinity, of_class, of_color,
    of_daemon_set, plain, spread, with_finalizer, with_secret,
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
    Delete(&'static str, u64),
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
    /// The name of a single one that no scale makes fewer.
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

pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
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

fn only_node() -> Step {
    let more = json!({"amounts": {"pods": "90000"}});
    Step::Nodes(Nodes { count: 1, zones: &[], more, only: Some(ONLY) })
}

pub(crate) fn pods(namespace: &str, count: usize, template: Template) -> Pods {
    let namespace = namespace.to_owned();
    Pods { namespace, count, template, volume: None, waits: true, measured: false }
}

fn before(namespace: &str, count: usize, template: Template) -> Step {
    Step::Pods(pods(namespace, count, template))
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

fn row(name: &str, steps: Vec<Step>) -> Row {
    Row { name: name.to_owned(), steps }
}

/// The same pods before and measured.
fn alike(name: &str, place: Step, init: usize, count: usize, template: &Template) -> Row {
    let steps = vec![
        place,
        Step::Namespaces("sched", 2),
        before("sched-0", init, template.clone()),
        measured(count, template.clone()),
    ];
    row(name, steps)
}

/// Pods in a hundred namespaces that a selector picks.
fn selected(name: &str, place: Step, each: usize, count: usize, template: &Template) -> Row {
    let (prefix, namespaces) = ("init-ns", 100);
    let steps = vec![
        place,
        Step::Namespaces(prefix, namespaces),
        Step::Namespaces("sched", 2),
        Step::Everywhere { prefix, namespaces, each, template: template.clone() },
        measured(count, template.clone()),
    ];
    row(name, steps)
}

pub(crate) fn rows() -> Vec<Row> {
    let mut all = affinity();
    all.extend(misc());
    all.extend(spreading());
    all.extend(volumes());
    all
}

fn affinity() -> Vec<Row> {
    let (anti, with) = ("podAntiAffinity", "podAffinity");
    let required = of_color("green", anti, HOST, true, false);
    let together = of_color("blue", with, ZONE, true, false);
    let liking = of_color("red", with, HOST, false, false);
    let shunning = of_color("yellow", anti, HOST, false, false);
    let zone1: &[&str] = &["zone1"];
    vec![
        alike("SchedulingPodAntiAffinity/5000Nodes_2000Pods", nodes(5000), 1000, 2000, &required),
        row(
            "SchedulingPodMatchingAntiAffinity/5000Nodes_5000Pods",
            vec![
                nodes(5000),
                Step::Namespaces("sched", 2),
                before("sched-0", 1000, required.clone()),
                // They have no rule themselves, but those before want none of them near.
                measured(5000, colored("green")),
            ],
        ),
        alike(
            "SchedulingPodAffinity/5000Nodes_5000Pods",
            zoned(5000, zone1),
            5000,
            5000,
            &together,
        ),
        alike(
            "SchedulingPreferredPodAffinity/5000Nodes_5000Pods",
            nodes(5000),
            5000,
            5000,
            &liking,
        ),
        alike(
            "SchedulingPreferredPodAntiAffinity/5000Nodes_5000Pods",
            nodes(5000),
            5000,
            5000,
            &shunning,
        ),
        alike(
            "SchedulingNodeAffinity/5000Nodes_10000Pods",
            zoned(5000, zone1),
            5000,
            10_000,
            &node_affinity(),
        ),
        row(
            "MixedSchedulingBasePod/5000Nodes_5000Pods",
            vec![
                zoned(5000, zone1),
                Step::Namespaces("sched", 2),
                before("sched-0", 2000, plain()),
                before("sched-0", 2000, together),
                before("sched-0", 2000, required),
                before("sched-0", 2000, liking),
                before("sched-0", 2000, shunning),
                measured(5000, plain()),
            ],
        ),
        selected(
            "SchedulingRequiredPodAntiAffinityWithNSSelector/5000Nodes_2000Pods",
            nodes(6000),
            40,
            2000,
            &of_color("green", anti, HOST, true, true),
        ),
        selected(
            "SchedulingPreferredAntiAffinityWithNSSelector/5000Nodes_2000Pods",
            nodes(5000),
            40,
            2000,
            &of_color("green", anti, HOST, false, true),
        ),
        selected(
            "SchedulingRequiredPodAffinityWithNSSelector/5000Nodes_2000Pods",
            zoned(5000, zone1),
            50,
            2000,
            &of_color("blue", with, ZONE, true, true),
        ),
        selected(
            "SchedulingPreferredAffinityWithNSSelector/5000Nodes_5000Pods",
            nodes(5000),
            50,
            5000,
            &of_color("red", with, HOST, false, true),
        ),
        row(
            "SchedulingGatedPodsWithPodAffinityImpactForThroughput/1Node_10000GatedPods",
            vec![
                only_node(),
                Step::Namespaces("sched", 2),
                beside("sched-0", 10_000, gated(true)),
                measured(20_000, labelled()),
            ],
        ),
    ]
}

fn misc() -> Vec<Row> {
    let churn = |cpu, every, again| {
        let every = Duration::from_millis(every);
        Step::Churn(Churn { template: of_class("high", cpu), every, again })
    };
    let large = |every| churn("9", every, false);
    let namespaces = || Step::Namespaces("sched", 2);
    let low = || of_class("low", "900m");
    vec![
        alike("SchedulingBasic/5000Nodes_10000Pods", nodes(5000), 1000, 10_000, &plain()),
        alike("SchedulingBasic/5000Nodes_50000Pods", nodes(5000), 5000, 50_000, &plain()),
        row(
            "SchedulingDaemonset/15000Nodes",
            vec![only_node(), nodes(15_000), namespaces(), measured(30_000, of_daemon_set(ONLY))],
        ),
        row(
            "PreemptionBasic/1000Nodes",
            vec![
                nodes(1000),
                namespaces(),
                before("sched-0", 4000, low()),
                measured(1000, of_class("high", "3")),
            ],
        ),
        row(
            "PreemptionAsync/5000Nodes",
            vec![
                nodes(5000),
                namespaces(),
                before("sched-0", 20_000, low()),
                churn("3", 200, false),
                measured(5000, plain()),
            ],
        ),
        row(
            "Unschedulable/5kNodes/100Init/10kPods",
            vec![
                nodes(5000),
                namespaces(),
                before("sched-0", 100, light()),
                large(200),
                measured(10_000, plain()),
            ],
        ),
        row(
            "Unschedulable/5kNodes/20kInit/10kPods",
            vec![
                nodes(5000),
                namespaces(),
                before("sched-0", 20_000, light()),
                large(200),
                measured(10_000, plain()),
            ],
        ),
        row(
            "SchedulingWithMixedChurn/5000Nodes_10000Pods",
            vec![nodes(5000), namespaces(), churn("9", 1000, true), measured(10_000, plain())],
        ),
        row(
            "SchedulingWhileGated/1Node_10000GatedPods",
            vec![
                only_node(),
                namespaces(),
                Step::Namespaces("deleted", 1),
                beside("sched-0", 10_000, gated(false)),
                before("deleted-0", 20_000, light()),
                Step::Delete("deleted-0", 50),
                measured(20_000, light()),
            ],
        ),
        row(
            "SchedulingDeletedPodsWithFinalizers/5000Node_5000DeletingPods",
            vec![
                nodes(5000),
                namespaces(),
                Step::Namespaces("deleted", 1),
                beside("deleted-0", 5000, with_finalizer()),
                Step::Delete("deleted-0", 100),
                measured(5000, light()),
            ],
        ),
    ]
}

fn spreading() -> Vec<Row> {
    let moons: &[&str] = &["moon-1", "moon-2", "moon-3"];
    let over = |name: &str, template: Template| {
        let steps = vec![
            zoned(5000, moons),
            Step::Namespaces("sched", 2),
            before("sched-0", 5000, plain()),
            measured(5000, template),
        ];
        row(name, steps)
    };
    let tainted = json!({"taints": [{"key": "foo", "effect": "NoSchedule"}]});
    let served = |name: &str, count: usize| {
        let steps = vec![
            zoned(5000, moons),
            Step::Namespaces("sched", 2),
            Step::Service("sched-1"),
            before("sched-0", 5000, plain()),
            measured(count, labelled()),
        ];
        row(name, steps)
    };
    vec![
        over("TopologySpreading/5000Nodes_5000Pods", spread(5, ZONE, "DoNotSchedule")),
        over("PreferredTopologySpreading/5000Nodes_5000Pods", spread(5, ZONE, "ScheduleAnyway")),
        served("DefaultTopologySpreading/5000Nodes_10000Pods", 10_000),
        served("DefaultTopologySpreading/5000Nodes_50000Pods", 50_000),
        row(
            "SchedulingWithNodeInclusionPolicy/5000Nodes",
            vec![
                nodes(4000),
                made(1000, tainted),
                Step::Namespaces("sched", 2),
                measured(4000, spread(1, HOST, "DoNotSchedule")),
            ],
        ),
    ]
}

fn volumes() -> Vec<Row> {
    let aws = json!({"awsElasticBlockStore": {"volumeID": ""}});
    let csi = json!({"csi": {"driver": "ebs.csi.aws.com"}});
    let room = || made(5000, json!({"csi": 39}));
    let with = |name: &str, place: Step, init: usize, count: usize, source: &Value| {
        let steps = vec![
            place,
            Step::Namespaces("sched", 2),
            with_volume(before("sched-0", init, plain()), source),
            with_volume(measured(count, plain()), source),
        ];
        row(name, steps)
    };
    let preempting = vec![
        nodes(1000),
        Step::Namespaces("sched", 2),
        before("sched-0", 4000, of_class("low", "900m")),
        with_volume(measured(1000, of_class("high", "3")), &aws),
    ];
    vec![
        alike("SchedulingSecrets/5000Nodes_10000Pods", nodes(5000), 5000, 10_000, &with_secret()),
        with("SchedulingInTreePVs/5000Nodes_2000Pods", nodes(5000), 1000, 2000, &aws),
        with("SchedulingMigratedInTreePVs/5000Nodes_5000Pods", room(), 5000, 5000, &aws),
        with("SchedulingCSIPVs/5000Nodes_5000Pods", room(), 5000, 5000, &csi),
        row("PreemptionPVs/1000Nodes", preempting),
    ]
}
