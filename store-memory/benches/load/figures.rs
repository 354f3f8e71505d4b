//! What was seen, and how it is told.

use std::time::Duration;

/// What one round has shown.
pub(crate) struct Seen {
    count: f64,
    latencies: Vec<Duration>,
    elapsed: Duration,
    pub(crate) cpu: f64,
    /// What the disk itself took around that time.
    pub(crate) disk: Option<Duration>,
}

impl Seen {
    pub(crate) fn new(
        count: f64,
        mut latencies: Vec<Duration>,
        elapsed: Duration,
        cpu: f64,
    ) -> Self {
        latencies.sort_unstable();
        Self { count, latencies, elapsed, cpu, disk: None }
    }

    fn rate(&self) -> f64 {
        self.count / self.elapsed.as_secs_f64()
    }

    /// In microseconds.
    fn at(&self, part: f64) -> f64 {
        let index = (self.latencies.len() as f64 * part) as usize;
        self.latencies.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }
}

/// What several rounds have shown: their median is told, and how far they are apart.
#[derive(Default)]
pub(crate) struct Rounds(Vec<Seen>);

impl Rounds {
    pub(crate) fn push(&mut self, seen: Seen) {
        self.0.push(seen);
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Least, median and most of a figure.
    fn spread(&self, figure: impl Fn(&Seen) -> f64) -> [f64; 3] {
        let mut figures: Vec<_> = self.0.iter().map(figure).collect();
        figures.sort_unstable_by(f64::total_cmp);
        match (figures.first(), figures.get(figures.len() / 2), figures.last()) {
            (Some(least), Some(median), Some(most)) => [*least, *median, *most],
            _ => [0.0; 3],
        }
    }

    /// The median of the rates.
    pub(crate) fn rate(&self) -> f64 {
        self.spread(Seen::rate)[1]
    }

    /// How often per second of CPU, over all rounds.
    pub(crate) fn per_cpu(&self) -> f64 {
        let [count, cpu] = self.totals();
        count / cpu.max(0.01)
    }

    fn totals(&self) -> [f64; 2] {
        [self.0.iter().map(|seen| seen.count).sum(), self.0.iter().map(|seen| seen.cpu).sum()]
    }

    /// How many times as long as the disk itself half of the puts took, round by round.
    pub(crate) fn times_the_disk(&self) -> String {
        let ratio = |seen: &Seen| {
            let disk = seen.disk.map_or(f64::INFINITY, |disk| disk.as_secs_f64() * 1e6);
            seen.at(0.5) / disk
        };
        let [least, median, most] = self.spread(ratio);
        format!("{median:.2}x ({least:.2}-{most:.2})")
    }

    pub(crate) fn print(&self, name: &str, what: &str, note: &str) {
        let [slowest, rate, fastest] = self.spread(Seen::rate);
        let part = |rate_of: f64| 100.0 * rate_of / rate.max(f64::MIN_POSITIVE);
        let [_, median, _] = self.spread(|seen| seen.at(0.5));
        let [best, late, worst] = self.spread(|seen| seen.at(0.99));
        let [count, cpu] = self.totals();
        line(&[
            name,
            what,
            &format!("{rate:.0}"),
            &format!("{:.0}-{:.0}%", part(slowest), part(fastest)),
            &format!("{median:.1}"),
            &format!("{late:.1}"),
            &format!("{best:.0}-{worst:.0}"),
            &format!("{:.2}", cpu * 1e6 / count.max(1.0)),
            note,
        ]);
    }
}

/// What stands above the table.
pub(crate) fn titles() {
    line(&[
        "measured",
        "",
        "per second",
        "rounds",
        "p50 us",
        "p99 us",
        "rounds",
        "CPU us each",
        "note",
    ]);
}

/// One line of the table.
pub(crate) fn line(columns: &[&str; 9]) {
    let [name, what, rate, rates, median, late, lates, each, note] = columns;
    println!(
        "{name:<15} {what:<38} {rate:>11} {rates:>9} {median:>9} {late:>9} {lates:>13} {each:>11}  {note}"
    );
}
