//! Label selectors and field selectors: what a list, a watch or a controller picks.
//!
//! ```
//! use kubeplane_core::selector::LabelSelector;
//! let selector = LabelSelector::parse("app=web,tier in (front, back),!canary")?;
//! let labels = [("app", "web"), ("tier", "front")];
//! assert!(selector.matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, value)| *value)));
//! # Ok::<(), kubeplane_core::selector::SelectorError>(())
//! ```

mod field;
mod parser;

pub use field::{FieldRequirement, FieldSelector};

use crate::{
    field::{Error, Errors, Path},
    names,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use serde_json::Value;
use std::fmt;

/// Why a selector is not understood, in the original's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

/// How a requirement relates a label to its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `!key`.
    DoesNotExist,
    /// `key=value`.
    Equals,
    /// `key==value`.
    DoubleEquals,
    /// `key in (a,b)`.
    In,
    /// `key!=value`.
    NotEquals,
    /// `key notin (a,b)`.
    NotIn,
    /// `key`.
    Exists,
    /// `key>5`.
    GreaterThan,
    /// `key<5`.
    LessThan,
}

impl Operator {
    fn name(self) -> &'static str {
        match self {
            Self::DoesNotExist => "!",
            Self::Equals => "=",
            Self::DoubleEquals => "==",
            Self::In => "in",
            Self::NotEquals => "!=",
            Self::NotIn => "notin",
            Self::Exists => "exists",
            Self::GreaterThan => "gt",
            Self::LessThan => "lt",
        }
    }
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

impl Requirement {
    /// A checked requirement; `path` is where it stands, for the errors.
    ///
    /// # Errors
    /// When the key, a value, or the number of values does not fit.
    pub fn new(
        key: &str,
        operator: Operator,
        values: Vec<String>,
        path: &Path,
    ) -> Result<Self, Errors> {
        let mut errors = Vec::new();
        errors.extend(key_error(key, &path.child("key")));
        let at = path.child("values");
        let list = || Value::from(values.clone());
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.push(Error::invalid(
                    &at,
                    list(),
                    "for 'in', 'notin' operators, values set can't be empty",
                ));
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals
                if values.len() != 1 =>
            {
                errors.push(Error::invalid(
                    &at,
                    list(),
                    "exact-match compatibility requires one single value",
                ));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.push(Error::invalid(
                    &at,
                    list(),
                    "values set must be empty for exists and does not exist",
                ));
            }
            Operator::GreaterThan | Operator::LessThan => {
                errors.extend(number_errors(&values, &at))
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let found = names::is_valid_label_value(value);
            if !found.is_empty() {
                errors.push(Error::invalid(
                    &at.index(index).key(key),
                    value.as_str(),
                    found.join("; "),
                ));
            }
        }
        if errors.is_empty() {
            Ok(Self { key: key.to_owned(), operator, values })
        } else {
            Err(errors)
        }
    }

    /// The label.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The relation.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The values; one, several or none as the operator asks.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    fn has(&self, value: &str) -> bool {
        self.values.iter().any(|one| one == value)
    }

    /// Whether a label of this value, or `None` for no such label, satisfies it.
    #[must_use]
    pub fn matches(&self, value: Option<&str>) -> bool {
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => {
                value.is_some_and(|value| self.has(value))
            }
            Operator::NotIn | Operator::NotEquals => value.is_none_or(|value| !self.has(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let limit = self.values.first().and_then(|limit| limit.parse::<i64>().ok());
                let Some((value, limit)) =
                    value.and_then(|value| value.parse::<i64>().ok()).zip(limit)
                else {
                    return false;
                };
                if self.operator == Operator::GreaterThan { value > limit } else { value < limit }
            }
        }
    }
}

fn number_errors(values: &[String], at: &Path) -> Errors {
    let mut errors = Vec::new();
    if values.len() != 1 {
        let text = "for 'Gt', 'Lt' operators, exactly one value is required";
        errors.push(Error::invalid(at, Value::from(values), text));
    }
    for (index, value) in
        values.iter().enumerate().filter(|(_, value)| value.parse::<i64>().is_err())
    {
        let text = "for 'Gt', 'Lt' operators, the value must be an integer";
        errors.push(Error::invalid(&at.index(index), value.as_str(), text));
    }
    errors
}

fn key_error(key: &str, path: &Path) -> Option<Error> {
    let found = names::is_qualified_name(key);
    (!found.is_empty()).then(|| Error::invalid(path, key, found.join("; ")))
}

/// As the original's aggregate prints: one plain, several in brackets.
fn joined(errors: &[Error]) -> SelectorError {
    let mut texts: Vec<String> = Vec::new();
    for text in errors.iter().map(ToString::to_string) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    SelectorError(if texts.len() == 1 {
        texts.swap_remove(0)
    } else {
        format!("[{}]", texts.join(", "))
    })
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values: Vec<_> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let (key, values) = (&self.key, values.join(","));
        match self.operator {
            Operator::Exists => write!(f, "{key}"),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::In | Operator::NotIn => {
                write!(f, "{key} {} ({values})", self.operator.name())
            }
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
            _ => write!(f, "{key}{}{values}", self.operator.name()),
        }
    }
}

/// Conditions on labels that must all hold, sorted by key; or one that never does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Picks everything.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Picks nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Parses the text form: `a=b,c in (d,e),!f`.
    ///
    /// # Errors
    /// In the original's words, as `unable to parse requirement: ...`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parser::parse(text).map(Self::of)
    }

    /// Of these requirements.
    #[must_use]
    pub fn of(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// Labels that must have exactly these values, unchecked; none picks everything.
    pub fn from_map<K: Into<String>, V: Into<String>>(
        labels: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let requirement = |(key, value): (K, V)| Requirement {
            key: key.into(),
            operator: Operator::Equals,
            values: vec![value.into()],
        };
        Self::of(labels.into_iter().map(requirement).collect())
    }

    /// Of the API's typed form; `None` picks nothing, an empty one everything.
    ///
    /// # Errors
    /// When a key, value or operator is not valid.
    pub fn from_typed(selector: Option<&meta::LabelSelector>) -> Result<Self, SelectorError> {
        let Some(selector) = selector else {
            return Ok(Self::nothing());
        };
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(checked(key, Operator::Equals, vec![value.clone()])?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let values = expression.values.clone().unwrap_or_default();
            requirements.push(checked(&expression.key, operator(&expression.operator)?, values)?);
        }
        Ok(Self::of(requirements))
    }

    /// Of the API's form as JSON; missing or null picks nothing, an empty map everything.
    ///
    /// # Errors
    /// When it is no LabelSelector, or a key, value or operator is not valid.
    pub fn from_json(selector: Option<&Value>) -> Result<Self, SelectorError> {
        use serde::Deserialize;
        match selector.filter(|value| !value.is_null()) {
            None => Ok(Self::nothing()),
            Some(value) => {
                let typed = meta::LabelSelector::deserialize(value)
                    .map_err(|error| SelectorError(error.to_string()))?;
                Self::from_typed(Some(&typed))
            }
        }
    }

    /// Whether labels match; `lookup` finds the value of one.
    pub fn matches<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(lookup(&requirement.key)))
    }

    /// Whether the labels of an object match.
    #[must_use]
    pub fn matches_object(&self, object: &crate::Object) -> bool {
        self.matches(|key| object.label(key))
    }

    /// Whether the labels of a typed object match.
    #[must_use]
    pub fn matches_labels(
        &self,
        labels: Option<&std::collections::BTreeMap<String, String>>,
    ) -> bool {
        self.matches(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
    }

    /// Whether it picks everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it surely picks nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The requirements.
    #[must_use]
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Adds a requirement.
    #[must_use]
    pub fn and(mut self, requirement: Requirement) -> Self {
        self.requirements.push(requirement);
        Self { nothing: self.nothing, ..Self::of(self.requirements) }
    }
}

fn checked(
    key: &str,
    operator: Operator,
    values: Vec<String>,
) -> Result<Requirement, SelectorError> {
    Requirement::new(key, operator, values, &Path::root()).map_err(|errors| joined(&errors))
}

fn operator(name: &str) -> Result<Operator, SelectorError> {
    match name {
        "In" => Ok(Operator::In),
        "NotIn" => Ok(Operator::NotIn),
        "Exists" => Ok(Operator::Exists),
        "DoesNotExist" => Ok(Operator::DoesNotExist),
        _ => Err(SelectorError(format!("{name:?} is not a valid label selector operator"))),
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
