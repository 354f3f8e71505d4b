//! Conflicts between appliers and the owners of fields.

use super::{managed::Manager, path::PathElement, set::FieldSet};
use crate::status::{ApiError, Cause};

/// Fields an applier would change that others own.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    by_manager: Vec<(Manager, FieldSet)>,
}

impl Conflicts {
    pub(super) fn add(&mut self, manager: &Manager, set: FieldSet) {
        if !set.is_empty() {
            self.by_manager.push((manager.clone(), set));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_manager.is_empty()
    }

    /// Leaves out what the applier may take.
    pub(super) fn forgive(&mut self, allowed: &FieldSet) {
        for (_, set) in &mut self.by_manager {
            set.subtract(allowed);
        }
        self.by_manager.retain(|(_, set)| !set.is_empty());
    }

    pub(super) fn into_error(self) -> ApiError {
        let mut causes = Vec::new();
        let mut lines = Vec::new();
        for (manager, set) in &self.by_manager {
            let who = manager.describe();
            lines.push(format!("conflicts with {who}:"));
            for path in set.paths() {
                let field = text(&path);
                lines.push(format!("- {field}"));
                causes.push(Cause {
                    reason: "FieldManagerConflict".to_owned(),
                    message: format!("conflict with {who}"),
                    field,
                });
            }
        }
        let message = match causes.as_slice() {
            [only] => format!("Apply failed with 1 conflict: {}: {}", only.message, only.field),
            many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
        };
        ApiError::apply_conflict(message, causes)
    }
}

fn text(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}
