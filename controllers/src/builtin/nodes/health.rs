use super::condition;
use crate::builtin::Settings;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::Lease,
        core::v1::{Node, NodeCondition},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::time::Duration;

/// How long nodes may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Graces {
    said: Duration,
    /// A new one, which has not said anything.
    new: Duration,
}

impl Graces {
    pub(super) fn of(settings: &Settings) -> Self {
        let (said, new) = (settings.node_monitor_grace_period, settings.node_startup_grace_period);
        Self { said, new }
    }
}

/// The conditions a kubelet keeps up to date.
const FROM_KUBELET: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// When a node was heard of last, on this side's own clock.
#[derive(Debug, Clone)]
pub(super) struct Pulse {
    /// Of the node, which may be gone when it is told of.
    pub(super) uid: Option<String>,
    heartbeat: Option<Time>,
    renewed: Option<Timestamp>,
    pub(super) at: Duration,
    /// Its pods could not be marked yet.
    pub(super) unmarked: bool,
    graces: Graces,
}

impl Pulse {
    /// The first look at a node. One that never said anything counts from its creation.
    pub(super) fn new(
        node: &Node,
        lease: Option<&Lease>,
        now: (Duration, Timestamp),
        graces: Graces,
    ) -> Self {
        let (elapsed, wall) = now;
        let created = node
            .metadata
            .creation_timestamp
            .as_ref()
            .filter(|_| condition(node, "Ready").is_none());
        let age =
            created.and_then(|created| Duration::try_from(wall.duration_since(created.0)).ok());
        Self {
            uid: node.metadata.uid.clone(),
            heartbeat: heartbeat(node),
            renewed: renewed(lease),
            at: elapsed.saturating_sub(age.unwrap_or_default()),
            // Whoever looked at it before may have ended before its pods were marked.
            unmarked: condition(node, "Ready").is_some_and(|ready| ready.status != "True"),
            graces,
        }
    }

    /// Notes whether the node was heard of since the last look.
    pub(super) fn update(&mut self, node: &Node, lease: Option<&Lease>, now: Duration) {
        let heartbeat = heartbeat(node);
        if heartbeat != self.heartbeat {
            self.heartbeat = heartbeat;
            self.at = now;
        }
        self.renew(lease, now);
    }

    /// Notes whether its lease was renewed since the last look.
    pub(super) fn renew(&mut self, lease: Option<&Lease>, now: Duration) {
        let renewed = renewed(lease);
        if renewed > self.renewed {
            self.renewed = renewed;
            self.at = now;
        }
    }

    /// Whether the node has been silent for too long.
    pub(super) fn is_lost(&self, node: &Node, now: Duration) -> bool {
        now > self.at.saturating_add(self.grace(node))
    }

    /// How long it takes until it is, if nothing is heard.
    pub(super) fn lasts(&self, node: &Node, now: Duration) -> Duration {
        let end = self.at.saturating_add(self.grace(node)) + Duration::from_millis(1);
        end.saturating_sub(now)
    }

    fn grace(&self, node: &Node) -> Duration {
        if condition(node, "Ready").is_some() { self.graces.said } else { self.graces.new }
    }
}

fn heartbeat(node: &Node) -> Option<Time> {
    condition(node, "Ready")?.last_heartbeat_time.clone()
}

fn renewed(lease: Option<&Lease>) -> Option<Timestamp> {
    lease?.spec.as_ref()?.renew_time.as_ref().map(|time| time.0)
}

/// Makes the kubelet's conditions unknown; whether `Ready` changed.
pub(super) fn lose(node: &mut Node, now: Timestamp) -> bool {
    let before = condition(node, "Ready").cloned();
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    for kind in FROM_KUBELET {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: created.clone(),
                last_transition_time: Some(Time(now)),
            }),
            Some(present) if present.status != "Unknown" => {
                present.status = "Unknown".to_owned();
                present.reason = Some("NodeStatusUnknown".to_owned());
                present.message = Some("Kubelet stopped posting node status.".to_owned());
                present.last_transition_time = Some(Time(now));
            }
            Some(_) => {}
        }
    }
    condition(node, "Ready").cloned() != before
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(heartbeat: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": heartbeat}]},
        }))
        .unwrap()
    }

    fn lease(renewed: &str) -> Lease {
        serde_json::from_value(json!({"metadata": {}, "spec": {"renewTime": renewed}})).unwrap()
    }

    #[test]
    fn either_sign_of_life_counts_from_when_it_was_seen() {
        let seconds = Duration::from_secs;
        let mut node = node("2026-01-01T00:00:00Z");
        let wall = "2026-01-01T05:00:00Z".parse().unwrap();
        let graces = Graces::of(&Settings::default());
        let mut pulse = Pulse::new(&node, None, (seconds(0), wall), graces);
        assert!(!pulse.is_lost(&node, seconds(50)) && pulse.is_lost(&node, seconds(51)));
        pulse.update(&node, Some(&lease("2026-01-01T00:00:10.000000Z")), seconds(40));
        assert!(!pulse.is_lost(&node, seconds(90)));
        pulse.update(&node, Some(&lease("2026-01-01T00:00:10.000000Z")), seconds(80));
        assert_eq!(pulse.lasts(&node, seconds(80)), seconds(10) + Duration::from_millis(1));
        assert!(pulse.is_lost(&node, seconds(91)) && pulse.lasts(&node, seconds(91)).is_zero());
        let patient = Settings { node_monitor_grace_period: seconds(90), ..Settings::default() };
        let other = Pulse::new(&node, None, (seconds(0), wall), Graces::of(&patient));
        assert!(!other.is_lost(&node, seconds(90)) && other.is_lost(&node, seconds(91)));
        assert!(lose(&mut node, wall));
        assert!(!lose(&mut node, wall));
        let reasons: Vec<_> =
            node.status.unwrap().conditions.unwrap().into_iter().filter_map(|c| c.reason).collect();
        assert_eq!(reasons[0], "NodeStatusUnknown");
        assert_eq!(
            reasons[1..],
            ["NodeStatusNeverUpdated", "NodeStatusNeverUpdated", "NodeStatusNeverUpdated"]
        );
    }
}
