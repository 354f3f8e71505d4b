//! Field selectors: `metadata.name=web,status.phase!=Running`.

use super::SelectorError;
use std::fmt;

/// One condition on one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldRequirement {
    /// The dotted path.
    pub field: String,
    /// The value, unescaped.
    pub value: String,
    /// The field must have the value (else it must not).
    pub equal: bool,
}

/// Conditions on fields that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Parses the text form; `=`, `==` and `!=`, with `\`, `,` and `=` escaped in values by `\`.
    ///
    /// # Errors
    /// In the original's words.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|term| !term.is_empty()) {
            let Some((field, equal, value)) = split_term(term) else {
                return Err(SelectorError(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                )));
            };
            requirements.push(FieldRequirement {
                field: field.to_owned(),
                value: unescape(value)?,
                equal,
            });
        }
        Ok(Self { requirements })
    }

    /// One field that must have this value.
    #[must_use]
    pub fn equal(field: &str, value: &str) -> Self {
        let requirement =
            FieldRequirement { field: field.to_owned(), value: value.to_owned(), equal: true };
        Self { requirements: vec![requirement] }
    }

    /// Whether the fields match; `lookup` finds the value of one, or the empty text.
    pub fn matches(&self, lookup: impl Fn(&str) -> String) -> bool {
        self.requirements.iter().all(|one| (lookup(&one.field) == one.value) == one.equal)
    }

    /// Whether it picks everything.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The conditions.
    #[must_use]
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// The one value that this field must have, if the selector says so.
    #[must_use]
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|one| one.equal && one.field == field)
            .map(|one| one.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.requirements.iter().enumerate() {
            let value = one.value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            let separator = if index > 0 { "," } else { "" };
            write!(f, "{separator}{}{}{value}", one.field, if one.equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (index, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at =
        term.char_indices().find(|(index, c)| *c == '=' || term[*index..].starts_with("!="))?.0;
    let (field, rest) = term.split_at(at);
    for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
        if let Some(value) = rest.strip_prefix(operator) {
            return Some((field, equal, value));
        }
    }
    None
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    let fail = |sequence: &str| {
        Err(SelectorError(format!("invalid field selector: invalid escape sequence: {sequence}")))
    };
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some(c @ ('\\' | ',' | '=')) => out.push(c),
                Some(c) => return fail(&format!("\\{c}")),
                None => return fail("\\"),
            },
            ',' | '=' => {
                // The original prints the character's number.
                let message =
                    format!("invalid field selector: unescaped character in value: {}", c as u32);
                return Err(SelectorError(message));
            }
            c => out.push(c),
        }
    }
    Ok(out)
}
