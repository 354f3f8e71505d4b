//! Feature gates: their names, stages and defaults in version 1.36, and which of them a cluster has on.
//!
//! ```
//! use kubeplane_core::features::Features;
//!
//! let features: Features = "GenericWorkload=true".parse()?;
//! assert!(features.is_on("GenericWorkload"));
//! assert!(!Features::default().is_on("GenericWorkload"));
//! # Ok::<_, kubeplane_core::features::FeatureError>(())
//! ```

mod table;

use std::{collections::BTreeMap, fmt, str::FromStr};
use table::{GATES, NEEDS};

/// Every gate of this stage at once.
const WHOLE: [(&str, Stage); 2] = [("AllAlpha", Stage::Alpha), ("AllBeta", Stage::Beta)];

/// How far a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Off unless asked for.
    Alpha,
    /// Complete, but it may still change.
    Beta,
    /// Generally available.
    Stable,
    /// Going away.
    Deprecated,
}

impl Stage {
    /// As the metric `kubernetes_feature_enabled` has it; empty for what is stable.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "ALPHA",
            Self::Beta => "BETA",
            Self::Stable => "",
            Self::Deprecated => "DEPRECATED",
        }
    }
}

/// A gate that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    /// Its name, as in `--feature-gates`.
    pub name: &'static str,
    /// How far its feature is.
    pub stage: Stage,
    /// Whether it is on where nothing is said.
    pub default: bool,
    /// Whether nothing else may be said.
    pub locked: bool,
}

impl Gate {
    const fn new(name: &'static str, stage: Stage, default: bool) -> Self {
        Self { name, stage, default, locked: false }
    }

    const fn locked(self) -> Self {
        Self { locked: true, ..self }
    }

    fn find(name: &str) -> Option<&'static Self> {
        let index = GATES.binary_search_by(|gate| gate.name.cmp(name)).ok()?;
        GATES.get(index)
    }
}

/// Why gates cannot be set so; worded as the original words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// A name without `=`.
    #[error("missing bool value for {0}")]
    NoValue(String),
    /// Neither true nor false.
    #[error(
        "invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
    )]
    NoBool {
        /// The gate.
        name: String,
        /// What was said.
        value: String,
    },
    /// There is no such gate.
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    /// It cannot be changed any more.
    #[error("cannot set feature gate {name} to {value}, feature is locked to {default}", default = !value)]
    Locked {
        /// The gate.
        name: String,
        /// What was asked for.
        value: bool,
    },
    /// It is on, but what it needs is not.
    #[error("{name} is enabled, but depends on features that are disabled: [{}]", needs.join(" "))]
    Needs {
        /// The gate.
        name: String,
        /// What is off.
        needs: Vec<String>,
    },
}

/// The gates of one cluster. A value: clusters in one process may differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// What was said, also of a whole stage; a gate not in here is as by default.
    said: BTreeMap<String, bool>,
}

impl Features {
    /// Whether a gate is on; a name that is no gate is off.
    #[must_use]
    pub fn is_on(&self, name: &str) -> bool {
        match WHOLE.iter().find(|(whole, _)| *whole == name) {
            Some(_) => self.said.get(name).copied().unwrap_or(false),
            None => Gate::find(name).is_some_and(|gate| self.state(gate)),
        }
    }

    /// Every gate, with whether it is on.
    pub fn all(&self) -> impl Iterator<Item = (Gate, bool)> + '_ {
        let whole = WHOLE.iter().map(|(name, stage)| Gate::new(name, *stage, false));
        whole.chain(GATES).map(|gate| (gate, self.is_on(gate.name)))
    }

    fn state(&self, gate: &Gate) -> bool {
        let own = || self.said.get(gate.name);
        let whole = || {
            let (name, _) = WHOLE.iter().find(|(_, stage)| *stage == gate.stage)?;
            // A gate of the stage that is locked stays what it is.
            self.said.get(*name).filter(|_| !gate.locked)
        };
        own().or_else(whole).copied().unwrap_or(gate.default)
    }

    fn say(&mut self, item: &str) -> Result<(), FeatureError> {
        let Some((name, value)) = item.split_once('=') else {
            return Err(FeatureError::NoValue(item.to_owned()));
        };
        let (name, value) = (name.trim().to_owned(), value.trim());
        let on = match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => return Err(FeatureError::NoBool { name, value: value.to_owned() }),
        };
        match Gate::find(&name) {
            Some(gate) if gate.locked && gate.default != on => {
                return Err(FeatureError::Locked { name, value: on });
            }
            None if WHOLE.iter().all(|(whole, _)| *whole != name) => {
                return Err(FeatureError::Unknown(name));
            }
            _ => {}
        }
        self.said.insert(name, on);
        Ok(())
    }

    fn check(&self) -> Result<(), FeatureError> {
        for (name, needs) in NEEDS.iter().filter(|(name, _)| self.is_on(name)) {
            let off = needs.iter().filter(|need| !self.is_on(need));
            let off: Vec<String> = off.map(|need| (*need).to_owned()).collect();
            if !off.is_empty() {
                return Err(FeatureError::Needs { name: (*name).to_owned(), needs: off });
            }
        }
        Ok(())
    }
}

impl FromStr for Features {
    type Err = FeatureError;

    /// From `Name=true,Other=false`; the last word on a gate counts.
    fn from_str(text: &str) -> Result<Self, FeatureError> {
        let mut features = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            features.say(item)?;
        }
        features.check()?;
        Ok(features)
    }
}

impl fmt::Display for Features {
    /// As [`FromStr`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, on)) in self.said.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{name}={on}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Features>().unwrap_err().to_string()
    }

    #[test]
    fn gates_are_sorted_and_their_needs_exist() {
        assert!(GATES.is_sorted_by_key(|gate| gate.name));
        for (name, needs) in NEEDS {
            assert!([name].iter().chain(needs).all(|name| Gate::find(name).is_some()), "{name}");
        }
        assert_eq!(Features::default().check(), Ok(()));
    }

    #[test]
    fn what_is_said_counts_over_its_stage_and_that_over_the_default() {
        let features: Features = "AllBeta=false,WatchList=true".parse().unwrap();
        assert!(features.is_on("WatchList") && !features.is_on("APIServerIdentity"));
        assert!(features.is_on("DynamicResourceAllocation") && !features.is_on("NoSuchGate"));
        assert_eq!(features.to_string(), "AllBeta=false,WatchList=true");
        assert!(!Features::default().is_on("GenericWorkload"));
        let features: Features = "GenericWorkload=false, GenericWorkload=T".parse().unwrap();
        assert!(features.is_on("GenericWorkload"));
    }

    #[test]
    fn errors_are_worded_as_the_original_words_them() {
        assert_eq!(error("WatchList"), "missing bool value for WatchList");
        assert_eq!(error("Nonsense=true"), "unrecognized feature gate: Nonsense");
        assert_eq!(
            error("WatchList=yes"),
            "invalid value of WatchList=yes, err: strconv.ParseBool: parsing \"yes\": invalid syntax"
        );
        assert_eq!(
            error("DynamicResourceAllocation=false"),
            "cannot set feature gate DynamicResourceAllocation to false, feature is locked to true"
        );
        assert_eq!(
            error("GangScheduling=true"),
            "GangScheduling is enabled, but depends on features that are disabled: [GenericWorkload]"
        );
    }
}
