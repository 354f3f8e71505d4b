//! Where a decoder is in a document, and what it found there.

use super::typed::Typed;
use crate::{
    field::{Error as Invalid, Path},
    schema::Schema,
};
use serde::de::DeserializeSeed;
use serde_json::{Map, Value};
use std::fmt::{self, Write};

/// The original stops counting here.
const MAX_FOUND: usize = 100;

/// Where the decoder is and what it found.
#[derive(Debug, Default)]
pub(super) struct Context<'s> {
    /// Look for duplicate and unknown fields.
    pub(super) strict: bool,
    /// Know the path, for more than what is found when strict.
    tracks: bool,
    /// The path in the document, with indices and map keys.
    at: String,
    /// Where in the path the keys of maps made at run time begin and end.
    entries: Vec<(usize, usize)>,
    /// How many keys and indices lead here.
    depth: usize,
    /// The definitions and fields on the way down.
    pub(super) fields: Vec<(&'s str, &'s str)>,
    /// The first value of a wrong type.
    pub(super) saved: Option<String>,
    /// The first text that its own type could not read; it goes before the former.
    pub(super) fatal: Option<String>,
    pub(super) duplicates: Vec<String>,
    pub(super) unknown: Vec<String>,
    /// Unknown fields in the metadata of resources inside others.
    pub(super) inner: Vec<String>,
    /// The top-level `apiVersion` and `kind`.
    pub(super) names: [Option<Value>; 2],
}

impl<'s> Context<'s> {
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, tracks: strict, ..Self::default() }
    }

    /// For shapes made at run time, whose errors name their place.
    pub(super) fn tracking(strict: bool) -> Self {
        Self { tracks: true, ..Self::new(strict) }
    }

    pub(super) fn push_key(&mut self, key: &str) -> usize {
        let before = self.at.len();
        self.depth += 1;
        if self.tracks {
            if before > 0 {
                self.at.push('.');
            }
            self.at.push_str(key);
        }
        before
    }

    pub(super) fn push_index(&mut self, index: usize) -> usize {
        let before = self.at.len();
        self.depth += 1;
        if self.tracks {
            match u32::try_from(index).ok().and_then(|index| char::from_digit(index, 10)) {
                Some(digit) => self.at.extend(['[', digit, ']']),
                // Writing to memory cannot fail.
                None => drop(write!(self.at, "[{index}]")),
            }
        }
        before
    }

    /// As [`push_key`](Self::push_key), of a map that may have any keys.
    pub(super) fn push_entry(&mut self, key: &str) -> usize {
        let before = self.push_key(key);
        let end = self.at.len();
        self.entries.push((end.saturating_sub(key.len()).max(before), end));
        before
    }

    /// The path as errors of validation write it: keys of maps in brackets.
    fn field_path(&self) -> String {
        let (mut path, mut from) = (String::new(), 0);
        for (start, end) in &self.entries {
            path.push_str(self.at[from..*start].trim_end_matches('.'));
            path.push('[');
            path.push_str(&self.at[*start..*end]);
            path.push(']');
            from = *end;
        }
        path.push_str(&self.at[from..]);
        path
    }

    /// Decodes the metadata of a resource inside another: a metadata of its own, whose fields are told apart from those of
    /// the whole, and whose errors name its place. What does not fit is left out, field by field.
    pub(super) fn inner_metadata(
        &mut self,
        whole: Value,
        schema: &'s Schema,
    ) -> Result<Value, serde_json::Error> {
        let before = (self.saved.take(), self.fatal.take(), self.duplicates.len());
        let decoded = Typed { schema, context: &mut *self }.deserialize(whole.clone())?;
        let why = self.fatal.take().or_else(|| self.saved.take());
        (self.saved, self.fatal) = (before.0, before.1);
        let (dotted, path) = (format!("\"{}.", self.at), format!("\"{}.", self.field_path()));
        let unknown = self.duplicates.split_off(before.2);
        self.inner.extend(unknown.iter().map(|text| text.replacen(&dotted, &path, 1)));
        let Some(why) = why else {
            return Ok(decoded.unwrap_or_else(|| Value::Object(Map::new())));
        };
        let kept = match &whole {
            Value::Object(map) => fitting(map, schema)?,
            other => other.clone(),
        };
        self.misfit(whole, &why);
        Ok(kept)
    }

    /// Keeps what is wrong with a value, said by its place; what was wrong before goes first.
    pub(super) fn misfit(&mut self, value: Value, why: &str) {
        if self.saved.is_none() {
            let told = Invalid::invalid(&Path::new(self.field_path()), value, why);
            self.saved = Some(told.to_string());
        }
    }

    pub(super) fn pop(&mut self, before: usize) {
        self.at.truncate(before);
        while self.entries.last().is_some_and(|(_, end)| *end > before) {
            self.entries.pop();
        }
        self.depth -= 1;
    }

    pub(super) fn is_top(&self) -> bool {
        self.depth == 0 && self.fields.is_empty()
    }

    /// Whether it stands in the metadata of the whole.
    pub(super) fn is_metadata(&self) -> bool {
        matches!(self.fields[..], [(_, "metadata")])
    }

    fn note(&mut self, what: &str, key: &str, list: fn(&mut Self) -> &mut Vec<String>) {
        if !self.strict || self.duplicates.len() + self.unknown.len() >= MAX_FOUND {
            return;
        }
        let before = self.push_key(key);
        let text = format!("{what} field \"{}\"", self.at);
        self.pop(before);
        let list = list(self);
        if !list.contains(&text) {
            list.push(text);
        }
    }

    /// Built-in kinds report both sorts in the order of the document.
    pub(super) fn duplicate(&mut self, key: &str) {
        self.note("duplicate", key, |context| &mut context.duplicates);
    }

    pub(super) fn unknown(&mut self, key: &str) {
        self.note("unknown", key, |context| &mut context.duplicates);
    }

    pub(super) fn custom_duplicate(&mut self, key: &str) {
        self.duplicate(key);
    }

    pub(super) fn custom_unknown(&mut self, key: &str) {
        self.note("unknown", key, |context| &mut context.unknown);
    }

    pub(super) fn mismatch_text(&self, what: &str, go_type: &str) -> String {
        let Some((inside, _)) = self.fields.last() else {
            return format!("json: cannot unmarshal {what} into Go value of type {go_type}");
        };
        let names = self.fields.iter().flat_map(|(definition, field)| {
            embedded(definition, field).into_iter().chain([*field])
        });
        let path = names.collect::<Vec<_>>().join(".");
        let inside = struct_name(inside);
        format!(
            "json: cannot unmarshal {what} into Go struct field {inside}.{path} of type {go_type}"
        )
    }

    pub(super) fn fail(&mut self, error: impl fmt::Display) {
        self.fatal.get_or_insert_with(|| error.to_string());
    }
}

/// The fields that fit their shape, each for itself.
fn fitting(map: &Map<String, Value>, schema: &Schema) -> Result<Value, serde_json::Error> {
    let mut kept = Map::new();
    for (key, value) in map {
        let alone = Value::Object(Map::from_iter([(key.clone(), value.clone())]));
        let mut context = Context { depth: 1, ..Context::new(false) };
        let decoded = Typed { schema, context: &mut context }.deserialize(alone)?;
        if let (Some(Value::Object(decoded)), None, None) = (decoded, context.saved, context.fatal)
        {
            kept.extend(decoded);
        }
    }
    Ok(Value::Object(kept))
}

/// The struct that Go embeds in the definition to hold the field.
fn embedded(definition: &str, field: &str) -> Option<&'static str> {
    let table = &crate::generated::schema::EMBEDDED;
    let found = table.binary_search_by(|(at, name, _)| (*at, *name).cmp(&(definition, field)));
    found.ok().map(|index| table[index].2)
}

/// The last part of a definition's name, which is the name of the Go struct.
fn struct_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}
