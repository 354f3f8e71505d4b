//! Where in a schema a part of an expression lies.

use std::{cell::RefCell, rc::Rc, sync::Arc};

/// A path from a variable downwards. It grows as slices of the original's language do: what is put behind a path that has
/// room left is put there in place, so that two paths made of one share their last part, and both end as the later one
/// does. Which sizes of a schema an estimate takes for the ranges of loops inside loops follows from that.
#[derive(Debug, Clone, Default)]
pub(super) struct Path {
    parts: Rc<RefCell<Vec<Arc<str>>>>,
    length: usize,
    room: usize,
}

impl Path {
    /// A variable.
    pub(super) fn variable(name: &Arc<str>) -> Self {
        Self { parts: Rc::new(RefCell::new(vec![name.clone()])), length: 1, room: 1 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether it begins with this variable.
    pub(super) fn is_of(&self, variable: &str) -> bool {
        !self.is_empty() && self.parts.borrow().first().is_some_and(|name| **name == *variable)
    }

    /// The path to a part of what this one leads to.
    pub(super) fn to(&self, part: Arc<str>) -> Self {
        let length = self.length + 1;
        if length > self.room {
            let copy = self.copied(part);
            return Self { room: length.max(2 * self.room), ..copy };
        }
        let mut parts = self.parts.borrow_mut();
        match parts.get_mut(self.length) {
            Some(there) => *there = part,
            None => parts.push(part),
        }
        Self { parts: self.parts.clone(), length, room: self.room }
    }

    /// The same, which shares nothing with this one.
    pub(super) fn copied(&self, part: Arc<str>) -> Self {
        let mut parts = self.parts.borrow()[..self.length].to_vec();
        parts.push(part);
        let length = parts.len();
        Self { parts: Rc::new(RefCell::new(parts)), length, room: length }
    }

    /// What stands behind the variable; `None` for a path that leads nowhere.
    pub(super) fn below(&self) -> Option<Vec<Arc<str>>> {
        (!self.is_empty()).then(|| self.parts.borrow()[1..self.length].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_share_what_is_put_where_there_is_room() {
        let path = |text: &str| text.split('.').map(Arc::<str>::from).collect::<Vec<_>>();
        let root = Path::variable(&"self".into());
        let of = |path: &Path| path.below().unwrap();
        // The second part of a path moves it, the fourth does not.
        let (one, two) = (root.to("a".into()), root.to("b".into()));
        assert_eq!((of(&one), of(&two)), (path("a"), path("b")));
        let items = one.to("@items".into());
        let (one, two) = (items.to("a".into()), items.to("b".into()));
        assert_eq!((of(&one), of(&two)), (path("a.@items.b"), path("a.@items.b")));
        let (one, two) = (items.copied("c".into()), items.copied("d".into()));
        assert_eq!((of(&one), of(&two)), (path("a.@items.c"), path("a.@items.d")));
        assert!(root.is_of("self") && !root.is_of("a") && !Path::default().is_of("self"));
        assert_eq!(Path::default().below(), None);
    }
}
