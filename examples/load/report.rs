use super::meter::Sample;
use std::{collections::HashMap, time::Duration};

/// The samples of every phase, a column a server.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<String>,
    order: Vec<&'static str>,
    samples: HashMap<(&'static str, usize), Vec<Sample>>,
}

impl Table {
    pub(crate) fn new(columns: Vec<String>) -> Self {
        Self { columns, order: Vec::new(), samples: HashMap::new() }
    }

    pub(crate) fn add(&mut self, phase: &'static str, column: usize, sample: Sample) {
        if !self.order.contains(&phase) {
            self.order.push(phase);
        }
        let done = self.samples.entry((phase, column)).or_default();
        done.push(sample);
        let last = Figures::of(&done[done.len() - 1]);
        eprintln!("{phase:<24} {:<10} {}", self.columns[column], last.line());
    }

    /// Lines with the median of each figure, its spread for operations per CPU second, and the ratio to the last server,
    /// below one with what they are.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{:<24} {:<10} {:>10} {:>12} {:>18} {:>9} {:>9} {:>9} {:>9} {:>7}",
            "phase",
            "server",
            "ops/s",
            "ops/CPU-s",
            "spread",
            "p50 ms",
            "p99 ms",
            "max ms",
            "RSS MiB",
            "ratio"
        )];
        for phase in &self.order {
            let all: Vec<Vec<Figures>> = (0..self.columns.len())
                .map(|column| {
                    let samples = self.samples.get(&(*phase, column));
                    samples.into_iter().flatten().map(Figures::of).collect()
                })
                .collect();
            let per_cpu = |figures: &[Figures]| median(figures.iter().map(|f| f.per_cpu));
            let reference = all.last().map_or(0.0, |figures| per_cpu(figures));
            for (name, figures) in self.columns.iter().zip(&all) {
                let of = |pick: fn(&Figures) -> f64| median(figures.iter().map(pick));
                let least = figures.iter().map(|f| f.per_cpu).fold(f64::INFINITY, f64::min);
                let most = figures.iter().map(|f| f.per_cpu).fold(0.0, f64::max);
                lines.push(format!(
                    "{phase:<24} {name:<10} {:>10} {:>12} {:>18} {:>9.2} {:>9.2} {:>9.2} {:>9.0} {:>6.1}x",
                    rate(of(|f| f.per_second)),
                    rate(of(|f| f.per_cpu)),
                    format!("{}..{}", rate(least), rate(most)),
                    of(|f| f.half),
                    of(|f| f.most_of),
                    of(|f| f.longest),
                    of(|f| f.resident),
                    of(|f| f.per_cpu) / reference,
                ));
            }
        }
        lines
    }
}

/// The figures of one sample.
#[derive(Debug)]
struct Figures {
    per_second: f64,
    per_cpu: f64,
    half: f64,
    most_of: f64,
    longest: f64,
    resident: f64,
}

impl Figures {
    fn of(sample: &Sample) -> Self {
        let at = |share: f64| {
            let last = sample.latencies.len().saturating_sub(1);
            let place = (last as f64 * share).round() as usize;
            sample.latencies.get(place).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        // Below the kernel's tick nothing can be said.
        let cpu = sample.cpu.max(Duration::from_millis(10));
        Self {
            per_second: sample.operations as f64 / sample.elapsed.as_secs_f64(),
            per_cpu: sample.operations as f64 / cpu.as_secs_f64(),
            half: at(0.5),
            most_of: at(0.99),
            longest: at(1.0),
            resident: sample.resident as f64 / 1048576.0,
        }
    }

    fn line(&self) -> String {
        format!(
            "{:>10}/s {:>10}/CPU-s p50 {:.2} ms p99 {:.2} ms RSS {:.0} MiB",
            rate(self.per_second),
            rate(self.per_cpu),
            self.half,
            self.most_of,
            self.resident
        )
    }
}

/// Of lists there are few a second.
fn rate(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.0}") }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
