//! What was measured, run after run.

use std::{collections::BTreeMap, fmt, time::Duration};

/// A figure of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Figure {
    Seconds(f64),
    Percent(f64),
    Bytes(f64),
    Number(f64),
}

impl From<Duration> for Figure {
    fn from(time: Duration) -> Self {
        Self::Seconds(time.as_secs_f64())
    }
}

impl Figure {
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::Seconds(value)
            | Self::Percent(value)
            | Self::Bytes(value)
            | Self::Number(value) => value,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Seconds(value) => format!("{value:.2} s"),
            Self::Percent(value) => format!("{:.2} %", value * 100.0),
            Self::Bytes(value) => format!("{:.0} MiB", value / f64::from(1 << 20)),
            Self::Number(value) => format!("{value:.2}"),
        };
        f.pad(&text)
    }
}

/// The same figures of several runs, in the order in which they were first told.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    order: Vec<(String, String)>,
    runs: BTreeMap<String, Vec<Figure>>,
}

impl Figures {
    /// One more run's figure, with what is aimed at.
    pub(crate) fn tell(&mut self, what: &str, figure: impl Into<Figure>, aim: &str) {
        let figure = figure.into();
        eprintln!("    {what:<58} {figure:>12}");
        let runs = self.runs.entry(what.to_owned()).or_default();
        if runs.is_empty() {
            self.order.push((what.to_owned(), aim.to_owned()));
        }
        runs.push(figure);
    }

    pub(crate) fn median(&self, what: &str) -> Option<Figure> {
        let mut runs = self.runs.get(what)?.clone();
        runs.sort_by(|a, b| a.value().total_cmp(&b.value()));
        Some(runs[runs.len() / 2])
    }

    /// The medians, with the least and the most.
    #[expect(clippy::print_stdout, reason = "the figures are what was asked for")]
    pub(crate) fn print(&self, whose: &str) {
        println!("{whose}");
        for (what, aim) in &self.order {
            let mut runs = self.runs[what].clone();
            runs.sort_by(|a, b| a.value().total_cmp(&b.value()));
            let range = match runs.as_slice() {
                [least, .., most] => format!("({least} to {most} in {} runs)", runs.len()),
                _ => "(one run)".to_owned(),
            };
            println!("  {what:<58} {:>12}   aim {aim}   {range}", runs[runs.len() / 2]);
        }
    }
}
