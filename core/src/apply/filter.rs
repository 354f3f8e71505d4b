//! Which fields a request may own.

use super::{path::PathElement, set::FieldSet};

/// What a request's manager never comes to own: fields the strategy resets, as `status` in a write of
/// the main resource.
#[derive(Debug, Clone, Default)]
pub enum Filter {
    /// Nothing is left out.
    #[default]
    None,
    /// These fields and all below them are left out.
    Exclude(FieldSet),
    /// All but what lies on or below these paths is left out.
    Include(Vec<Vec<Step>>),
}

/// One step of a path in [`Filter::Include`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The field of this name.
    Field(&'static str),
    /// Any field or item.
    Any,
}

impl Filter {
    /// Leaves out these paths of field names.
    #[must_use]
    pub fn exclude(paths: &[&[&'static str]]) -> Self {
        Self::Exclude(FieldSet::from_paths(paths))
    }

    pub(super) fn apply(&self, set: &mut FieldSet) {
        match self {
            Self::None => {}
            Self::Exclude(excluded) => set.subtract_recursively(excluded),
            Self::Include(paths) => {
                let paths: Vec<&[Step]> = paths.iter().map(Vec::as_slice).collect();
                include(set, &paths);
            }
        }
    }
}

fn include(set: &mut FieldSet, paths: &[&[Step]]) {
    set.change(|node| {
        let mut below = Vec::new();
        for path in paths {
            match path.split_first() {
                None => return,
                Some((step, rest)) if step.matches(&node.element) => below.push(rest),
                Some(_) => {}
            }
        }
        if below.is_empty() {
            node.member = false;
            node.children = FieldSet::new();
        } else {
            include(&mut node.children, &below);
        }
    });
}

impl Step {
    fn matches(&self, element: &PathElement) -> bool {
        match (self, element) {
            (Self::Any, _) => true,
            (Self::Field(wanted), PathElement::Field(name)) => wanted == name,
            (Self::Field(_), _) => false,
        }
    }
}
