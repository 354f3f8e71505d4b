//! How fast controllers are: `cargo bench -p kubeplane --bench workloads [PART...]`.
//!
//! Parts are `grow`, `roll`, `collect`, `many`, `steady`; all of them by default. The figures of each run are told as they
//! come, and at the end their medians with the aims behind them. The controllers run in this process, or with
//! `CONTROLLERS=own` in one of their own, of which the time it computed is told too; `steady` always has them apart.
//!
//! With `KUBE_CONTROLLER_MANAGER=PATH`, the original's program, each part is played by ours (apart) and by the original, in
//! turn on clusters of their own, and what both computed is compared; `steady`, which takes the original long, only where it
//! is named. `RUNS=3` is how often each part is played (`steady` once), `SCALE=10` makes everything ten times smaller. A part
//! that does not end fails after 30 minutes.

mod figures;
mod ground;
mod parts;

use anyhow::Context as _;
use figures::Figures;
use ground::{COMPUTED, Ground, Who};
use std::{path::PathBuf, time::Duration};

/// As in the `kubeplane` program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is not over by then never is.
const LIMIT: Duration = Duration::from_secs(1800);
const PARTS: [&str; 5] = ["grow", "roll", "collect", "many", "steady"];

struct Plan {
    wanted: Vec<&'static str>,
    /// Whether they were named, rather than all there are.
    named: bool,
    scale: usize,
    runs: usize,
    /// Whether steadiness, which takes minutes, is looked at too.
    measured: bool,
    apart: bool,
    original: Option<PathBuf>,
}

fn number(name: &str) -> anyhow::Result<Option<usize>> {
    let Some(text) = std::env::var(name).ok() else { return Ok(None) };
    let number: usize = text.parse().with_context(|| format!("{name}={text}"))?;
    anyhow::ensure!(number > 0, "{name} is at least 1");
    Ok(Some(number))
}

impl Plan {
    fn read() -> anyhow::Result<Self> {
        let measured = std::env::args().any(|own| own == "--bench");
        let named: Vec<_> =
            std::env::args().skip(1).filter(|part| !part.starts_with("--")).collect();
        if let Some(unknown) = named.iter().find(|name| !PARTS.contains(&name.as_str())) {
            anyhow::bail!("{unknown} is none of {}", PARTS.join(", "));
        }
        let wanted = PARTS.into_iter().filter(|part| {
            let asked = named.iter().any(|name| name == part);
            asked || named.is_empty() && (measured || *part != "steady")
        });
        let apart = match std::env::var("CONTROLLERS").ok().as_deref() {
            None | Some("") => false,
            Some("own") => true,
            Some(other) => anyhow::bail!("CONTROLLERS={other}: expected own"),
        };
        let original = std::env::var_os("KUBE_CONTROLLER_MANAGER").map(PathBuf::from);
        Ok(Self {
            wanted: wanted.collect(),
            named: !named.is_empty(),
            // `cargo test --benches` only wants to know that it runs.
            scale: number("SCALE")?.unwrap_or(if measured { 1 } else { 100 }),
            runs: number("RUNS")?.unwrap_or(if measured { 3 } else { 1 }),
            measured,
            apart: apart || original.is_some(),
            original,
        })
    }

    /// One run of a part.
    async fn play(&self, part: &str, who: &Who, figures: &mut Figures) -> anyhow::Result<()> {
        let nodes = u32::try_from(5_000 / self.scale)?;
        let scale = self.scale;
        let run = async {
            let ground = Ground::new(nodes, who).await?;
            match part {
                "grow" => parts::grow(ground, figures, scale).await,
                "roll" => parts::roll(ground, figures, scale).await,
                "collect" => parts::collect(ground, figures, scale).await,
                "many" => parts::many(ground, figures, scale).await,
                _ => parts::steady(ground, figures, scale, self.measured).await,
            }
        };
        let limited = tokio::time::timeout(LIMIT, run).await;
        limited.with_context(|| format!("{part} is not over after {LIMIT:?}"))?
    }

    /// All runs of a part, and their medians.
    async fn part(&self, part: &str) -> anyhow::Result<()> {
        let steady = part == "steady";
        let ours = if self.apart || steady { Who::Apart } else { Who::Here };
        let original = self.original.as_ref().filter(|_| !steady || self.named);
        let (mut own, mut others) = (Figures::default(), Figures::default());
        for run in 1..=if steady { 1 } else { self.runs } {
            eprintln!("{part}, run {run}");
            self.play(part, &ours, &mut own).await?;
            if let Some(program) = original {
                eprintln!("{part}, run {run}, the original");
                self.play(part, &Who::Original(program.clone()), &mut others).await?;
            }
        }
        own.print(part);
        if original.is_some() {
            others.print(&format!("{part}, the original"));
            compare(&own, &others);
        }
        Ok(())
    }
}

/// The same work was done by both: what it took them.
#[expect(clippy::print_stdout, reason = "the figures are what was asked for")]
fn compare(own: &Figures, others: &Figures) {
    let (Some(own), Some(others)) = (own.median(COMPUTED), others.median(COMPUTED)) else { return };
    // The kernel counts in hundredths.
    let ratio = others.value() / own.value().max(0.01);
    println!("  work for each second computed, against the original: {ratio:.1} times   aim 10");
}

fn main() -> anyhow::Result<()> {
    let plan = Plan::read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        for part in &plan.wanted {
            plan.part(part).await?;
        }
        anyhow::Ok(())
    })
}
