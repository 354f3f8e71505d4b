//! What the containers of a pod say.

use crate::manifest;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Lines that each container of a pod says, one after the other, from the start of each run.
///
/// ```
/// use kubeplane_simulated::Logs;
/// use std::time::Duration;
///
/// let logs = Logs::parse(r#"{"lines": ["up", "still here"], "every": "10s", "repeat": true}"#).unwrap();
/// assert_eq!(logs.said(Duration::from_secs(25)), 3);
/// assert_eq!(logs.line(2), Some(("up", Duration::from_secs(20))));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Logs {
    /// The lines.
    pub lines: Vec<String>,
    /// How much later each is said than the one before; at once when zero.
    #[serde(deserialize_with = "manifest::duration", serialize_with = "manifest::write_duration")]
    pub every: Duration,
    /// Whether they are said again and again.
    pub repeat: bool,
}

impl Logs {
    /// The annotation of pods that says it, as JSON.
    pub const ANNOTATION: &'static str = "kubeplane.dev/logs";

    /// From the text of an annotation; `None` if it cannot be read.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// How many lines were said when a container has run for so long.
    #[must_use]
    pub fn said(&self, run: Duration) -> u64 {
        let all = self.lines.len() as u64;
        if all == 0 || self.every.is_zero() {
            return all;
        }
        let said =
            1 + u64::try_from(run.as_nanos() / self.every.as_nanos()).unwrap_or(u64::MAX - 1);
        if self.repeat { said } else { said.min(all) }
    }

    /// The n-th line, counted from zero, and how long after the start of the run it is said.
    #[must_use]
    pub fn line(&self, number: u64) -> Option<(&str, Duration)> {
        let all = self.lines.len() as u64;
        let own =
            if self.repeat && !self.every.is_zero() { number.checked_rem(all)? } else { number };
        let line = self.lines.get(usize::try_from(own).ok()?)?;
        Some((line, self.every.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_said_in_their_time() {
        let logs = |every, repeat| Logs {
            lines: vec!["a".to_owned(), "b".to_owned()],
            every: Duration::from_secs(every),
            repeat,
        };
        let after = |logs: &Logs, seconds| logs.said(Duration::from_secs(seconds));
        assert_eq!([0, 4, 5, 60].map(|time| after(&logs(5, false), time)), [1, 1, 2, 2]);
        assert_eq!([0, 9, 60].map(|time| after(&logs(5, true), time)), [1, 2, 13]);
        assert_eq!(after(&logs(0, true), 0), 2, "all at once, and once");
        assert_eq!(logs(5, false).line(2), None);
        assert_eq!(logs(5, true).line(3), Some(("b", Duration::from_secs(15))));
        assert_eq!(Logs::default().line(0), None);
        let told = serde_json::to_string(&logs(5, true)).unwrap();
        assert_eq!(Logs::parse(&told), Some(logs(5, true)), "{told}");
    }
}
