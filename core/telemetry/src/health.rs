use parking_lot::RwLock;
use std::{fmt, sync::Arc};

/// Which question a check answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// `/livez`: should the process be left running?
    Live,
    /// `/readyz`: should it be sent work?
    Ready,
    /// Both, and `/healthz`.
    Both,
}

type Check = dyn Fn() -> Result<(), String> + Send + Sync;

#[derive(Clone)]
struct Named {
    name: Arc<str>,
    probe: Probe,
    check: Arc<Check>,
}

/// The checks of one component, by name. Clones share them.
#[derive(Clone, Default)]
pub struct Health(Arc<RwLock<Vec<Named>>>);

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.read().iter().map(|named| named.name.clone())).finish()
    }
}

impl Health {
    /// Without checks: healthy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check, or replaces the one of this name. It is asked on every probe, so it must be quick.
    pub fn add(
        &self,
        name: &str,
        probe: Probe,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let named = Named { name: name.into(), probe, check: Arc::new(check) };
        let mut all = self.0.write();
        match all.iter_mut().find(|other| other.name == named.name) {
            Some(other) => *other = named,
            None => all.push(named),
        }
    }

    /// Asks every check of the probe but the excluded ones.
    #[must_use]
    pub fn report(&self, probe: Probe, excluded: &[&str]) -> Report {
        let checks: Vec<_> =
            self.0.read().iter().filter(|named| named.answers(probe)).cloned().collect();
        let unknown =
            excluded.iter().filter(|name| !checks.iter().any(|check| *check.name == ***name));
        Report {
            unknown: unknown.map(|name| (*name).to_owned()).collect(),
            results: checks
                .iter()
                .map(|named| {
                    let skipped = excluded.contains(&&*named.name);
                    let result = if skipped { Ok(()) } else { (named.check)() };
                    (named.name.to_string(), result, skipped)
                })
                .collect(),
        }
    }

    /// Asks one check; `None` when there is none of the name.
    #[must_use]
    pub fn one(&self, probe: Probe, name: &str) -> Option<Result<(), String>> {
        let all = self.0.read();
        let named = all.iter().find(|named| named.answers(probe) && *named.name == *name)?;
        let check = named.check.clone();
        drop(all);
        Some(check())
    }
}

impl Named {
    fn answers(&self, probe: Probe) -> bool {
        self.probe == Probe::Both || probe == Probe::Both || self.probe == probe
    }
}

/// What the checks said.
#[derive(Debug, Clone)]
pub struct Report {
    results: Vec<(String, Result<(), String>, bool)>,
    unknown: Vec<String>,
}

impl Report {
    /// Whether all checks passed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.results.iter().all(|(_, result, _)| result.is_ok())
    }

    /// The names of failed checks and why they failed.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.results
            .iter()
            .filter_map(|(name, result, _)| Some((name.as_str(), result.as_ref().err()?.as_str())))
    }

    /// One line a check, as the original prints them. Why a check failed is for the log, not the line.
    #[must_use]
    pub fn lines(&self, probe: &str) -> String {
        let mut lines = String::new();
        for (name, result, skipped) in &self.results {
            lines.push_str(&match (result, skipped) {
                (_, true) => format!("[+]{name} excluded: ok\n"),
                (Ok(()), _) => format!("[+]{name} ok\n"),
                (Err(_), _) => format!("[-]{name} failed: reason withheld\n"),
            });
        }
        for name in &self.unknown {
            lines.push_str(&format!(
                "warn: some health checks cannot be excluded: no matches for {name:?}\n"
            ));
        }
        let verdict = if self.is_ok() { "passed" } else { "failed" };
        lines.push_str(&format!("{probe} check {verdict}\n"));
        lines
    }
}
