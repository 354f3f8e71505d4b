//! Which group-versions are served: `--runtime-config`.

use kubeplane_core::{Definition, GroupVersion};
use std::{collections::BTreeMap, str::FromStr, sync::Arc};

/// A set of versions: its name, and whether it holds those of a stage.
type Set = (&'static str, fn(Stage) -> bool);

/// The sets, in the order they are looked at.
const SETS: [Set; 4] = [
    ("api/all", |_| true),
    ("api/ga", |stage| stage == Stage::Stable),
    ("api/beta", |stage| stage == Stage::Beta),
    ("api/alpha", |stage| stage == Stage::Alpha),
];

/// How far a version is, as its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Alpha,
    Beta,
    Stable,
}

impl Stage {
    fn of(version: &str) -> Self {
        match version {
            _ if version.contains("alpha") => Self::Alpha,
            _ if version.contains("beta") => Self::Beta,
            _ => Self::Stable,
        }
    }
}

/// Why versions cannot be chosen so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionsError {
    /// It names neither a set, a version nor a resource.
    #[error("runtime-config invalid key {0}")]
    Key(String),
    /// Neither true nor false.
    #[error(
        "invalid value of {key}: {value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax"
    )]
    Value {
        /// What was to be switched.
        key: String,
        /// What was said.
        value: String,
    },
    /// There is no such group.
    #[error("unknown api groups {0}")]
    Group(String),
    /// There is no such version of the group.
    #[error("group version {0} that has not been registered")]
    Version(String),
}

/// Which of the group-versions a server knows it serves: those without `alpha` or `beta` in their name, but
/// for what is said.
///
/// ```
/// let chosen: kubeplane_apiserver::Versions = "api/alpha=true,autoscaling/v1=false".parse()?;
/// assert_ne!(chosen, kubeplane_apiserver::Versions::default());
/// # Ok::<_, kubeplane_apiserver::VersionsError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    sets: BTreeMap<String, bool>,
    versions: BTreeMap<GroupVersion, bool>,
    resources: BTreeMap<(GroupVersion, String), bool>,
}

impl Versions {
    /// The same with this version, whatever its name, unless it was said that it is not served.
    #[must_use]
    pub fn including(mut self, version: GroupVersion) -> Self {
        self.versions.entry(version).or_insert(true);
        self
    }

    /// The kinds that are to be served.
    pub(crate) fn choose(
        &self,
        definitions: Vec<Arc<Definition>>,
    ) -> Result<Vec<Arc<Definition>>, VersionsError> {
        let named = self.versions.keys().chain(self.resources.keys().map(|(version, _)| version));
        for version in named {
            let mut group = definitions.iter().filter(|known| known.kind.group == version.group);
            let first =
                group.next().ok_or_else(|| VersionsError::Group(version.group.to_string()))?;
            if std::iter::once(first).chain(group).all(|known| known.group_version() != *version) {
                return Err(VersionsError::Version(version.to_string()));
            }
        }
        Ok(definitions.into_iter().filter(|definition| self.serve(definition)).collect())
    }

    fn serve(&self, definition: &Definition) -> bool {
        let version = definition.group_version();
        let stage = Stage::of(&version.version);
        let sets = SETS.iter().filter(|(_, holds)| holds(stage));
        let by_set = sets.filter_map(|(name, _)| self.sets.get(*name)).next_back();
        let by_version = self.versions.get(&version);
        let by_resource = self.resources.get(&(version, definition.plural.to_string()));
        let said = by_resource.or(by_version).or(by_set);
        said.copied().unwrap_or(stage == Stage::Stable)
    }

    fn say(&mut self, item: &str) -> Result<(), VersionsError> {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        let on = match value {
            "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => {
                return Err(VersionsError::Value { key: key.to_owned(), value: value.to_owned() });
            }
        };
        if SETS.iter().any(|(name, _)| *name == key) {
            self.sets.insert(key.to_owned(), on);
            return Ok(());
        }
        let parts: Vec<&str> = key.split('/').collect();
        let version = |group: &str, version: &str| {
            let group = if group == "api" { "" } else { group };
            GroupVersion::new(group.to_owned(), version.to_owned())
        };
        match parts[..] {
            ["v1"] => self.versions.insert(version("", "v1"), on),
            [group, name] => self.versions.insert(version(group, name), on),
            [group, name, plural] if plural == plural.to_lowercase() => {
                self.resources.insert((version(group, name), plural.to_owned()), on)
            }
            _ => return Err(VersionsError::Key(key.to_owned())),
        };
        Ok(())
    }
}

impl FromStr for Versions {
    type Err = VersionsError;

    /// From `api/beta=true,group/version=false,group/version/resource=true`; the narrower word counts.
    fn from_str(text: &str) -> Result<Self, VersionsError> {
        let mut versions = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            versions.say(item)?;
        }
        Ok(versions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_builtin::all;

    fn chosen(text: &str) -> Result<Vec<String>, VersionsError> {
        let kinds = text.parse::<Versions>()?.choose(all())?;
        Ok(kinds.iter().map(|kind| format!("{} {}", kind.group_version(), kind.plural)).collect())
    }

    #[test]
    fn the_narrower_word_counts() {
        let everything = chosen("").unwrap();
        assert!(everything.contains(&"autoscaling/v1 horizontalpodautoscalers".to_owned()));
        let two = "api/all=false,api/v1=true,apps/v1/deployments=true,apps/v1=false";
        let few = chosen(two).unwrap();
        assert!(few.contains(&"v1 pods".to_owned()));
        assert!(few.contains(&"apps/v1 deployments".to_owned()));
        assert!(few.iter().all(|name| name.starts_with("v1 ") || name == "apps/v1 deployments"));
        let rest = chosen("autoscaling/v1=false").unwrap();
        assert_eq!(rest.len() + 1, everything.len());
    }

    #[test]
    fn what_there_is_not_is_refused() {
        let error = |text: &str| chosen(text).unwrap_err().to_string();
        assert_eq!(error("nothing/v1=true"), "unknown api groups nothing");
        assert_eq!(error("apps/v9=true"), "group version apps/v9 that has not been registered");
        assert_eq!(error("apps=true"), "runtime-config invalid key apps");
        assert!(error("apps/v1=yes").starts_with("invalid value of apps/v1: yes, err:"));
    }
}
