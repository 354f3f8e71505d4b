//! The rows of the original's test/integration/scheduler_perf: those it labels `performance`, and smaller ones to look at.

// The tests load this file by its path, from where these would be looked for beside it.
#[path = "rows/affinity.rs"]
mod affinity;
#[path = "rows/basic.rs"]
mod basic;
#[path = "rows/devices.rs"]
mod devices;
#[path = "rows/events.rs"]
mod events;
#[path = "rows/node_events.rs"]
mod node_events;
#[path = "rows/resources.rs"]
mod resources;
#[path = "rows/spreading.rs"]
mod spreading;
#[path = "rows/volumes.rs"]
mod volumes;

use super::objects::{Template, devices::Resources};
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
    /// Deletes the pods of a namespace that have these labels, so many a second.
    Delete {
        namespace: &'static str,
        labels: &'static str,
        per_second: u32,
    },
    /// From here on pods with the label [`WATCHED`] are measured, wherever they are.
    Watch,
    /// Waits until the scheduler has tried all of those that were made.
    Tried,
    /// Waits until all of those that were made have their nodes.
    Settled,
    Update(Update),
    /// So many devices on each of the nodes, and a class of them.
    Devices(usize),
    /// The same, which is what is measured: from the first that is published until the scheduler knows the last.
    Publish(usize),
    /// So many classes of the same devices.
    Classes(Resources, usize),
    /// A template for claims of one device in a namespace.
    ClaimTemplate(&'static str),
    /// So many claims in a namespace that have got devices without a pod.
    Claims(&'static str, usize),
    /// Pods with a claim each, so many at once: when all have their nodes they go, and others come, for so long.
    Steady {
        namespace: &'static str,
        at_once: usize,
        lasting: Duration,
    },
}

/// The label of pods that are measured wherever they are.
pub(crate) const WATCHED: (&str, &str) = ("type", "unsched");

/// How many pods come at once where they come steadily.
pub(crate) const AT_ONCE: usize = 10;

/// Changes objects one after the other, in the order they were made.
pub(crate) struct Update {
    /// Where the pods are; nodes when there is none.
    pub(crate) namespace: Option<&'static str>,
    pub(crate) labels: &'static str,
    /// The subresource that is written.
    pub(crate) part: Option<&'static str>,
    pub(crate) change: fn(usize) -> Value,
    pub(crate) per_second: u32,
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
    pub(crate) volume: Volume,
    pub(crate) waits: bool,
    pub(crate) measured: bool,
}

/// What volume each of several pods has.
#[derive(Debug, Clone)]
pub(crate) enum Volume {
    None,
    /// One of its own, of this source.
    Own(Value),
    /// The same, by a claim that no other pod can use at that time.
    Alone(Value),
    /// That of the pods with volumes that were made last.
    Theirs,
}

impl Pods {
    /// Whether they are measured with others, wherever those are.
    pub(crate) fn is_watched(&self) -> bool {
        self.template.labels[WATCHED.0] == WATCHED.1
    }
}

/// One of the original's test cases at one of its sizes.
pub(crate) struct Row {
    pub(crate) test: &'static str,
    pub(crate) scale: &'static str,
    /// Whether it is one of those the original measures.
    pub(crate) performance: bool,
    pub(crate) steps: Vec<Step>,
    /// What the scheduler's configuration says beside what it always says, as YAML.
    pub(crate) configuration: &'static str,
}

impl Row {
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.test, self.scale)
    }

    /// The controllers it takes beside the scheduler, by name.
    pub(crate) fn controllers(&self) -> Option<&'static str> {
        let has = |is: fn(&Step) -> bool| self.steps.iter().any(is);
        if has(|step| matches!(step, Step::Steady { .. })) {
            // Pods go, and their claims after them.
            return Some("resourceclaim-controller,garbage-collector-controller");
        }
        has(|step| matches!(step, Step::ClaimTemplate(_))).then_some("resourceclaim-controller")
    }

    /// Whether the row itself says how fast pods can get their nodes at most.
    pub(crate) fn is_paced(&self) -> bool {
        let paces =
            |step: &Step| matches!(step, Step::Watch | Step::Steady { .. } | Step::Publish(_));
        self.steps.iter().any(paces)
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
        configuration: "",
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
    Pods { namespace, count, template, volume: Volume::None, waits: true, measured: false }
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

pub(crate) fn rows() -> Vec<Row> {
    let all = [
        affinity::rows(),
        basic::rows(),
        spreading::rows(),
        volumes::rows(),
        resources::rows(),
        devices::rows(),
        events::rows(),
        node_events::rows(),
    ];
    all.into_iter().flatten().collect()
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
