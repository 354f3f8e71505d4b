use super::answer::{Answer, json};
use crate::{host::Host, observed, usage};
use axum::body::Body;
use http::{Response, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kubeplane_runtime_cri::v1;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
    fs,
    sync::Arc,
};

/// One running container.
struct Measured {
    name: String,
    cpu: Option<Cpu>,
    memory: Option<Memory>,
    /// Milliseconds since 1970.
    at: i64,
}

#[derive(Clone, Copy, Default)]
struct Cpu {
    /// Nanoseconds since the start.
    total: u64,
    /// Billionths of processors now, once known.
    rate: Option<u64>,
}

#[derive(Clone, Copy, Default)]
struct Memory {
    used: u64,
    working_set: u64,
    resident: Option<u64>,
}

/// Namespace, name and uid.
type Id = (String, String, String);

async fn pods(host: &Host) -> BTreeMap<Id, Vec<Measured>> {
    let all = host.runtime.list_container_stats(v1::ContainerStatsFilter::default()).await;
    let mut pods: BTreeMap<Id, Vec<Measured>> = BTreeMap::new();
    for stats in all.unwrap_or_default() {
        let Some(attributes) = &stats.attributes else { continue };
        let Some(pod) = observed::pod_id(&attributes.labels) else { continue };
        let container = Measured {
            name: attributes.labels.get(observed::CONTAINER_NAME).cloned().unwrap_or_default(),
            cpu: cpu(host, &attributes.id, &stats),
            memory: memory(&stats),
            at: host.clock.now().as_millisecond(),
        };
        pods.entry((pod.namespace, pod.name, pod.uid)).or_default().push(container);
    }
    pods
}

fn cpu(host: &Host, id: &str, stats: &v1::ContainerStats) -> Option<Cpu> {
    let cpu = stats.cpu.as_ref()?;
    let total = cpu.usage_core_nano_seconds.as_ref()?.value;
    // A runtime that has not compared two looks says nothing or zero.
    let told = cpu.usage_nano_cores.as_ref().map(|rate| rate.value).filter(|rate| *rate > 0);
    let own = host.rates.of(id, total, host.clock.elapsed());
    Some(Cpu { total, rate: told.or(own) })
}

fn memory(stats: &v1::ContainerStats) -> Option<Memory> {
    let memory = stats.memory.as_ref()?;
    let value = |value: Option<&v1::UInt64Value>| value.map(|value| value.value);
    let working_set = value(memory.working_set_bytes.as_ref())?;
    Some(Memory {
        used: value(memory.usage_bytes.as_ref()).unwrap_or(working_set),
        working_set,
        resident: value(memory.rss_bytes.as_ref()),
    })
}

/// The sum over containers; its rate is known when all are.
fn sum_cpu<'a>(all: impl IntoIterator<Item = &'a Measured>) -> Cpu {
    all.into_iter().filter_map(|one| one.cpu).fold(Cpu { total: 0, rate: Some(0) }, |sum, one| {
        Cpu {
            total: sum.total.saturating_add(one.total),
            rate: sum.rate.zip(one.rate).map(|(sum, one)| sum.saturating_add(one)),
        }
    })
}

fn sum_memory<'a>(all: impl IntoIterator<Item = &'a Measured>) -> Memory {
    let all = all.into_iter().filter_map(|one| one.memory);
    all.fold(Memory::default(), |sum, one| Memory {
        used: sum.used.saturating_add(one.used),
        working_set: sum.working_set.saturating_add(one.working_set),
        resident: None,
    })
}

/// What the node uses: the machine, or what the pods of a node use that has no machine.
fn node_use(host: &Host, pods: &BTreeMap<Id, Vec<Measured>>) -> (Cpu, Memory, u64) {
    let capacity = host.machine.memory;
    if !host.runtime.network_is_real() {
        let memory = sum_memory(pods.values().flatten());
        let free = capacity.saturating_sub(memory.working_set);
        return (sum_cpu(pods.values().flatten()), memory, free);
    }
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib << 10);
    let used = capacity.saturating_sub(available);
    let total = usage::machine_total().unwrap_or_default();
    let rate = host.rates.of("", total, host.clock.elapsed());
    (Cpu { total, rate }, Memory { used, working_set: used, resident: None }, available)
}

/// Answers with what the node and its pods use; without disks when only processors and memory are asked for.
pub(super) async fn summary(host: &Arc<Host>, only_cpu_and_memory: bool) -> Answer {
    let now = json!(Time(host.clock.now()));
    let pods = pods(host).await;
    let shown = |((namespace, name, uid), containers): (&Id, &Vec<Measured>)| {
        let each: Vec<Value> = containers
            .iter()
            .map(|one| {
                json!({"name": one.name, "startTime": now,
                    "cpu": one.cpu.map(|cpu| cpu_json(cpu, &now)),
                    "memory": one.memory.map(|memory| memory_json(memory, &now))})
            })
            .collect();
        json!({"podRef": {"name": name, "namespace": namespace, "uid": uid}, "startTime": now,
            "cpu": cpu_json(sum_cpu(containers), &now),
            "memory": memory_json(sum_memory(containers), &now), "containers": each})
    };
    let all: Vec<Value> = pods.iter().map(shown).collect();
    let (cpu, memory, available) = node_use(host, &pods);
    let mut memory = memory_json(memory, &now);
    memory["availableBytes"] = json!(available);
    let mut node = json!({"nodeName": host.config.node_name, "startTime": now,
        "cpu": cpu_json(cpu, &now), "memory": memory});
    if !only_cpu_and_memory {
        node["fs"] = disk(host, &now);
    }
    json(&json!({"node": node, "pods": all}))
}

fn cpu_json(cpu: Cpu, now: &Value) -> Value {
    json!({"time": now, "usageNanoCores": cpu.rate, "usageCoreNanoSeconds": cpu.total})
}

fn memory_json(memory: Memory, now: &Value) -> Value {
    json!({"time": now, "usageBytes": memory.used, "workingSetBytes": memory.working_set,
        "rssBytes": memory.resident})
}

fn disk(host: &Host, now: &Value) -> Value {
    let disk = rustix::fs::statvfs(&host.config.data_dir).ok();
    disk.map_or(Value::Null, |disk| {
        let capacity = disk.f_blocks * disk.f_frsize;
        let free = disk.f_bavail * disk.f_frsize;
        json!({"time": now, "capacityBytes": capacity, "availableBytes": free,
            "usedBytes": capacity.saturating_sub(disk.f_bfree * disk.f_frsize),
            "inodes": disk.f_files, "inodesFree": disk.f_ffree})
    })
}

/// Answers with what the node and its pods use as metrics, under the original's names.
pub(super) async fn resource(host: &Arc<Host>) -> Answer {
    let pods = pods(host).await;
    let (cpu, memory, _) = node_use(host, &pods);
    let now = host.clock.now().as_millisecond();
    let mut text = Text::default();
    text.metric(CPU_OF_CONTAINER, each(&pods, |one| one.cpu.map(|cpu| seconds(cpu.total))));
    text.metric(MEMORY_OF_CONTAINER, each(&pods, |one| one.memory.map(|one| one.working_set)));
    text.metric(CPU_OF_NODE, [(String::new(), seconds(cpu.total), now)]);
    text.metric(MEMORY_OF_NODE, [(String::new(), memory.working_set, now)]);
    let of_pods = |of: fn(&[Measured]) -> f64| {
        pods.iter().map(move |((namespace, name, _), containers)| {
            (format!("{{namespace=\"{namespace}\",pod=\"{name}\"}}"), of(containers), now)
        })
    };
    text.metric(CPU_OF_POD, of_pods(|all| seconds(sum_cpu(all).total)));
    #[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
    text.metric(MEMORY_OF_POD, of_pods(|all| sum_memory(all).working_set as f64));
    text.metric(ERROR, [(String::new(), 0, 0)]);
    let mut answer = Response::new(Body::from(text.0));
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// A name, a type and a description.
type Metric = (&'static str, &'static str, &'static str);

const CPU_OF_CONTAINER: Metric = (
    "container_cpu_usage_seconds_total",
    "counter",
    "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
);
const MEMORY_OF_CONTAINER: Metric = (
    "container_memory_working_set_bytes",
    "gauge",
    "[STABLE] Current working set of the container in bytes",
);
const CPU_OF_NODE: Metric = (
    "node_cpu_usage_seconds_total",
    "counter",
    "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
);
const MEMORY_OF_NODE: Metric =
    ("node_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the node in bytes");
const CPU_OF_POD: Metric = (
    "pod_cpu_usage_seconds_total",
    "counter",
    "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
);
const MEMORY_OF_POD: Metric =
    ("pod_memory_working_set_bytes", "gauge", "[STABLE] Current working set of the pod in bytes");
const ERROR: Metric = (
    "resource_scrape_error",
    "gauge",
    "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
);

#[expect(clippy::cast_precision_loss, reason = "the format has no other numbers")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn each<'a, T>(
    pods: &'a BTreeMap<Id, Vec<Measured>>,
    value: impl Fn(&Measured) -> Option<T> + Copy + 'a,
) -> impl Iterator<Item = (String, T, i64)> + 'a {
    pods.iter().flat_map(move |((namespace, pod, _), containers)| {
        containers.iter().filter_map(move |one| {
            let container = &one.name;
            let labels =
                format!("{{container=\"{container}\",namespace=\"{namespace}\",pod=\"{pod}\"}}");
            Some((labels, value(one)?, one.at))
        })
    })
}

#[derive(Default)]
struct Text(String);

impl Text {
    /// Names of objects hold nothing that would have to be escaped.
    fn metric<T: Display>(
        &mut self,
        (name, kind, about): Metric,
        values: impl IntoIterator<Item = (String, T, i64)>,
    ) {
        // Nothing fails that is written into memory.
        let _ = writeln!(self.0, "# HELP {name} {about}\n# TYPE {name} {kind}");
        for (labels, value, at) in values {
            let _ = match at {
                0 => writeln!(self.0, "{name}{labels} {value}"),
                at => writeln!(self.0, "{name}{labels} {value} {at}"),
            };
        }
    }
}
