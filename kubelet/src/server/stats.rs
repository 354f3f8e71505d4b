use super::answer::{Answer, json};
use crate::{host::Host, observed};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kubeplane_runtime_cri::v1;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, sync::Arc};

/// Answers with what the node and its pods use.
pub(super) async fn summary(host: &Arc<Host>) -> Answer {
    let now = json!(Time(host.clock.now()));
    let all = host.runtime.list_container_stats(v1::ContainerStatsFilter::default()).await;
    let mut pods: BTreeMap<(String, String, String), Vec<Value>> = BTreeMap::new();
    for stats in all.unwrap_or_default() {
        let Some(attributes) = stats.attributes.clone() else { continue };
        let Some(pod) = observed::pod_id(&attributes.labels) else { continue };
        let name = attributes.labels.get(observed::CONTAINER_NAME).cloned().unwrap_or_default();
        let container = json!({
            "name": name, "startTime": now, "cpu": cpu(&stats, &now), "memory": memory(&stats, &now)
        });
        pods.entry((pod.namespace, pod.name, pod.uid)).or_default().push(container);
    }
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|((namespace, name, uid), containers)| {
            let sum = |kind: &str, field: &str| -> u64 {
                containers.iter().filter_map(|c| c[kind][field].as_u64()).sum()
            };
            let cpu = json!({"time": now, "usageNanoCores": sum("cpu", "usageNanoCores"),
                "usageCoreNanoSeconds": sum("cpu", "usageCoreNanoSeconds")});
            let memory = json!({"time": now, "usageBytes": sum("memory", "usageBytes"),
                "workingSetBytes": sum("memory", "workingSetBytes")});
            json!({"podRef": {"name": name, "namespace": namespace, "uid": uid},
                "startTime": now, "cpu": cpu, "memory": memory, "containers": containers})
        })
        .collect();
    json(&json!({"node": node(host, &now), "pods": pods}))
}

fn value(value: Option<&v1::UInt64Value>) -> Value {
    value.map_or(Value::Null, |value| json!(value.value))
}

fn cpu(stats: &v1::ContainerStats, now: &Value) -> Value {
    let Some(cpu) = &stats.cpu else { return Value::Null };
    json!({"time": now, "usageNanoCores": value(cpu.usage_nano_cores.as_ref()),
        "usageCoreNanoSeconds": value(cpu.usage_core_nano_seconds.as_ref())})
}

fn memory(stats: &v1::ContainerStats, now: &Value) -> Value {
    let Some(memory) = &stats.memory else { return Value::Null };
    json!({"time": now, "usageBytes": value(memory.usage_bytes.as_ref()),
        "workingSetBytes": value(memory.working_set_bytes.as_ref()),
        "rssBytes": value(memory.rss_bytes.as_ref())})
}

fn node(host: &Host, now: &Value) -> Value {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib << 10);
    let used = host.machine.memory.saturating_sub(available);
    let disk = rustix::fs::statvfs(&host.config.data_dir).ok();
    let disk = disk.map_or(Value::Null, |disk| {
        let capacity = disk.f_blocks * disk.f_frsize;
        let free = disk.f_bavail * disk.f_frsize;
        json!({"time": now, "capacityBytes": capacity, "availableBytes": free,
            "usedBytes": capacity.saturating_sub(disk.f_bfree * disk.f_frsize),
            "inodes": disk.f_files, "inodesFree": disk.f_ffree})
    });
    json!({"nodeName": host.config.node_name, "startTime": now,
        "memory": {"time": now, "availableBytes": available, "usageBytes": used,
            "workingSetBytes": used},
        "fs": disk})
}
