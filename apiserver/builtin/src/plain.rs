//! The strategy of kinds that only need a few of the hooks, given as functions in a row of their own.

use crate::hooks::{change_only, keep, start_generation, step_generation};
use jiff::Timestamp;
use kubeplane_core::{
    Object, Strategy,
    definition::{Context, NameRule},
    field::Errors,
};
use serde_json::Value;
use std::fmt;

/// The hooks a kind gives; the others do nothing.
pub(crate) struct Plain {
    pub(crate) default: fn(&mut Object),
    /// The status of a new object; `None` for a kind without one.
    pub(crate) status: Option<fn() -> Value>,
    /// The top-level fields whose changes the generation counts; none for a kind without generations.
    pub(crate) counted: &'static [&'static str],
    /// What a new object needs beside that.
    pub(crate) create: fn(&Context<'_>, &mut Object),
    /// What a change needs beside that; for subresources too.
    pub(crate) change: fn(&Context<'_>, &mut Object, &Object),
    /// Warnings about a new object or, with the one before, a changed one; not for subresources.
    pub(crate) warn: fn(&Context<'_>, &Object, Option<&Object>),
    /// Warnings about a changed status.
    pub(crate) warn_status: fn(&Context<'_>, &Object),
    pub(crate) name: NameRule,
    pub(crate) validate: fn(&Object) -> Errors,
    /// What of a change is wrong beside what is wrong with the object.
    pub(crate) update: fn(&Object, &Object) -> Errors,
    /// Whether a changed object is checked as a new one is.
    pub(crate) revalidate: bool,
    /// Whether what is wrong with the change is told first.
    pub(crate) update_first: bool,
    pub(crate) update_status: fn(&Object, &Object) -> Errors,
    /// What gates of the cluster make right, or wrong; with the stored object where one is changed. For subresources too.
    pub(crate) gates: fn(&Context<'_>, &Object, Option<&Object>, &mut Errors),
    pub(crate) row: fn(&Object, Timestamp) -> Vec<Value>,
}

impl Plain {
    pub(crate) const NEW: Self = Self {
        default: |_| {},
        status: None,
        counted: &[],
        create: |_, _| {},
        change: |_, _, _| {},
        warn: |_, _, _| {},
        warn_status: |_, _| {},
        name: NameRule::DnsSubdomain,
        validate: |_| Errors::new(),
        update: |_, _| Errors::new(),
        revalidate: true,
        update_first: false,
        update_status: |_, _| Errors::new(),
        gates: |_, _, _, _| {},
        row: |object, now| vec![object.name().into(), crate::table::age(object, now)],
    };
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("counted", &self.counted).finish_non_exhaustive()
    }
}

impl Strategy for Plain {
    fn default(&self, object: &mut Object) {
        (self.default)(object);
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        if let Some(status) = self.status {
            object.set(&["status"], status());
        }
        if !self.counted.is_empty() {
            start_generation(object);
        }
        (self.create)(context, object);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            change_only(object, old, "status");
            return (self.change)(context, object, old);
        }
        if self.status.is_some() {
            keep(object, old, "status");
        }
        if !self.counted.is_empty() {
            step_generation(object, old, self.counted);
        }
        (self.change)(context, object, old);
    }

    fn name_rule(&self) -> NameRule {
        self.name
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = (self.validate)(object);
        (self.gates)(context, object, None, &mut errors);
        if errors.is_empty() {
            (self.warn)(context, object, None);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if context.subresource == "status" {
            let mut errors = (self.update_status)(object, old);
            (self.gates)(context, object, Some(old), &mut errors);
            if errors.is_empty() {
                (self.warn_status)(context, object);
            }
            return errors;
        }
        let whole = if self.revalidate { (self.validate)(object) } else { Errors::new() };
        let change = (self.update)(object, old);
        let (mut errors, rest) = if self.update_first { (change, whole) } else { (whole, change) };
        errors.extend(rest);
        (self.gates)(context, object, Some(old), &mut errors);
        if errors.is_empty() {
            (self.warn)(context, object, Some(old));
        }
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        (self.row)(object, now)
    }
}
