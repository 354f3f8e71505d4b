//! Sets of fields.

use super::path::PathElement;
use serde_json::{Map, Value};
use std::{cmp::Ordering, fmt};

/// A set of fields: a tree of steps, some of which are members.
///
/// A member does not imply what is below or above it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    nodes: Vec<Node>,
}

/// A step and what follows it; never without a member in it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) element: PathElement,
    pub(super) member: bool,
    pub(super) children: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// As the value of its step in FieldsV1.
    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.children.to_map(self.member))
    }
}

impl FieldSet {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self { nodes: Vec::new() }
    }

    /// The set of one path of field names.
    #[must_use]
    pub fn of(path: &[&'static str]) -> Self {
        Self::from_paths(&[path])
    }

    /// The set of these paths of field names.
    #[must_use]
    pub fn from_paths(paths: &[&[&'static str]]) -> Self {
        let mut set = Self::new();
        for path in paths {
            let elements: Vec<_> = path.iter().map(|name| PathElement::field(*name)).collect();
            set.insert(&elements);
        }
        set
    }

    /// Adds a path; the empty one is never a member.
    pub fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let mut children = Self::new();
        children.insert(rest);
        self.put(first.clone(), rest.is_empty(), children);
    }

    /// Adds a step with what follows; nothing when there is no member in it.
    pub(super) fn put(&mut self, element: PathElement, member: bool, children: Self) {
        if !member && children.is_empty() {
            return;
        }
        if self.nodes.last().is_none_or(|last| last.element < element) {
            self.nodes.push(Node { element, member, children });
            return;
        }
        match self.nodes.binary_search_by(|node| node.element.cmp(&element)) {
            Ok(at) => {
                self.nodes[at].member |= member;
                self.nodes[at].children.extend(children);
            }
            Err(at) => self.nodes.insert(at, Node { element, member, children }),
        }
    }

    /// Adds the other set.
    pub fn extend(&mut self, other: Self) {
        if self.nodes.is_empty() {
            *self = other;
            return;
        }
        for Node { element, member, children } in other.nodes {
            self.put(element, member, children);
        }
    }

    /// Takes away the members of the other set; what is below them stays.
    pub fn subtract(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        let mut others = other.nodes.iter().peekable();
        self.nodes.retain_mut(|node| {
            while others.next_if(|other| other.element < node.element).is_some() {}
            if let Some(other) = others.next_if(|other| other.element == node.element) {
                node.member &= !other.member;
                node.children.subtract(&other.children);
            }
            !node.is_empty()
        });
    }

    /// Takes away the members of the other set with all that is below them.
    pub fn subtract_recursively(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        let mut others = other.nodes.iter().peekable();
        self.nodes.retain_mut(|node| {
            while others.next_if(|other| other.element < node.element).is_some() {}
            let Some(other) = others.next_if(|other| other.element == node.element) else {
                return true;
            };
            if other.member {
                return false;
            }
            node.children.subtract_recursively(&other.children);
            !node.is_empty()
        });
    }

    /// The members both have.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut result = Self::new();
        let mut others = other.nodes.iter().peekable();
        for node in &self.nodes {
            while others.next_if(|other| other.element < node.element).is_some() {}
            if let Some(other) = others.next_if(|other| other.element == node.element) {
                let children = node.children.intersection(&other.children);
                result.put(node.element.clone(), node.member && other.member, children);
            }
        }
        result
    }

    /// Whether there is no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether the path is a member.
    #[must_use]
    pub fn contains(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.node(last).is_some_and(|node| node.member),
            [first, rest @ ..] => self.node(first).is_some_and(|node| node.children.contains(rest)),
        }
    }

    /// The members, those of a level before those below it.
    #[must_use]
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, prefix: &mut Vec<PathElement>, paths: &mut Vec<Vec<PathElement>>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            let mut path = prefix.clone();
            path.push(node.element.clone());
            paths.push(path);
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.children.collect(prefix, paths);
            prefix.pop();
        }
    }

    pub(super) fn node(&self, element: &PathElement) -> Option<&Node> {
        let found = self.nodes.binary_search_by(|node| node.element.cmp(element));
        found.ok().map(|at| &self.nodes[at])
    }

    /// The node of the field of this name.
    pub(super) fn field(&self, name: &str) -> Option<&Node> {
        let found = self.nodes.binary_search_by(|node| match &node.element {
            PathElement::Field(own) => (**own).cmp(name),
            _ => Ordering::Greater,
        });
        found.ok().map(|at| &self.nodes[at])
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Changes every node; those left without a member go.
    pub(super) fn change(&mut self, mut change: impl FnMut(&mut Node)) {
        self.nodes.retain_mut(|node| {
            change(node);
            !node.is_empty()
        });
    }

    /// As FieldsV1.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(self.to_map(false))
    }

    fn to_map(&self, member: bool) -> Map<String, Value> {
        let mut map = Map::new();
        if member && !self.nodes.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for node in &self.nodes {
            map.insert(node.element.encode(), node.to_json());
        }
        map
    }

    /// Reads FieldsV1; kinds of steps not known here are left out.
    ///
    /// # Errors
    /// In words, when it is none.
    pub fn from_json(fields: &Value) -> Result<Self, String> {
        Self::read(fields).map(|(set, _)| set)
    }

    fn read(fields: &Value) -> Result<(Self, bool), String> {
        let map = match fields {
            Value::Object(map) => map,
            Value::Null => return Ok((Self::new(), true)),
            other => return Err(format!("expect {{ or n, but found {other}")),
        };
        let mut set = Self::new();
        let mut member = false;
        for (key, value) in map {
            if key == "." {
                member = true;
                continue;
            }
            let parsed = PathElement::decode(key)
                .map_err(|why| format!("parsing key as path element: {why}"))?;
            if let Some(element) = parsed {
                let (children, is_member) = Self::read(value)?;
                set.put(element, is_member, children);
            }
        }
        let member = member || set.is_empty();
        Ok((set, member))
    }
}

/// One path per line.
impl fmt::Display for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, path) in self.paths().iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            path.iter().try_for_each(|element| element.fmt(f))?;
        }
        Ok(())
    }
}

impl fmt::Debug for FieldSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_json())
    }
}
