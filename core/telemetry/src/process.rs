//! What the machine says of this process, read when metrics are asked for.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use std::{fmt, fs};

/// Clock ticks per second in `/proc`, the same on all Linux machines whatever the kernel's own are.
const TICKS: f64 = 100.0;

/// The `process_` metrics every component of the original has. Linux only; elsewhere they are left out.
#[derive(Debug)]
pub(crate) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some((cpu, started)) = times() {
            let metric = ConstCounter::new(cpu);
            let help = "Seconds of processor time spent";
            let kind = metric.metric_type();
            metric.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
            gauge(
                &mut encoder,
                "process_start_time_seconds",
                "When the process started, as seconds since 1970",
                started,
            )?;
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (name, help, field) in [
            ("process_resident_memory_bytes", "Memory held", "VmRSS:"),
            ("process_virtual_memory_bytes", "Address space", "VmSize:"),
        ] {
            let kilobytes = status.lines().find_map(|line| line.strip_prefix(field));
            let kilobytes = kilobytes.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
            if let Some(kilobytes) = kilobytes {
                let kilobytes: f64 = kilobytes;
                gauge(&mut encoder, name, help, kilobytes * 1024.0)?;
            }
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // One of them is the directory being read.
            let count = u32::try_from(open.count().saturating_sub(1)).unwrap_or(u32::MAX);
            gauge(&mut encoder, "process_open_fds", "Open files", f64::from(count))?;
        }
        if let Some(most) = most_files() {
            gauge(&mut encoder, "process_max_fds", "Files that may be open at once", most)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: f64,
) -> Result<(), fmt::Error> {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// Processor time in seconds, and when the process started.
fn times() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name before may hold anything, so fields are counted from its end.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 =
        machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(((field(14)? + field(15)?) / TICKS, booted + field(22)? / TICKS))
}

fn most_files() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
