//! The strategy of kinds that only need a few of the hooks, given as functions in a row of their own.

use crate::hooks::{change_only, keep, start_generation, step_generation};
use jiff::Timestamp;
use kubeplane_core::{Object, Strategy, definition::Context, field::Errors};
use serde_json::Value;
use std::fmt;

/// The hooks a kind gives; the others do nothing.
pub(crate) struct Plain {
    pub(crate) default: fn(&mut Object),
    /// The status of a new object; `None` for a kind without one.
    pub(crate) status: Option<fn() -> Value>,
    /// The top-level fields whose changes the generation counts; none for a kind without generations.
    pub(crate) counted: &'static [&'static str],
    pub(crate) validate: fn(&Object) -> Errors,
    /// What of a change is wrong beside what is wrong with the object.
    pub(crate) update: fn(&Object, &Object) -> Errors,
    pub(crate) update_status: fn(&Object, &Object) -> Errors,
    pub(crate) row: fn(&Object, Timestamp) -> Vec<Value>,
}

impl Plain {
    pub(crate) const NEW: Self = Self {
        default: |_| {},
        status: None,
        counted: &[],
        validate: |_| Errors::new(),
        update: |_, _| Errors::new(),
        update_status: |_, _| Errors::new(),
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

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        if let Some(status) = self.status {
            object.set(&["status"], status());
        }
        if !self.counted.is_empty() {
            start_generation(object);
        }
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_only(object, old, "status");
        }
        if self.status.is_some() {
            keep(object, old, "status");
        }
        if !self.counted.is_empty() {
            step_generation(object, old, self.counted);
        }
    }

    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        (self.validate)(object)
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if context.subresource == "status" {
            return (self.update_status)(object, old);
        }
        let mut errors = (self.validate)(object);
        errors.extend((self.update)(object, old));
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        (self.row)(object, now)
    }
}
