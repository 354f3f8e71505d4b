//! What evaluating an expression can cost at most, from the sizes its schema allows. Counts as the original does, its
//! quirks included: which expressions a definition may have depends on the last unit.

mod calls;
mod path;

pub(crate) use calls::{is_comparison, is_nominal};

use crate::{
    ast::{ACCUMULATOR, Expr, Fold, Id, Kind, Literal, op},
    bounds::{Bounds, LIST, MAP, STRUCT},
    checker::{Checked, Meaning},
    device::{DEVICE, most_of_device},
    shape::{Kind as Shapes, Shape},
    types::Type,
};
use path::Path;
use std::{collections::HashMap, sync::Arc};

/// What is known of how large variables can be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sizes<'a> {
    /// Nothing.
    Unknown,
    /// All variables are of this shape.
    Shape(&'a Shape),
    /// The variable `device` is a device.
    Device,
}

/// The largest cost of an expression.
pub(crate) fn estimate(expr: &Expr, checked: &Checked, root: Sizes<'_>) -> u64 {
    let mut coster = Coster { root, ..Coster::new(checked) };
    coster.cost(expr).max
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    List,
    Map,
}

/// The sizes of what is in a list or map.
#[derive(Debug, Clone, Copy)]
struct Entries {
    container: Container,
    key: Bounds,
    value: Bounds,
}

impl Entries {
    fn or(self, other: Self) -> Self {
        Self { key: self.key.or(other.key), value: self.value.or(other.value), ..self }
    }
}

#[derive(Debug, Clone)]
struct Local {
    name: Arc<str>,
    path: Path,
    size: Option<Bounds>,
    entries: Option<Entries>,
}

struct Coster<'a> {
    checked: &'a Checked,
    root: Sizes<'a>,
    paths: HashMap<Id, Path>,
    locals: Vec<Local>,
    sizes: HashMap<Id, Bounds>,
    entries: HashMap<Id, Entries>,
}

/// A part of an expression as costs of calls look at it.
struct Node<'e> {
    path: Path,
    of: Type,
    /// Missing for items of a list that are no part of the expression.
    expr: Option<&'e Expr>,
    derived: Option<Bounds>,
}

impl<'a> Coster<'a> {
    fn new(checked: &'a Checked) -> Self {
        Self {
            checked,
            root: Sizes::Unknown,
            paths: HashMap::new(),
            locals: Vec::new(),
            sizes: HashMap::new(),
            entries: HashMap::new(),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| &*local.name == name)
    }

    fn cost(&mut self, expr: &Expr) -> Bounds {
        match &expr.kind {
            Kind::Literal(_) => Bounds::ZERO,
            Kind::Ident(name) => {
                // A local variable shadows only the name; what was typed here is in the tree itself.
                let local = self.local(name).map(|local| local.path.clone());
                let path = local.unwrap_or_else(|| Path::variable(name));
                self.paths.insert(expr.id, path);
                Bounds::ONE
            }
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { function, target, args } => {
                self.call(expr, function, target.as_deref(), args)
            }
            Kind::List { elements, .. } => {
                let mut sum = Bounds::ZERO;
                let mut items = emptiest(elements.is_empty());
                for element in elements {
                    sum = sum.plus(self.cost(element));
                    items = items.or(self.size_or_unknown(element));
                }
                let found = Entries { container: Container::List, key: Bounds::ONE, value: items };
                self.entries.insert(expr.id, found);
                sum.plus(Bounds::exactly(LIST))
            }
            Kind::Map(entries) => {
                let mut sum = Bounds::ZERO;
                let (mut keys, mut values) =
                    (emptiest(entries.is_empty()), emptiest(entries.is_empty()));
                for entry in entries {
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    keys = keys.or(self.size_or_unknown(&entry.key));
                    values = values.or(self.size_or_unknown(&entry.value));
                }
                let found = Entries { container: Container::Map, key: keys, value: values };
                self.entries.insert(expr.id, found);
                sum.plus(Bounds::exactly(MAP))
            }
            Kind::Struct { fields, .. } => fields
                .iter()
                .fold(Bounds::ZERO, |sum, field| sum.plus(self.cost(&field.value)))
                .plus(Bounds::exactly(STRUCT)),
            Kind::Fold(fold) if is_bind(fold) => self.bind(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &Arc<str>, test: bool) -> Bounds {
        if let Some(Meaning::Ident(name)) = self.checked.meanings.get(&expr.id) {
            self.paths.insert(expr.id, Path::variable(name));
            return Bounds::ONE;
        }
        let below = self.cost(operand);
        if test {
            return below;
        }
        let path = self.path(operand).to(field.clone());
        self.paths.insert(expr.id, path);
        match self.checked.of(operand) {
            Type::Map(_) | Type::Object(_) => below.plus(Bounds::ONE),
            _ => below,
        }
    }

    fn call(
        &mut self,
        expr: &Expr,
        function: &str,
        target: Option<&Expr>,
        args: &[Expr],
    ) -> Bounds {
        if function == "dyn"
            && let [argument] = args
        {
            let cost = self.cost(argument);
            self.copy_sizes(expr, argument);
            return cost.plus(Bounds::ONE);
        }
        let mut costs = Vec::with_capacity(args.len());
        let mut nodes = Vec::with_capacity(args.len());
        for argument in args {
            costs.push(self.cost(argument));
            nodes.push(self.node(argument));
        }
        let Some(Meaning::Function(name, forms, whole)) = self.checked.meanings.get(&expr.id)
        else {
            return Bounds::ZERO;
        };
        let target = target.filter(|_| !whole);
        let mut sum = Bounds::ZERO;
        let target = target.map(|target| {
            sum = self.cost(target);
            self.node(target)
        });
        let mut cost = Bounds { min: u64::MAX, max: 0 };
        let mut size: Option<Bounds> = None;
        for form in forms {
            let call = calls::Call {
                expr,
                name,
                form,
                target: target.as_ref(),
                args: &nodes,
                costs: &costs,
            };
            let (own, result) = self.call_cost(&call);
            cost = cost.or(own);
            size = match (size, result) {
                (Some(before), Some(now)) => Some(before.or(now)),
                (before, now) => before.or(now),
            };
            if let ("index_list" | "index_map", Some(of)) = (*form, args.first()) {
                size = self.entries_of(of).map(|entries| entries.value);
                let part = if *form == "index_list" { "@items" } else { "@values" };
                let path = self.path(of).to(part.into());
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(cost)
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Bounds {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.start));
        let accumulated = self.bound(&fold.accu, &fold.start);
        self.locals.push(accumulated);
        let depth = self.locals.len();
        let entries = self.entries_of(&fold.range);
        let container = entries.map_or_else(
            || match self.checked.of(&fold.range) {
                Type::List(_) => Container::List,
                _ => Container::Map,
            },
            |entries| entries.container,
        );
        let (key, value) = (entries.map(|found| found.key), entries.map(|found| found.value));
        let is_list = container == Container::List;
        let push = |coster: &mut Self, name: &Arc<str>, part: &str, size| {
            let path = coster.path(&fold.range).to(part.into());
            coster.locals.push(Local { name: name.clone(), path, size, entries: None });
        };
        match &fold.item2 {
            Some(second) => {
                push(self, &fold.item, if is_list { "@indices" } else { "@keys" }, key);
                push(self, second, if is_list { "@items" } else { "@values" }, value);
            }
            None if is_list => push(self, &fold.item, "@items", value),
            None => push(self, &fold.item, "@keys", key),
        }
        let goes_on = self.cost(&fold.goes_on);
        let step = self.cost(&fold.step);
        self.locals.truncate(depth);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let rounds = self.size_or_unknown(&fold.range);
        sum = sum.plus(rounds.times(step.plus(goes_on)));
        match &fold.start.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.start) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.sizes.insert(expr.id, rounds);
                if let Some(entries) = self.entries_of(&fold.step) {
                    self.entries.insert(expr.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    /// A loop that only gives a value a name.
    fn bind(&mut self, expr: &Expr, fold: &Fold) -> Bounds {
        let sum = self.cost(&fold.range).plus(self.cost(&fold.start));
        let bound = self.bound(&fold.accu, &fold.start);
        self.locals.push(bound);
        let sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        self.copy_sizes(expr, &fold.result);
        sum
    }

    fn bound(&mut self, name: &Arc<str>, value: &Expr) -> Local {
        let (path, size) = (self.path(value), self.size(value));
        Local { name: name.clone(), path, size, entries: self.entries_of(value) }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn node<'e>(&mut self, expr: &'e Expr) -> Node<'e> {
        let mut path = self.path(expr);
        if path.is_of(ACCUMULATOR) {
            path = Path::default();
        }
        let of = self.checked.of(expr).clone();
        Node { path, of, expr: Some(expr), derived: self.size(expr) }
    }

    fn size_or_unknown(&mut self, expr: &Expr) -> Bounds {
        self.size(expr).unwrap_or(Bounds::UNKNOWN)
    }

    fn size(&mut self, expr: &Expr) -> Option<Bounds> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        if let Some(size) = literal_size(expr) {
            return Some(Bounds::exactly(size));
        }
        if let Some(size) = self.size_at(&self.path(expr)) {
            self.sizes.insert(expr.id, size);
            return Some(size);
        }
        if self.checked.of(expr).is_scalar() {
            return Some(Bounds::ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    /// The most that can be at a place.
    fn size_at(&self, path: &Path) -> Option<Bounds> {
        let below = path.below()?;
        let max = match self.root {
            Sizes::Unknown => None,
            Sizes::Shape(root) => most_in(root, &below),
            Sizes::Device if path.is_of(DEVICE) => most_of_device(&below),
            Sizes::Device => None,
        };
        max.map(|max| Bounds { min: 0, max })
    }

    fn entries_of(&self, expr: &Expr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&expr.id) {
            return Some(*entries);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        }
    }
}

/// The most that a schema allows at a place.
fn most_in(root: &Shape, below: &[Arc<str>]) -> Option<u64> {
    let mut shape = root;
    for part in below {
        shape = match (&**part, &shape.kind) {
            ("@items" | "@values", Shapes::List(inner) | Shapes::Map(inner)) => inner,
            // Keys are texts of which nothing is known.
            ("@keys", Shapes::Map(_)) => return Some(0),
            (name, Shapes::Object(fields)) => &fields.by_name(name)?.shape,
            _ => return None,
        };
    }
    Some(match shape.kind {
        Shapes::Bool | Shapes::Int | Shapes::Double | Shapes::Object(_) => 0,
        _ => shape.max,
    })
}

/// Where the sizes of the items of a literal begin.
fn emptiest(empty: bool) -> Bounds {
    Bounds { min: if empty { 0 } else { u64::MAX }, max: 0 }
}

fn is_bind(fold: &Fold) -> bool {
    matches!(&fold.range.kind, Kind::List { elements, .. } if elements.is_empty())
        && matches!(fold.goes_on.kind, Kind::Literal(Literal::Bool(false)))
        && &*fold.accu != "__result__"
}

fn literal_size(expr: &Expr) -> Option<u64> {
    Some(match &expr.kind {
        Kind::Literal(Literal::String(text)) => text.chars().count() as u64,
        Kind::Literal(Literal::Bytes(bytes)) => bytes.len() as u64,
        Kind::Literal(_) => 1,
        Kind::List { elements, .. } => elements.len() as u64,
        Kind::Map(entries) => entries.len() as u64,
        _ => return None,
    })
}

/// Whether the function is one of those that cost nothing but their arguments.
fn is_logical(name: &str) -> bool {
    matches!(name, op::AND | op::OR)
}
