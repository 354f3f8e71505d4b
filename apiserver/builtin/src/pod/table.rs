//! The row of a pod: one word for the state of all its containers.

use crate::{
    look::{Look, sub},
    table::{age, or, since},
};
use jiff::Timestamp;
use kubeplane_core::Object;
use serde_json::{Value, json};

pub(crate) fn row(pod: &Object, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (sub(pod.map(), "spec"), sub(pod.map(), "status"));
    let state = State::of(pod, spec, status);
    let total = spec.list("containers").len()
        + spec.list("initContainers").iter().filter(|c| is_sidecar(c)).count();
    let restarts = match state.restarts.last {
        Some(last) if state.restarts.count != 0 => {
            format!("{} ({} ago)", state.restarts.count, since(last, now))
        }
        _ => state.restarts.count.to_string(),
    };
    let ip = status.list("podIPs").first().map_or("", |ip| ip.text("ip"));
    vec![
        pod.name().into(),
        format!("{}/{total}", state.ready).into(),
        state.reason.into(),
        restarts.into(),
        age(pod, now),
        or(ip, "<none>").into(),
        or(spec.text("nodeName"), "<none>").into(),
        or(status.text("nominatedNodeName"), "<none>").into(),
        readiness_gates(spec, status).into(),
    ]
}

/// Whether the pod has ended, and how.
pub(crate) fn conditions(pod: &Object) -> Vec<Value> {
    let phase = pod.text(&["status", "phase"]);
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return Vec::new(),
    };
    vec![json!({"type": "Completed", "status": "True", "reason": phase, "message": message})]
}

/// What is counted and said while the statuses of the containers are looked through.
struct State<'a> {
    reason: String,
    ready: usize,
    restarts: Restarts<'a>,
    /// Those of the sidecars that were looked at.
    sidecars: Restarts<'a>,
}

/// How often containers were started anew, and when one of them ended last.
#[derive(Default, Clone, Copy)]
struct Restarts<'a> {
    count: i64,
    last: Option<&'a str>,
}

impl<'a> Restarts<'a> {
    fn add(&mut self, container: &'a Value) {
        self.count += container.int("restartCount");
        let finished = container.sub("lastState").sub("terminated").text("finishedAt");
        if !finished.is_empty() && self.last.is_none_or(|last| last < finished) {
            self.last = Some(finished);
        }
    }
}

impl<'a> State<'a> {
    fn of(pod: &Object, spec: &'a Value, status: &'a Value) -> Self {
        let phase = status.text("phase");
        let mut state = Self {
            reason: or(status.text("reason"), phase).to_owned(),
            ready: 0,
            restarts: Restarts::default(),
            sidecars: Restarts::default(),
        };
        let gated =
            |c: &&Value| c.text("type") == "PodScheduled" && c.text("reason") == "SchedulingGated";
        if status.list("conditions").iter().any(|condition| gated(&condition)) {
            "SchedulingGated".clone_into(&mut state.reason);
        }
        let initializing = state.init_containers(spec, status);
        if !initializing || has_condition(status, "Initialized") {
            state.containers(status);
        }
        if pod.is_deleting() {
            if status.text("reason") == "NodeLost" {
                "Unknown".clone_into(&mut state.reason);
            } else if !matches!(phase, "Succeeded" | "Failed") {
                "Terminating".clone_into(&mut state.reason);
            }
        }
        state
    }

    /// Looks at the init containers up to the first that is not done; whether there is such a one.
    fn init_containers(&mut self, spec: &'a Value, status: &'a Value) -> bool {
        let declared = spec.list("initContainers");
        for (index, container) in status.list("initContainerStatuses").iter().enumerate() {
            let is_sidecar = sidecar_named(declared, container.text("name"));
            self.restarts.add(container);
            if is_sidecar {
                self.sidecars.add(container);
            }
            let state = container.sub("state");
            let (terminated, waiting) = (state.sub("terminated"), state.sub("waiting"));
            if !terminated.is_null() && terminated.int("exitCode") == 0 {
                continue;
            }
            if is_sidecar && container.flag("started") {
                self.ready += usize::from(container.flag("ready"));
                continue;
            }
            let waits_for = waiting.text("reason");
            self.reason = if !terminated.is_null() {
                format!("Init:{}", end(terminated))
            } else if !waits_for.is_empty() && waits_for != "PodInitializing" {
                format!("Init:{waits_for}")
            } else {
                format!("Init:{index}/{}", declared.len())
            };
            return true;
        }
        false
    }

    /// From here on only the restarts of sidecars and of the containers proper count.
    fn containers(&mut self, status: &'a Value) {
        self.restarts = self.sidecars;
        let (mut running, mut failure) = (false, None);
        for container in status.list("containerStatuses").iter().rev() {
            self.restarts.add(container);
            let state = container.sub("state");
            let terminated = state.sub("terminated");
            let waits_for = state.sub("waiting").text("reason");
            if !waits_for.is_empty() {
                waits_for.clone_into(&mut self.reason);
            } else if !terminated.is_null() {
                self.reason = end(terminated);
                if terminated.int("exitCode") != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if container.flag("ready") && state.has("running") {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            if running && has_condition(status, "Ready") {
                "Running".clone_into(&mut self.reason);
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                "NotReady".clone_into(&mut self.reason);
            }
        }
    }
}

/// How a container ended.
fn end(terminated: &Value) -> String {
    match (terminated.text("reason"), terminated.int("signal")) {
        ("", 0) => format!("ExitCode:{}", terminated.int("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn is_sidecar(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

fn sidecar_named(containers: &[Value], name: &str) -> bool {
    containers.iter().any(|container| container.text("name") == name && is_sidecar(container))
}

fn has_condition(status: &Value, kind: &str) -> bool {
    status.list("conditions").iter().any(|c| c.text("type") == kind && c.text("status") == "True")
}

fn readiness_gates(spec: &Value, status: &Value) -> String {
    let gates = spec.list("readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let holds = |gate: &&Value| {
        let kind = gate.text("conditionType");
        let condition =
            status.list("conditions").iter().find(|condition| condition.text("type") == kind);
        condition.is_some_and(|condition| condition.text("status") == "True")
    };
    format!("{}/{}", gates.iter().filter(holds).count(), gates.len())
}
