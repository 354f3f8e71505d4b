use crate::slis::Slis;
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
pub struct Health {
    checks: Arc<RwLock<Vec<Named>>>,
    pub(crate) slis: Slis,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.checks.read().iter().map(|named| named.name.clone())).finish()
    }
}

impl Health {
    /// Without checks: healthy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check, or replaces the one of this name and probe. It is asked on every probe, so it must be
    /// quick. A name may stand for one check of `/livez` and another of `/readyz`.
    pub fn add(
        &self,
        name: &str,
        probe: Probe,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        let named = Named { name: name.into(), probe, check: Arc::new(check) };
        let mut all = self.checks.write();
        match all.iter_mut().find(|other| other.name == named.name && other.probe == probe) {
            Some(other) => *other = named,
            None => all.push(named),
        }
    }

    /// Asks every check of the probe but the excluded ones.
    #[must_use]
    pub fn report(&self, probe: Probe, excluded: &[&str]) -> Report {
        let checks: Vec<_> =
            self.checks.read().iter().filter(|named| named.answers(probe)).cloned().collect();
        let unknown =
            excluded.iter().filter(|name| !checks.iter().any(|check| *check.name == ***name));
        let unknown = unknown.map(|name| (*name).to_owned()).collect();
        let mut results: Vec<(String, Result<(), String>, bool)> = Vec::new();
        for named in &checks {
            let skipped = excluded.contains(&&*named.name);
            let result = if skipped { Ok(()) } else { (named.check)() };
            match results.iter_mut().find(|(name, ..)| **name == *named.name) {
                Some((_, known, _)) => *known = std::mem::replace(known, Ok(())).and(result),
                None => results.push((named.name.to_string(), result, skipped)),
            }
        }
        Report { results, unknown }
    }

    /// Asks what goes by one name; `None` when there is no such check.
    #[must_use]
    pub fn one(&self, probe: Probe, name: &str) -> Option<Result<(), String>> {
        let all = self.checks.read();
        let named = all.iter().filter(|named| named.answers(probe) && *named.name == *name);
        let checks: Vec<_> = named.map(|named| named.check.clone()).collect();
        drop(all);
        checks.into_iter().map(|check| check()).reduce(Result::and)
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

    /// The names of the checks that were asked, and whether they passed.
    pub(crate) fn asked(&self) -> impl Iterator<Item = (&str, bool)> {
        let asked = self.results.iter().filter(|(_, _, skipped)| !skipped);
        asked.map(|(name, result, _)| (name.as_str(), result.is_ok()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_may_be_live_and_not_ready() {
        let health = Health::new();
        health.add("node", Probe::Live, || Ok(()));
        health.add("node", Probe::Ready, || Err("no list yet".into()));
        assert_eq!(
            health.report(Probe::Live, &[]).lines("livez"),
            "[+]node ok\nlivez check passed\n"
        );
        assert!(!health.report(Probe::Ready, &[]).is_ok());
        let all = health.report(Probe::Both, &[]).lines("healthz");
        assert_eq!(all, "[-]node failed: reason withheld\nhealthz check failed\n");
        assert_eq!(health.one(Probe::Both, "node"), Some(Err("no list yet".into())));
        health.add("node", Probe::Ready, || Ok(()));
        assert!(health.report(Probe::Both, &[]).is_ok());
    }
}
