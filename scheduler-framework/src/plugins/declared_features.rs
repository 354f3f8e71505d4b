use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, PreFilter, PreFilterVerdict, SchedulerPlugin, Sign,
    Snapshot, Track, Tracking,
};
use k8s_openapi::api::core::v1::{Node, PodSpec};

/// Only nodes that declare what a pod needs of them (KEP-5328).
#[derive(Debug, Clone, Copy, Default)]
pub struct NodeDeclaredFeatures;

/// What a node must declare for a pod, in the original's order.
fn required(spec: &PodSpec) -> Vec<&'static str> {
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let restarts_all = containers.any(|own| {
        let mut rules = own.restart_policy_rules.iter().flatten();
        rules.any(|rule| rule.action == "RestartAllContainers")
    });
    let shares_network = spec.host_network == Some(true) && spec.host_users == Some(false);
    let all = [
        ("RestartAllContainersOnContainerExits", restarts_all),
        ("UserNamespacesHostNetworkSupport", shares_network),
    ];
    all.into_iter().filter(|(_, needed)| *needed).map(|(name, _)| name).collect()
}

fn declared(node: &Node) -> &[String] {
    let status = node.status.as_ref();
    status.and_then(|own| own.declared_features.as_deref()).unwrap_or_default()
}

fn has_all(node: &NodeInfo, required: &[&str]) -> bool {
    required.iter().all(|name| declared(node.node()).iter().any(|own| own == name))
}

impl SchedulerPlugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        let nodes = ActionType::ADD.or(ActionType::UPDATE_DECLARED_FEATURES);
        vec![
            ClusterEvent::new(EventResource::Node, nodes),
            ClusterEvent::new(EventResource::UnscheduledPod, ActionType::UPDATE_OTHER),
        ]
    }

    fn as_track(&self) -> Option<&dyn Track> {
        Some(self)
    }

    fn as_sign(&self) -> Option<&dyn Sign> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }
}

impl PreFilter for NodeDeclaredFeatures {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> PreFilterVerdict {
        match required(pod.spec()).is_empty() {
            true => PreFilterVerdict::Skip,
            false => PreFilterVerdict::Continue,
        }
    }
}

impl Filter for NodeDeclaredFeatures {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        if has_all(node, &required(pod.spec())) {
            return FilterVerdict::Fits;
        }
        FilterVerdict::Unresolvable(vec!["node(s) didn't match Pod's required features".into()])
    }
}

impl Track for NodeDeclaredFeatures {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> Tracking {
        let required = required(pod.spec());
        if required.is_empty() {
            return Tracking::Indifferent;
        }
        Tracking::Alone(Box::new(move |node| has_all(node, &required).then_some(0)))
    }

    fn track_kind(&self, pod: &PodInfo, nodes: &Snapshot) -> Option<Tracking> {
        Some(self.track(pod, nodes))
    }
}

impl Sign for NodeDeclaredFeatures {
    fn sign(&self, pod: &PodInfo) -> Option<Vec<u8>> {
        Some(required(pod.spec()).join(" ").into_bytes())
    }
}

impl EnqueueExtensions for NodeDeclaredFeatures {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Node { old: Some(old), new: Some(new) } => declared(old) != declared(new),
            EventObject::Pod { old: Some(old), new: Some(new) } => {
                let of = |spec: Option<&PodSpec>| spec.map(required).unwrap_or_default();
                new.metadata.uid.as_deref() == Some(pod.uid())
                    && of(old.spec.as_ref()) != of(new.spec.as_ref())
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{filter, pod};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn node(features: &Value) -> Arc<NodeInfo> {
        let value = json!({"metadata": {"name": "n"}, "status": {"declaredFeatures": features}});
        Arc::new(NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap())))
    }

    #[test]
    fn pods_go_only_to_nodes_that_declare_what_they_need() {
        let rule = json!({"action": "RestartAllContainers",
            "exitCodes": {"operator": "In", "values": [42]}});
        let restarting = json!({"containers": [{"name": "c", "restartPolicyRules": [rule]}]});
        let network = json!({"hostNetwork": true, "hostUsers": false});
        let (all, own) =
            ("RestartAllContainersOnContainerExits", "UserNamespacesHostNetworkSupport");
        for (spec, fits) in [
            (json!({}), [true, true, true]),
            (restarting, [false, true, true]),
            (network, [false, false, true]),
            (json!({"hostNetwork": true}), [true, true, true]),
        ] {
            let nodes = [json!([]), json!([all]), json!([all, own])].map(|own| node(&own));
            let own = pod("p", "", spec);
            let verdicts = filter(&NodeDeclaredFeatures, &own, &Snapshot::new(nodes.to_vec()));
            let refused = vec!["node(s) didn't match Pod's required features".to_owned()];
            let expected = fits.map(|fits| match fits {
                true => FilterVerdict::Fits,
                false => FilterVerdict::Unresolvable(refused.clone()),
            });
            assert_eq!(verdicts, expected, "{:?}", own.spec());
        }
    }

    #[test]
    fn a_node_that_declares_more_brings_pods_back() {
        let own = pod("p", "", json!({"hostNetwork": true, "hostUsers": false}));
        let event = ClusterEvent::new(EventResource::Node, ActionType::UPDATE_DECLARED_FEATURES);
        assert!(NodeDeclaredFeatures.requeue_on().iter().any(|wanted| wanted.matches(event)));
        let change = |before: Value, after: Value| {
            let of = |features| Some(node(features).node().clone());
            let object = EventObject::Node { old: of(&before), new: of(&after) };
            NodeDeclaredFeatures.hint(&own, event, &object)
        };
        assert_eq!(change(json!(["a"]), json!(["a", "b"])), Hint::Queue);
        assert_eq!(change(json!(["a"]), json!(["a"])), Hint::Skip);
    }
}
