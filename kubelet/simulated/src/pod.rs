//! What becomes of a pod next.

mod seen;

pub(crate) use seen::Pod;

use crate::{Logs, PodStages, node::whole};
use jiff::Timestamp;
use seen::{Container, ContainerStatus};
use serde_json::{Value, json};
use std::time::Duration;

/// The pause after the first failure, doubled with each further one.
const BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);

/// Where a pod is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Not running until then.
    Starting { until: Duration },
    /// Running since then, and for so long before, while another looked after it.
    Running { since: Duration, before: Duration, at: Timestamp, ready: bool, fails: bool },
    /// Asked to go, and gone then.
    Stopping { until: Duration },
    /// At its end.
    Over,
}

/// What each container uses, as those who measure nodes without kubelets look for it.
const CPU: &str = "kubeplane.dev/cpu";
const MEMORY: &str = "kubeplane.dev/memory";

/// What is known of one pod.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    stage: Stage,
    restarts: i32,
    address: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Next {
    /// Nothing until so much time has passed.
    Wait(Duration),
    /// Write this into its status, and look again.
    Patch(Value),
    /// Remove it.
    Remove,
    /// Nothing, until it changes.
    Rest,
}

/// The moment of a look.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) elapsed: Duration,
    pub(crate) now: Timestamp,
}

/// Numbers in `[0, 1)` by chance.
pub(crate) type Chance<'a> = &'a dyn Fn() -> f64;

impl Progress {
    /// A pod goes on from where its status says it is; one that has no address yet gets a new one.
    pub(crate) fn seen(
        pod: &Pod,
        stages: &PodStages,
        moment: Moment,
        new_address: impl FnOnce() -> String,
        chance: Chance<'_>,
    ) -> Self {
        let known = pod.status.as_ref().filter(|_| phase(pod) == "Running");
        let address = known.and_then(|status| status.pod_ip.clone());
        let address = address.filter(|address| !address.is_empty()).unwrap_or_else(new_address);
        let containers = known.and_then(|status| status.container_statuses.as_deref());
        let containers = containers.unwrap_or_default();
        let restarts = containers.iter().map(|own| own.restart_count).max().unwrap_or_default();
        let stage = stage_of(containers, stages, moment, restarts, chance);
        let stage = stage.unwrap_or_else(|| Self::starting(stages, moment, chance));
        Self { stage, restarts, address }
    }

    fn starting(stages: &PodStages, moment: Moment, chance: Chance<'_>) -> Stage {
        let jitter = if stages.start_jitter.is_zero() { 0.0 } else { chance() };
        let delay = stages.start_delay + stages.start_jitter.mul_f64(jitter);
        Stage::Starting { until: moment.elapsed + delay }
    }

    /// Goes on as far as time allows.
    pub(crate) fn next(
        &mut self,
        pod: &Pod,
        stages: &PodStages,
        moment: Moment,
        chance: Chance<'_>,
    ) -> Next {
        let deleted = pod.metadata.deletion_timestamp.is_some();
        if deleted && !matches!(self.stage, Stage::Stopping { .. }) {
            self.stage = Stage::Stopping { until: moment.elapsed + stages.stop_delay };
        } else if matches!(phase(pod), "Succeeded" | "Failed") {
            self.stage = Stage::Over;
        }
        let left =
            |until: Duration| until.checked_sub(moment.elapsed).filter(|left| !left.is_zero());
        match self.stage {
            Stage::Over => Next::Rest,
            Stage::Stopping { until } => left(until).map_or(Next::Remove, Next::Wait),
            Stage::Starting { until } => match left(until) {
                Some(left) => Next::Wait(left),
                None => {
                    let fails = stages.failure_rate > 0.0 && chance() < stages.failure_rate;
                    let ready = stages.ready_delay.is_zero();
                    let (since, at) = (moment.elapsed, moment.now);
                    self.stage = Stage::Running { since, before: Duration::ZERO, at, ready, fails };
                    let mut patch = self.running(pod, moment.now, moment.now, ready);
                    tell(&mut patch, pod, stages);
                    Next::Patch(patch)
                }
            },
            Stage::Running { since, before, at, ready, fails } => {
                let left = |until: Duration| left(until.saturating_sub(before));
                let ends = !fails && policy(pod) != "Always";
                let end =
                    if fails { Some(stages.fail_after) } else { ends.then_some(stages.run_for) };
                if let Some(end) = end
                    && left(since + end).is_none()
                {
                    return self.ended(pod, stages, moment, at, fails);
                }
                let to_ready = if ready { None } else { Some(left(since + stages.ready_delay)) };
                if to_ready == Some(None) {
                    self.stage = Stage::Running { since, before, at, ready: true, fails };
                    return Next::Patch(self.running(pod, at, moment.now, true));
                }
                let end = end.and_then(|end| left(since + end));
                let soonest = [to_ready.flatten(), end].into_iter().flatten().min();
                soonest.map_or(Next::Rest, Next::Wait)
            }
        }
    }

    fn ended(
        &mut self,
        pod: &Pod,
        stages: &PodStages,
        moment: Moment,
        at: Timestamp,
        fails: bool,
    ) -> Next {
        let code = if fails { stages.exit_code } else { 0 };
        let ended = terminated(code, at, moment.now);
        if !fails || policy(pod) == "Never" {
            self.stage = Stage::Over;
            let phase = if fails { "Failed" } else { "Succeeded" };
            let statuses = self.statuses(pod, |_| (json!({"terminated": ended}), json!({}), false));
            let reason = if fails { "PodFailed" } else { "PodCompleted" };
            let conditions = conditions(false, Some(reason), moment.now);
            return Next::Patch(json!({"status": {
                "phase": phase, "containerStatuses": statuses, "conditions": conditions,
            }}));
        }
        let pause = back_off(self.restarts);
        self.restarts += 1;
        self.stage = Stage::Starting { until: moment.elapsed + pause };
        let waiting = json!({"waiting": {
            "reason": "CrashLoopBackOff",
            "message": format!("back-off {}s restarting failed container", pause.as_secs()),
        }});
        let last = json!({"terminated": ended});
        let statuses = self.statuses(pod, |_| (waiting.clone(), last.clone(), false));
        let conditions = conditions(false, Some("ContainersNotReady"), moment.now);
        Next::Patch(json!({"status": {
            "phase": "Running", "containerStatuses": statuses, "conditions": conditions,
        }}))
    }

    fn running(&self, pod: &Pod, started: Timestamp, now: Timestamp, ready: bool) -> Value {
        let state = json!({"running": {"startedAt": whole(started)}});
        let statuses = self.statuses(pod, |_| (state.clone(), json!({}), ready));
        let known = pod.status.as_ref();
        let since =
            known.and_then(|status| status.start_time.as_ref()).map_or(started, |time| time.0);
        let why = (!ready).then_some("ContainersNotReady");
        json!({"status": {
            "phase": "Running",
            "hostIP": "127.0.0.1",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "startTime": whole(since),
            "conditions": conditions(ready, why, now),
            "containerStatuses": statuses,
            "initContainerStatuses": self.init_statuses(pod, now),
        }})
    }

    fn statuses(
        &self,
        pod: &Pod,
        state: impl Fn(&Container) -> (Value, Value, bool),
    ) -> Vec<Value> {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        containers
            .map(|container| {
                let (state, last, ready) = state(container);
                self.status(pod, container, state, last, ready)
            })
            .collect()
    }

    fn init_statuses(&self, pod: &Pod, now: Timestamp) -> Vec<Value> {
        let containers = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        containers
            .map(|container| {
                let sidecar = container.restart_policy.as_deref() == Some("Always");
                let state = match sidecar {
                    true => json!({"running": {"startedAt": whole(now)}}),
                    false => json!({"terminated": terminated(0, now, now)}),
                };
                self.status(pod, container, state, json!({}), true)
            })
            .collect()
    }

    fn status(
        &self,
        pod: &Pod,
        container: &Container,
        state: Value,
        last: Value,
        ready: bool,
    ) -> Value {
        let image = container.image.clone().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        json!({
            "name": container.name, "image": image, "imageID": format!("simulated://{image}"),
            "containerID": format!("simulated://{uid}-{}-{}", container.name, self.restarts),
            "ready": ready, "started": state.get("running").is_some(), "restartCount": self.restarts,
            "state": state, "lastState": last,
        })
    }
}

/// Says in a pod's annotations what it says and uses, but for what its maker said already.
fn tell(patch: &mut Value, pod: &Pod, stages: &PodStages) {
    let logs = (stages.logs != Logs::default()).then(|| json!(stages.logs).to_string());
    let own = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let said = [
        (Logs::ANNOTATION, logs),
        (CPU, own(&stages.usage.cpu)),
        (MEMORY, own(&stages.usage.memory)),
    ];
    let known = pod.metadata.annotations.as_ref();
    for (key, text) in said {
        if let Some(text) = text
            && !known.is_some_and(|known| known.contains_key(key))
        {
            patch["metadata"]["annotations"][key] = text.into();
        }
    }
}

/// The pause after so many restarts.
fn back_off(restarts: i32) -> Duration {
    BACK_OFF.saturating_mul(1 << restarts.clamp(0, 8)).min(LONGEST_BACK_OFF)
}

/// Where the containers of a pod are that runs, as far as they say it.
fn stage_of(
    containers: &[ContainerStatus],
    stages: &PodStages,
    moment: Moment,
    restarts: i32,
    chance: Chance<'_>,
) -> Option<Stage> {
    let passed =
        |since: Timestamp| Duration::try_from(moment.now.duration_since(since)).unwrap_or_default();
    let state = containers.iter().find_map(|own| own.state.as_ref())?;
    if let Some(running) = &state.running {
        let at = running.started_at.as_ref().map_or(moment.now, |time| time.0);
        let before = passed(at);
        // One that came so far without failing does not fail.
        let may_fail = stages.failure_rate > 0.0 && before <= stages.fail_after;
        let fails = may_fail && chance() < stages.failure_rate;
        let ready = containers.iter().all(|own| own.ready);
        return Some(Stage::Running { since: moment.elapsed, before, at, ready, fails });
    }
    state.waiting.as_ref()?;
    let last = containers.iter().find_map(|own| own.last_state.as_ref()?.terminated.as_ref());
    let ended = last.and_then(|ended| ended.finished_at.as_ref())?.0;
    let left = back_off(restarts.saturating_sub(1)).saturating_sub(passed(ended));
    Some(Stage::Starting { until: moment.elapsed + left })
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn policy(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()).unwrap_or("Always")
}

fn terminated(code: i32, started: Timestamp, now: Timestamp) -> Value {
    json!({
        "exitCode": code, "reason": if code == 0 { "Completed" } else { "Error" },
        "startedAt": whole(started), "finishedAt": whole(now),
    })
}

fn conditions(ready: bool, why: Option<&str>, now: Timestamp) -> Value {
    let condition = |kind: &str, yes: bool, why: Option<&str>| {
        let mut condition = json!({
            "type": kind, "status": if yes { "True" } else { "False" }, "lastTransitionTime": whole(now),
        });
        if let Some(why) = why {
            condition["reason"] = json!(why);
        }
        condition
    };
    json!([
        condition("PodReadyToStartContainers", true, None),
        condition("Initialized", true, None),
        condition("ContainersReady", ready, why),
        condition("Ready", ready, why),
    ])
}

#[cfg(test)]
mod tests;
