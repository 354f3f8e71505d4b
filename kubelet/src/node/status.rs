use super::{machine::Machine, reference};
use crate::{Result, host::Host, status::whole_seconds};
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
        NodeStatus, NodeSystemInfo,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use kube::api::{Api, Patch, PatchParams};
use kubeplane_client::EventType;
use kubeplane_core::features::Features;
use kubeplane_runtime_cri::v1;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

const LOOK: Duration = Duration::from_secs(10);
const LOOK_SOON: Duration = Duration::from_millis(250);
const MAX_IMAGES: usize = 50;

/// How much of each resource there is.
type Amounts = BTreeMap<String, Quantity>;

/// The status of the node now, continuing `known`.
pub(crate) async fn current(host: &Host, known: Option<&NodeStatus>) -> NodeStatus {
    let config = &host.config;
    let mut addresses: Vec<NodeAddress> = config
        .node_ips
        .iter()
        .map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.to_string() })
        .collect();
    addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: config.node_name.clone() });
    let node = host.node();
    let (capacity, allocatable) =
        amounts(&host.machine, node.as_ref().and_then(|node| node.status.as_ref()));
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        conditions: Some(conditions(host, known)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(config.listen.port()) }),
        }),
        node_info: Some(NodeSystemInfo {
            container_runtime_version: runtime_version(&host.runtime_name, &host.runtime_version),
            ..host.machine.info.clone()
        }),
        images: Some(images(host).await),
        declared_features: declared(&config.features),
        ..NodeStatus::default()
    }
}

/// What the node has, and what of it pods can have: what the machine has, and what somebody else says that it has beside
/// it.
fn amounts(machine: &Machine, stated: Option<&NodeStatus>) -> (Amounts, Amounts) {
    let mut capacity = stated.and_then(|own| own.capacity.clone()).unwrap_or_default();
    let mut allocatable = capacity.clone();
    capacity.extend(machine.capacity.clone());
    allocatable.extend(machine.allocatable.clone());
    (capacity, allocatable)
}

/// Of what the API says that pods can have, the extended resources that the node does not have any more.
fn lost(stated: Option<&NodeStatus>, status: &NodeStatus) -> Vec<String> {
    let own = status.allocatable.as_ref();
    let is_extended = |name: &&String| {
        name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
    };
    let stated = stated.and_then(|stated| stated.allocatable.as_ref()).into_iter().flatten();
    let names = stated.map(|(name, _)| name).filter(is_extended);
    names.filter(|name| own.is_none_or(|own| !own.contains_key(*name))).cloned().collect()
}

/// What the node can do that not every one can, for who asks before it relies on it.
fn declared(features: &Features) -> Option<Vec<String>> {
    let known = ["InPlacePodVerticalScalingInitContainers"];
    let on = known.into_iter().filter(|name| features.is_on(name)).map(str::to_owned);
    let on: Vec<String> = on.filter(|_| features.is_on("NodeDeclaredFeatures")).collect();
    (!on.is_empty()).then_some(on)
}

fn runtime_version(name: &str, version: &str) -> String {
    format!("{name}://{}", version.trim_start_matches('v'))
}

fn conditions(host: &Host, known: Option<&NodeStatus>) -> Vec<NodeCondition> {
    let health = host.health.read().clone();
    let mut problems: Vec<String> = health.runtime.into_iter().collect();
    problems
        .extend(health.network.map(|why| format!("container runtime network not ready: {why}")));
    let ready = if problems.is_empty() {
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status".to_owned())
    } else {
        ("Ready", "False", "KubeletNotReady", problems.join("; "))
    };
    let no = |type_, reason, message: &str| (type_, "False", reason, message.to_owned());
    let all = [
        no(
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        no("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        no("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ready,
    ];
    let now = Time(whole_seconds(host.clock.now()));
    let mut conditions: Vec<NodeCondition> = all
        .into_iter()
        .map(|(type_, status, reason, message)| {
            let old = known.and_then(|known| {
                known.conditions.iter().flatten().find(|c| c.type_ == type_ && c.status == status)
            });
            let since = old.and_then(|old| old.last_transition_time.clone());
            NodeCondition {
                type_: type_.to_owned(),
                status: status.to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message),
                last_heartbeat_time: Some(now.clone()),
                last_transition_time: Some(since.unwrap_or_else(|| now.clone())),
            }
        })
        .collect();
    let ours: Vec<String> = conditions.iter().map(|c| c.type_.clone()).collect();
    let foreign = known.and_then(|known| known.conditions.clone()).unwrap_or_default();
    conditions.extend(foreign.into_iter().filter(|c| !ours.contains(&c.type_)));
    conditions
}

async fn images(host: &Host) -> Vec<ContainerImage> {
    let Ok(mut images) = host.runtime.list_images(v1::ImageFilter::default()).await else {
        return Vec::new();
    };
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    images.truncate(MAX_IMAGES);
    images
        .into_iter()
        .map(|image| ContainerImage {
            size_bytes: i64::try_from(image.size).ok(),
            names: Some(image.repo_digests.into_iter().chain(image.repo_tags).take(5).collect()),
        })
        .collect()
}

/// Whether two statuses say the same but for the time they say it.
fn same(a: &NodeStatus, b: &NodeStatus) -> bool {
    let plain = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    plain(a) == plain(b)
}

/// Keeps the status in the API up to date; `posted` tells whether the node was said to be ready.
pub(crate) async fn keep(host: Arc<Host>, posted: watch::Sender<bool>) {
    host.nodes.synced().await;
    let mut written_at: Option<Duration> = None;
    let mut last: Option<NodeStatus> = None;
    loop {
        check_runtime(&host).await;
        let known = match &last {
            Some(last) => Some(last.clone()),
            None => host.node().and_then(|node| node.status.clone()),
        };
        let status = current(&host, known.as_ref()).await;
        let now = host.clock.elapsed();
        let due = written_at.is_none_or(|at| now.saturating_sub(at) >= host.config.status_period);
        let changed = known.as_ref().is_none_or(|known| !same(known, &status));
        if due || changed {
            match write(&host, &status).await {
                Ok(()) => {
                    let ready = is_ready(&status);
                    if ready != last.as_ref().is_some_and(is_ready) {
                        tell(&host, ready);
                    }
                    written_at = Some(now);
                    last = Some(status);
                    posted.send_replace(ready);
                }
                Err(error) => tracing::warn!(%error, "failed to write the status of the node"),
            }
        }
        let settled = *posted.borrow() && written_at.is_some();
        host.clock.sleep(if settled { LOOK } else { LOOK_SOON }).await;
    }
}

fn tell(host: &Host, ready: bool) {
    let reason = if ready { "NodeReady" } else { "NodeNotReady" };
    let message = format!("Node {} status is now: {reason}", host.config.node_name);
    host.recorder.event(&reference(host), EventType::Normal, reason, message);
}

fn is_ready(status: &NodeStatus) -> bool {
    status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

async fn write(host: &Host, status: &NodeStatus) -> Result<()> {
    let api = Api::<Node>::all(host.client.clone());
    let mut patch = json!({"status": status});
    let node = host.node();
    for name in lost(node.as_ref().and_then(|node| node.status.as_ref()), status) {
        patch["status"]["allocatable"][name] = Value::Null;
    }
    let name = &host.config.node_name;
    api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await?;
    Ok(())
}

/// Asks the runtime how it is.
pub(crate) async fn check_runtime(host: &Host) {
    let mut health = crate::host::RuntimeHealth::default();
    match host.runtime.status(false).await {
        Ok(answer) => {
            let conditions = answer.status.map(|status| status.conditions).unwrap_or_default();
            let bad = |type_: &str| {
                let found = conditions.iter().find(|condition| condition.r#type == type_);
                match found {
                    Some(found) if found.status => None,
                    Some(found) => Some(format!(
                        "{type_}=false reason:{} message:{}",
                        found.reason, found.message
                    )),
                    None => Some(format!("{type_} is not reported")),
                }
            };
            health.runtime =
                bad("RuntimeReady").map(|why| format!("container runtime not ready: {why}"));
            health.network = bad("NetworkReady");
        }
        Err(error) => health.runtime = Some(format!("container runtime is down: {error}")),
    }
    *host.health.write() = health;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_says_the_node_has_pods_can_have() {
        let of = |amounts: Value| -> Amounts { serde_json::from_value(amounts).unwrap() };
        let machine = Machine {
            memory: 2 << 30,
            capacity: of(json!({"cpu": "2", "memory": "2Gi"})),
            allocatable: of(json!({"cpu": "2", "memory": "1Gi"})),
            info: NodeSystemInfo::default(),
        };
        let stated = json!({"capacity": {"cpu": "9", "example.com/a": "5"},
            "allocatable": {"cpu": "9", "example.com/a": "3", "example.com/b": "4", "kubernetes.io/c": "1"}});
        let stated: NodeStatus = serde_json::from_value(stated).unwrap();
        let (capacity, allocatable) = amounts(&machine, Some(&stated));
        assert_eq!(capacity, of(json!({"cpu": "2", "memory": "2Gi", "example.com/a": "5"})));
        assert_eq!(allocatable, of(json!({"cpu": "2", "memory": "1Gi", "example.com/a": "5"})));
        let status = NodeStatus { allocatable: Some(allocatable), ..NodeStatus::default() };
        assert_eq!(lost(Some(&stated), &status), ["example.com/b"]);
        assert_eq!(amounts(&machine, None), (machine.capacity, machine.allocatable));
    }

    #[test]
    fn a_heartbeat_is_no_change() {
        let status = |beat: &str, ready: &str| -> NodeStatus {
            serde_json::from_value(json!({"conditions": [
                {"type": "Ready", "status": ready, "lastHeartbeatTime": beat}
            ]}))
            .unwrap()
        };
        let first = status("2026-01-01T00:00:00Z", "True");
        assert!(same(&first, &status("2026-01-01T00:00:10Z", "True")));
        assert!(!same(&first, &status("2026-01-01T00:00:00Z", "False")));
        assert_eq!(runtime_version("containerd", "v1.6.20"), "containerd://1.6.20");
    }
}
