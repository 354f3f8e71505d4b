//! Holds expressions against types: what each part is, and which form of a function is called.

mod calls;
mod literals;
mod scope;

pub use scope::Scope;

use crate::{
    ast::{Expr, Field, Fold, Id, Kind, Literal},
    declarations::type_named,
    types::{Fields, Mapping, Object, Type, most_general},
};
use literals::{formats, homogeneous, literals};
use std::{collections::HashMap, sync::Arc};

/// What is known of an expression's parts, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) types: Vec<Option<Type>>,
    pub(crate) meanings: HashMap<Id, Meaning>,
}

/// What a name in an expression stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A variable or type of this whole name.
    Ident(Arc<str>),
    /// A function in one or more of its forms; with `true` the target was part of its name.
    Function(Arc<str>, Vec<&'static str>, bool),
}

impl Checked {
    pub(crate) fn of(&self, expr: &Expr) -> &Type {
        self.types.get(expr.id).and_then(Option::as_ref).unwrap_or(&Type::Dyn)
    }
}

/// What is wrong, and with which part.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) id: Id,
    pub(crate) message: String,
}

/// Checks an expression with so many parts.
pub(crate) fn check(expr: &Expr, parts: usize, scope: &Scope) -> (Checked, Vec<Wrong>) {
    let mut checker = Checker {
        scope,
        locals: Vec::new(),
        mapping: Mapping::default(),
        checked: Checked { types: vec![None; parts], meanings: HashMap::new() },
        wrong: Vec::new(),
    };
    checker.check(expr);
    let Checker { mapping, mut checked, mut wrong, .. } = checker;
    for found in checked.types.iter_mut().flatten() {
        *found = mapping.substitute(found, true);
    }
    if wrong.is_empty() {
        literals(expr, &mut wrong);
        formats(expr, &checked, &mut wrong);
        homogeneous(expr, &checked, &mut wrong);
    }
    (checked, wrong)
}

struct Checker<'a> {
    scope: &'a Scope,
    locals: Vec<(Arc<str>, Type)>,
    mapping: Mapping,
    checked: Checked,
    wrong: Vec<Wrong>,
}

impl Checker<'_> {
    fn report(&mut self, id: Id, message: String) {
        self.wrong.push(Wrong { id, message });
    }

    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        self.report(id, format!("expected type '{expected}' but found '{found}'"));
    }

    fn undeclared(&mut self, id: Id, name: &str) {
        self.report(id, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn set(&mut self, id: Id, of: Type) {
        self.checked.types[id] = Some(of);
    }

    fn of(&self, expr: &Expr) -> Type {
        self.checked.of(expr).clone()
    }

    /// The type that a name of a variable or type has.
    fn ident(&self, name: &str) -> Option<Type> {
        let plain = name.strip_prefix('.').unwrap_or(name);
        if plain.len() == name.len() {
            let local = self.locals.iter().rev().find(|(local, _)| **local == *name);
            if let Some((_, of)) = local {
                return Some(of.clone());
            }
        }
        if let Some(of) = self.scope.variables.get(plain) {
            return Some(of.clone());
        }
        let named = self.structure(plain).or_else(|| type_named(plain))?;
        Some(Type::Type(Arc::new(named)))
    }

    /// A type whose objects can be made by name.
    fn structure(&self, name: &str) -> Option<Type> {
        if !self.scope.objects {
            return None;
        }
        match name {
            "JSONPatch" => Some(Type::object(
                name,
                [
                    ("op", Type::String),
                    ("path", Type::String),
                    ("from", Type::String),
                    ("value", Type::Dyn),
                ]
                .map(|(name, of)| (name.to_owned(), of)),
            )),
            name if name == "Object" || name.starts_with("Object.") => {
                Some(Type::Object(Object { name: name.into(), fields: Fields::All }))
            }
            _ => None,
        }
    }

    fn check(&mut self, expr: &Expr) {
        match &expr.kind {
            Kind::Literal(literal) => self.set(expr.id, of_literal(literal)),
            Kind::Ident(name) => match self.ident(name) {
                Some(of) => {
                    self.set(expr.id, of);
                    self.mean(expr.id, Meaning::Ident(name.clone()));
                }
                None => {
                    self.set(expr.id, Type::Error);
                    self.undeclared(expr.id, name);
                }
            },
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { function, target, args } => {
                self.call(expr, function, target.as_deref(), args);
            }
            Kind::List { elements, optional } => self.list(expr, elements, optional),
            Kind::Map(entries) => {
                let (mut keys, mut values) = (None, None);
                for entry in entries {
                    self.check(&entry.key);
                    keys = Some({
                        let now = self.of(&entry.key);
                        self.join(keys, now)
                    });
                    self.check(&entry.value);
                    let of = self.element(&entry.value, entry.optional);
                    values = Some(self.join(values, of));
                }
                let keys = keys.unwrap_or_else(|| self.mapping.fresh());
                let values = values.unwrap_or_else(|| self.mapping.fresh());
                self.set(expr.id, Type::map(keys, values));
            }
            Kind::Struct { name, fields } => self.structured(expr, name, fields),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn mean(&mut self, id: Id, meaning: Meaning) {
        self.checked.meanings.insert(id, meaning);
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) {
        // A dotted name may be one variable.
        if let Some(name) = expr.dotted()
            && let Some(of) = self.ident(&name)
        {
            self.set(expr.id, of);
            self.mean(expr.id, Meaning::Ident(name.into()));
            return;
        }
        let found = self.selected(expr, operand, field, false);
        let of = if test { Type::Bool } else { self.mapping.substitute(&found, false) };
        self.set(expr.id, of);
    }

    fn selected(&mut self, expr: &Expr, operand: &Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let of = self.mapping.substitute(&self.of(operand), false);
        let inner = of.unwrapped();
        let is_optional = inner.is_some();
        let target = inner.unwrap_or(&of).clone();
        let found = match &target {
            Type::Map(entry) => entry.1.clone(),
            Type::Object(_) => target.field(field).unwrap_or_else(|| {
                self.report(expr.id, format!("undefined field '{field}'"));
                Type::Error
            }),
            Type::Var(_) => {
                self.mapping.assign(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Any | Type::Error => Type::Dyn,
            Type::Opaque(name, _) if name.starts_with("kubernetes.") => {
                self.report(expr.id, format!("unexpected failed resolution of '{name}'"));
                Type::Error
            }
            other => {
                self.report(expr.id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if is_optional || optional { Type::optional(found) } else { found }
    }

    /// The type of an element, of whose optional the value is meant if `optional`.
    fn element(&mut self, expr: &Expr, optional: bool) -> Type {
        let of = self.of(expr);
        if !optional {
            return of;
        }
        match of.unwrapped() {
            Some(inner) => inner.clone(),
            None => {
                if !of.is_dyn() {
                    self.mismatch(expr.id, &Type::optional(of.clone()), &of);
                }
                of
            }
        }
    }

    fn list(&mut self, expr: &Expr, elements: &[Expr], optional: &[usize]) {
        let mut items = None;
        for (index, element) in elements.iter().enumerate() {
            self.check(element);
            let of = self.element(element, optional.contains(&index));
            items = Some(self.join(items, of));
        }
        let items = items.unwrap_or_else(|| self.mapping.fresh());
        self.set(expr.id, Type::list(items));
    }

    fn join(&mut self, before: Option<Type>, now: Type) -> Type {
        let Some(before) = before else { return now };
        match self.mapping.assign(&before, &now) {
            true => most_general(&before, &now),
            false => Type::Dyn,
        }
    }

    fn structured(&mut self, expr: &Expr, name: &Arc<str>, fields: &[Field]) {
        let Some(made) = self.ident(name) else {
            self.undeclared(expr.id, name);
            return self.set(expr.id, Type::Error);
        };
        let of = match made {
            Type::Type(of) if matches!(&*of, Type::Object(_)) => Type::clone(&of),
            Type::Type(of) => {
                self.report(expr.id, format!("'{of}' is not a message type"));
                Type::Error
            }
            other => {
                self.report(expr.id, format!("'{other}' is not a type"));
                Type::Error
            }
        };
        self.set(expr.id, of.clone());
        self.mean(expr.id, Meaning::Ident(name.clone()));
        for field in fields {
            self.check(&field.value);
            let wanted = of.field(&field.name).unwrap_or_else(|| {
                if !matches!(of, Type::Error) {
                    self.report(field.id, format!("undefined field '{}'", field.name));
                }
                Type::Error
            });
            let given = self.element(&field.value, field.optional);
            if !self.mapping.assign(&wanted, &given) {
                let message = format!(
                    "expected type of field '{}' is '{wanted}' but provided type is '{given}'",
                    field.name
                );
                self.report(field.id, message);
            }
        }
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) {
        self.check(&fold.range);
        self.check(&fold.start);
        let range = self.mapping.substitute(&self.of(&fold.range), false);
        let accumulated = self.of(&fold.start);
        self.locals.push((fold.accu.clone(), accumulated.clone()));
        let two = fold.item2.is_some();
        let (first, second) = match &range {
            Type::List(items) if two => (Type::Int, Type::clone(items)),
            Type::List(items) => (Type::clone(items), Type::Dyn),
            Type::Map(entry) => (entry.0.clone(), entry.1.clone()),
            Type::Dyn | Type::Error | Type::Var(_) => {
                self.mapping.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.report(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.locals.push((fold.item.clone(), first));
        let depth = self.locals.len();
        if let Some(item2) = &fold.item2 {
            self.locals.push((item2.clone(), second));
        }
        self.check(&fold.goes_on);
        self.require(&fold.goes_on, &Type::Bool);
        self.check(&fold.step);
        self.require(&fold.step, &accumulated);
        self.locals.truncate(depth - 1);
        self.check(&fold.result);
        self.locals.pop();
        let of = self.mapping.substitute(&self.of(&fold.result), false);
        self.set(expr.id, of);
    }

    fn require(&mut self, expr: &Expr, wanted: &Type) {
        let found = self.of(expr);
        if !self.mapping.assign(wanted, &found) {
            self.mismatch(expr.id, wanted, &found);
        }
    }
}

fn of_literal(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}
