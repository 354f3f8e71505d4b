use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kubeplane_client::Lister;
use kubeplane_workload::{Resources, limits, requests};
use std::{
    fmt::Write as _,
    sync::{Arc, OnceLock},
};

/// What kind of amounts, and how they are explained.
type Gauge = (&'static str, &'static str, fn(&PodSpec) -> Resources);

const GAUGES: [Gauge; 2] = [
    ("kube_pod_resource_limit", "What pods may use at most, by resource.", limits),
    ("kube_pod_resource_request", "What pods request, by resource.", requests),
];

/// What the pods of a cluster request and may use at most, as the original's scheduler shows it under `/metrics/resources`
/// (KEP-1748): one line for each pod and resource. It shows nothing before the scheduler runs that
/// [has](crate::SchedulerBuilder::pod_resources) it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct PodResources(Arc<OnceLock<Lister<Pod>>>);

impl PodResources {
    /// Of the scheduler's pods from now on.
    pub(crate) fn show(&self, pods: Lister<Pod>) {
        // Only one scheduler has it.
        let _ = self.0.set(pods);
    }

    /// All of them in the plain text form of Prometheus, version 0.0.4. CPU is in cores, memory and storage in bytes.
    #[must_use]
    pub fn encode(&self) -> String {
        let pods = self.0.get().map(Lister::list).unwrap_or_default();
        encode(&pods)
    }
}

fn encode(pods: &[Arc<Pod>]) -> String {
    let mut text = String::new();
    for (name, help, amounts) in GAUGES {
        let lines: String = pods.iter().map(|pod| lines(name, pod, amounts)).collect();
        if !lines.is_empty() {
            // Writing into a String cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{lines}");
        }
    }
    text
}

fn lines(name: &str, pod: &Pod, amounts: fn(&PodSpec) -> Resources) -> String {
    let Some(spec) = pod.spec.as_ref().filter(|_| !is_over(pod)) else { return String::new() };
    let namespace = escaped(pod.metadata.namespace.as_deref());
    let own = escaped(pod.metadata.name.as_deref());
    let node = escaped(spec.node_name.as_deref());
    let scheduler = escaped(spec.scheduler_name.as_deref());
    let priority = spec.priority.map(|own| own.to_string()).unwrap_or_default();
    let mut text = String::new();
    for (resource, amount) in amounts(spec).iter().filter(|(_, amount)| !amount.is_zero()) {
        let (unit, amount) = (unit(resource), amount.as_f64());
        let resource = escaped(Some(resource.as_str()));
        let _ = writeln!(
            text,
            "{name}{{namespace=\"{namespace}\",node=\"{node}\",pod=\"{own}\",priority=\"{priority}\",\
             resource=\"{resource}\",scheduler=\"{scheduler}\",unit=\"{unit}\"}} {amount}",
        );
    }
    text
}

/// Whether a pod that had a node takes nothing from it any more.
fn is_over(pod: &Pod) -> bool {
    let placed = pod.spec.as_ref().is_some_and(|own| own.node_name.is_some());
    placed && kubeplane_workload::is_terminal(pod)
}

fn unit(resource: &str) -> &'static str {
    match resource {
        "cpu" => "cores",
        "memory" | "storage" | "ephemeral-storage" => "bytes",
        name if name.starts_with("hugepages-") => "bytes",
        name if name.starts_with("attachable-volumes-") => "integer",
        _ => "",
    }
}

fn escaped(text: Option<&str>) -> String {
    let text = text.unwrap_or_default();
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, mut spec: Value, phase: &str) -> Arc<Pod> {
        spec["schedulerName"] = json!("s");
        let pod = json!({"metadata": {"name": name, "namespace": "d"}, "spec": spec,
            "status": {"phase": phase}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn what_pods_take_is_told_unless_they_are_over() {
        let requests = json!({"cpu": "250m", "memory": "1Mi", "example.com/gpu": "2", "a": "0"});
        let container = json!({"name": "c", "resources": {"requests": requests}});
        let spec = json!({"containers": [container], "nodeName": "n", "priority": 7});
        let limited = json!({"name": "c", "resources": {"limits": {"cpu": "2"}}});
        let pods = [
            pod("runs", spec.clone(), "Running"),
            pod("over", spec, "Succeeded"),
            pod("waits", json!({"containers": [limited]}), "Pending"),
        ];
        let expected = "\
# HELP kube_pod_resource_limit What pods may use at most, by resource.
# TYPE kube_pod_resource_limit gauge
kube_pod_resource_limit{namespace=\"d\",node=\"\",pod=\"waits\",priority=\"\",resource=\"cpu\",scheduler=\"s\",unit=\"cores\"} 2
# HELP kube_pod_resource_request What pods request, by resource.
# TYPE kube_pod_resource_request gauge
kube_pod_resource_request{namespace=\"d\",node=\"n\",pod=\"runs\",priority=\"7\",resource=\"cpu\",scheduler=\"s\",unit=\"cores\"} 0.25
kube_pod_resource_request{namespace=\"d\",node=\"n\",pod=\"runs\",priority=\"7\",resource=\"example.com/gpu\",scheduler=\"s\",unit=\"\"} 2
kube_pod_resource_request{namespace=\"d\",node=\"n\",pod=\"runs\",priority=\"7\",resource=\"memory\",scheduler=\"s\",unit=\"bytes\"} 1048576
";
        assert_eq!(encode(&pods), expected);
        assert_eq!(PodResources::default().encode(), "", "nothing is known yet");
    }
}
