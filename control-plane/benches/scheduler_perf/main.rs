//! The original's scheduler_perf rows (test/integration/scheduler_perf) through the real API: nodes and pods are created,
//! the scheduler binds, and what counts is how many pods a second get their node.
//!
//! `cargo bench -p kubeplane --bench scheduler_perf` runs all rows the original labels `performance`, each three times.
//!
//! * `ROW=SchedulingBasic` only that test, or those whose name has the text; `SCALE=5000Nodes` only that size of it, also
//!   one that the original does not label; `LIST=1` says which there are.
//! * `REPEAT=1` how often each; `DIVIDE=10` a tenth of all nodes and pods.
//! * `SCHEDULER=own` ours in a process of its own, which speaks to the API server over TLS; `SCHEDULER=PATH` the
//!   original's kube-scheduler instead, started with the same configuration. Without it the scheduler runs in this process.
//!
//! Each run tells the pods a second from the first request that makes one to the last binding (`whole`), and, as the
//! original does, the average and the percentiles of what each second but the first brought; those are missing when it
//! took no two seconds. Then come the medians of all runs, with the aim. As in the original, nodes are ready without
//! anybody saying so: the admission steps TaintNodesByCondition and ServiceAccount are off. A row in which for two minutes
//! no pod gets a node is told, with why, and left; the bench fails in the end.
//!
//! Rows that say themselves how fast it goes have no aim: EventHandling* change or delete a hundred objects a second,
//! SteadyState* have ten pods at a time, and PublishResourceSlices places none: there slices count.
#![expect(clippy::print_stdout, reason = "prints its findings")]

mod figures;
mod objects;
mod once;
mod process;
mod rates;
mod rows;
mod run;

use figures::{figures, medians, told};
use once::once;
use process::Chosen;
use rows::{Row, chosen, rows};
use std::{process::ExitCode, str::FromStr};

/// As in the `kubeplane` program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// No row is to be slower, in pods a second.
const FLOOR: f64 = 1000.0;

/// What is wanted of a row, on the machine where the original has run it too.
fn aim(row: &Row) -> String {
    if row.is_paced() {
        return "none: it is paced".to_owned();
    }
    let hard = ["Affinity", "Spreading", "Preemption"];
    let times = match row.test {
        "SchedulingBasic" => Some(10),
        test if hard.iter().any(|kind| test.contains(kind)) => Some(30),
        _ => None,
    };
    let times = times.map(|times| format!(" and {times} times the original's"));
    format!("{FLOOR}/s{}", times.unwrap_or_default())
}

fn asked<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|own| own.parse().ok()).unwrap_or(default)
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    let measuring = std::env::args().any(|own| own == "--bench");
    let (row, scale) = (asked("ROW", String::new()), asked("SCALE", String::new()));
    if asked::<u8>("LIST", 0) > 0 {
        for own in rows() {
            println!("{}{}", own.name(), if own.performance { " performance" } else { "" });
        }
        return ExitCode::SUCCESS;
    }
    let rows = chosen(rows(), &row, &scale);
    if rows.is_empty() {
        eprintln!("there is no row {row:?} of the size {scale:?}; LIST=1 says which there are");
        return ExitCode::FAILURE;
    }
    // `cargo test --benches` only wants to know that it runs.
    let divisor = asked::<usize>("DIVIDE", if measuring { 1 } else { 1000 }).max(1);
    let repeat = asked::<usize>("REPEAT", if measuring { 3 } else { 1 }).max(1);
    let scheduler = Chosen::of(&asked("SCHEDULER", String::new()));
    println!("scheduler: {}", scheduler.name());
    let (mut slowest, mut given_up) = (f64::INFINITY, 0);
    for row in &rows {
        let (name, mut runs) = (row.name(), Vec::new());
        for number in 1..=repeat {
            match once(row, divisor, &scheduler).await {
                Ok(own) => {
                    let found = figures(&own);
                    println!(
                        "{name:<64} {number}/{repeat} {:>6} nodes {:>6} pods made in {:>8.2?} placed in {:>8.2?} {}",
                        own.nodes,
                        own.pods,
                        own.made,
                        own.placed,
                        told(&found)
                    );
                    runs.push(found);
                }
                Err(why) => {
                    println!("{name:<64} {number}/{repeat} GIVEN UP: {why}");
                    given_up += 1;
                    break;
                }
            }
        }
        let all = medians(&runs);
        if !row.is_paced() {
            slowest = slowest.min(all[0].unwrap_or(f64::INFINITY));
        }
        println!("{name:<64} median of {} {} aim {}", runs.len(), told(&all), aim(row));
    }
    println!("{} rows, slowest {slowest:.0}/s, aim {FLOOR}/s; {given_up} given up", rows.len());
    if given_up > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
