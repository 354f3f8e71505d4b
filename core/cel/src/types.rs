//! The types of expressions.

use crate::shape::{Kind, Shape};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The type of an expression; printed as the original prints it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Type {
    /// Not known before it is evaluated.
    Dyn,
    /// Not known either, but no range of a loop: the attributes of devices.
    Any,
    /// Of what is wrong; goes with everything, so that nothing is told twice.
    Error,
    /// `null`.
    Null,
    /// A truth value.
    Bool,
    /// A whole number.
    Int,
    /// A whole number without a sign.
    Uint,
    /// A number.
    Double,
    /// Text.
    String,
    /// Bytes.
    Bytes,
    /// A moment.
    Timestamp,
    /// A span of time.
    Duration,
    /// A list of items of one type.
    List(Arc<Type>),
    /// A map from keys to values.
    Map(Arc<(Type, Type)>),
    /// Something with fields.
    Object(Object),
    /// Of a library, as `net.IP` or `optional_type(int)`.
    Opaque(Arc<str>, Arc<[Type]>),
    /// A type as a value.
    Type(Arc<Type>),
    /// Any one type, as a declaration names it.
    Param(Arc<str>),
    /// A type that is still to be found.
    Var(usize),
}

/// A type with fields, told apart by its name.
#[derive(Debug, Clone)]
pub struct Object {
    pub(crate) name: Arc<str>,
    pub(crate) fields: Fields,
}

#[derive(Debug, Clone)]
pub(crate) enum Fields {
    /// Those of a schema.
    Shape(Arc<Shape>),
    /// These.
    Named(Arc<BTreeMap<String, Type>>),
    /// Any.
    All,
}

impl Object {
    /// The fields, where all have a name.
    pub(crate) fn named(&self) -> Vec<(String, Type)> {
        match &self.fields {
            Fields::Named(fields) => {
                fields.iter().map(|(name, of)| (name.clone(), of.clone())).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// The name of the type of optional values.
pub(crate) const OPTIONAL: &str = "optional_type";

impl Type {
    /// A type with these fields.
    #[must_use]
    pub fn object(name: &str, fields: impl IntoIterator<Item = (String, Self)>) -> Self {
        let fields = Fields::Named(Arc::new(fields.into_iter().collect()));
        Self::Object(Object { name: name.into(), fields })
    }

    /// A value of a library's type, as `kubernetes.authorization.Authorizer`.
    #[must_use]
    pub fn opaque(name: &str) -> Self {
        Self::Opaque(name.into(), Arc::new([]))
    }

    /// A list of these.
    #[must_use]
    pub fn list(items: Self) -> Self {
        Self::List(Arc::new(items))
    }

    /// An optional one of these.
    #[must_use]
    pub fn optional(inner: Self) -> Self {
        Self::Opaque(OPTIONAL.into(), Arc::new([inner]))
    }

    pub(crate) fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new((key, value)))
    }

    /// The type of values of a shape; `name` is that of the type if it has fields.
    #[must_use]
    pub fn of(shape: &Arc<Shape>, name: &str) -> Self {
        match &shape.kind {
            Kind::Dyn => Self::Dyn,
            Kind::Bool => Self::Bool,
            Kind::Int => Self::Int,
            Kind::Double => Self::Double,
            Kind::String => Self::String,
            Kind::Bytes => Self::Bytes,
            Kind::Timestamp => Self::Timestamp,
            Kind::Duration => Self::Duration,
            Kind::List(items) => Self::list(Self::of(items, &format!("{name}.@idx"))),
            Kind::Map(values) => {
                Self::map(Self::String, Self::of(values, &format!("{name}.@elem")))
            }
            Kind::Object(_) => {
                Self::Object(Object { name: name.into(), fields: Fields::Shape(shape.clone()) })
            }
        }
    }

    /// The type of a field; `None` where there is no such field.
    pub(crate) fn field(&self, name: &str) -> Option<Self> {
        let Self::Object(object) = self else { return None };
        match &object.fields {
            Fields::All => Some(Self::Dyn),
            Fields::Named(fields) => fields.get(name).cloned(),
            Fields::Shape(shape) => {
                let Kind::Object(fields) = &shape.kind else { return None };
                let found = fields.by_name(name)?;
                Some(Self::of(&found.shape, &format!("{}.{name}", object.name)))
            }
        }
    }

    /// As the original prints it where it is not in the middle of a message of the checker.
    #[must_use]
    pub fn written(&self) -> String {
        match self {
            Self::Any | Self::Null | Self::Timestamp | Self::Duration => self.name().to_owned(),
            Self::List(items) => format!("list({})", items.written()),
            Self::Map(entry) => format!("map({}, {})", entry.0.written(), entry.1.written()),
            Self::Opaque(name, params) if !params.is_empty() => {
                let params: Vec<_> = params.iter().map(Self::written).collect();
                format!("{name}({})", params.join(", "))
            }
            Self::Type(of) => format!("type({})", of.written()),
            other => other.to_string(),
        }
    }

    /// The type that a variable of a policy has whose expression returns this: of some only that they are something.
    #[must_use]
    pub fn declared(&self) -> Self {
        match self {
            Self::List(items) => Self::list(items.declared()),
            Self::Map(entry) => Self::map(entry.0.declared(), entry.1.declared()),
            other if other.is_plain() && !matches!(other, Self::Error) => other.clone(),
            _ => Self::Dyn,
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Any)
    }

    pub(crate) fn is_dyn_or_error(&self) -> bool {
        self.is_dyn() || matches!(self, Self::Error)
    }

    /// What is inside of an optional.
    pub(crate) fn unwrapped(&self) -> Option<&Self> {
        match self {
            Self::Opaque(name, params) if &**name == OPTIONAL => params.first(),
            _ => None,
        }
    }

    /// Whether both are the same, with all they are made of.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) | (Self::Type(a), Self::Type(b)) => a.is(b),
            (Self::Map(a), Self::Map(b)) => a.0.is(&b.0) && a.1.is(&b.1),
            (Self::Object(a), Self::Object(b)) => a.name == b.name,
            (Self::Opaque(a, of_a), Self::Opaque(b, of_b)) => {
                a == b && of_a.len() == of_b.len() && of_a.iter().zip(&**of_b).all(|(a, b)| a.is(b))
            }
            (Self::Param(a), Self::Param(b)) => a == b,
            (Self::Var(a), Self::Var(b)) => a == b,
            (a, b) => a.is_plain() && std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }

    /// The name of the type at run time, without what it is made of.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Dyn => "dyn",
            Self::Any => "google.protobuf.Any",
            Self::Error => "error",
            Self::Null => "null_type",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "google.protobuf.Timestamp",
            Self::Duration => "google.protobuf.Duration",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Type(_) => "type",
            Self::Var(_) => "any",
            Self::Object(object) => &object.name,
            Self::Param(name) | Self::Opaque(name, _) => name,
        }
    }

    /// Whether it is a type of one word.
    fn is_plain(&self) -> bool {
        !matches!(
            self,
            Self::List(_)
                | Self::Map(_)
                | Self::Object(_)
                | Self::Opaque(..)
                | Self::Type(_)
                | Self::Param(_)
                | Self::Var(_)
        )
    }

    /// Whether values have one size.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool
            | Self::Double
            | Self::Duration
            | Self::Int
            | Self::Timestamp
            | Self::Uint => true,
            other => other.unwrapped().is_some_and(Self::is_scalar),
        }
    }

    /// The types that it is made of.
    pub(crate) fn params(&self) -> Vec<&Self> {
        match self {
            Self::List(items) | Self::Type(items) => vec![items],
            Self::Map(entry) => vec![&entry.0, &entry.1],
            Self::Opaque(_, params) => params.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// With each of its parts replaced.
    pub(crate) fn with(&self, replace: &mut dyn FnMut(&Self) -> Self) -> Self {
        match self {
            Self::List(items) => Self::list(replace(items)),
            Self::Map(entry) => Self::map(replace(&entry.0), replace(&entry.1)),
            Self::Type(of) => Self::Type(Arc::new(replace(of))),
            Self::Opaque(name, params) => {
                Self::Opaque(name.clone(), params.iter().map(replace).collect())
            }
            other => other.clone(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Self::Dyn => "dyn",
            Self::Any => "any",
            Self::Error => "!error!",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::List(items) => return write!(f, "list({items})"),
            Self::Map(entry) => return write!(f, "map({}, {})", entry.0, entry.1),
            Self::Type(of) => return write!(f, "type({of})"),
            Self::Object(object) => &object.name,
            Self::Param(name) => name,
            Self::Var(number) => return write!(f, "_var{number}"),
            Self::Opaque(name, params) if params.is_empty() => name,
            Self::Opaque(name, params) => {
                write!(f, "{name}(")?;
                for (index, param) in params.iter().enumerate() {
                    write!(f, "{}{param}", if index > 0 { ", " } else { "" })?;
                }
                return f.write_str(")");
            }
        };
        f.write_str(word)
    }
}

/// Which types the unknown ones turned out to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mapping(Vec<Option<Type>>);

impl Mapping {
    pub(crate) fn fresh(&mut self) -> Type {
        self.0.push(None);
        Type::Var(self.0.len() - 1)
    }

    fn find(&self, of: &Type) -> Option<&Type> {
        match of {
            Type::Var(number) => self.0.get(*number)?.as_ref(),
            _ => None,
        }
    }

    fn add(&mut self, of: &Type, found: Type) {
        if let Type::Var(number) = of {
            self.0[*number] = Some(found);
        }
    }

    /// The type with what is known put in; what stays unknown is dynamic with `settle`.
    pub(crate) fn substitute(&self, of: &Type, settle: bool) -> Type {
        match of {
            Type::Var(number) => match self.0.get(*number).and_then(Option::as_ref) {
                Some(found) => self.substitute(found, settle),
                None if settle => Type::Dyn,
                None => of.clone(),
            },
            Type::Param(_) if settle => Type::Dyn,
            other => other.with(&mut |part| self.substitute(part, settle)),
        }
    }

    /// Whether a value of `from` can be where `to` is wanted; what that tells of unknown types is kept.
    pub(crate) fn assign(&mut self, from: &Type, to: &Type) -> bool {
        self.assign_all(&[from], &[to])
    }

    /// The same for several at once.
    pub(crate) fn assign_all(&mut self, from: &[&Type], to: &[&Type]) -> bool {
        let mut tried = self.clone();
        let fits =
            from.len() == to.len() && from.iter().zip(to).all(|(from, to)| tried.fits(from, to));
        if fits {
            *self = tried;
        }
        fits
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if matches!(b, Type::Var(_)) {
            let (valid, known) = self.stands_for(a, b);
            if valid || known {
                return valid;
            }
        }
        if matches!(a, Type::Var(_)) {
            return self.stands_for(b, a).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        let nullable = |of: &Type| {
            matches!(
                of,
                Type::Opaque(..) | Type::Object(_) | Type::Duration | Type::Timestamp | Type::Null
            )
        };
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.fits(a, b),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.0, &b.0) && self.fits(&a.1, &b.1),
            (Type::Opaque(a, of_a), Type::Opaque(b, of_b)) => {
                a == b
                    && of_a.len() == of_b.len()
                    && of_a.iter().zip(&**of_b).all(|(a, b)| self.fits(a, b))
            }
            (a, b) => a.is(b),
        }
    }

    /// Whether the unknown `var` can be `of`, and whether something was known of it.
    fn stands_for(&mut self, of: &Type, var: &Type) -> (bool, bool) {
        if of.is(var) {
            return (true, true);
        }
        if let Some(known) = self.find(var).cloned() {
            if of.is(&known) {
                return (true, true);
            }
            if self.fits(of, &known) {
                let general = most_general(of, &known);
                if !self.is_within(var, &general) {
                    self.add(var, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.is_within(var, of) {
            return (false, false);
        }
        self.add(var, of.clone());
        (true, false)
    }

    fn is_within(&self, var: &Type, of: &Type) -> bool {
        if var.is(of) {
            return true;
        }
        match self.find(of) {
            Some(known) => self.is_within(var, known),
            None => of.params().into_iter().any(|part| self.is_within(var, part)),
        }
    }
}

/// Of two types that go together the one that allows more.
pub(crate) fn most_general(a: &Type, b: &Type) -> Type {
    if is_less_specific(a, b) { a.clone() } else { b.clone() }
}

fn is_less_specific(a: &Type, b: &Type) -> bool {
    let open = |of: &Type| of.is_dyn() || matches!(of, Type::Var(_) | Type::Param(_));
    if open(a) {
        return true;
    }
    if open(b) {
        return false;
    }
    match (a, b) {
        (Type::Opaque(x, of_a), Type::Opaque(y, of_b)) => {
            x == y
                && of_a.len() == of_b.len()
                && of_a.iter().zip(&**of_b).all(|(a, b)| is_less_specific(a, b))
        }
        (Type::List(a), Type::List(b)) => is_less_specific(a, b),
        (Type::Map(a), Type::Map(b)) => {
            is_less_specific(&a.0, &b.0) && is_less_specific(&a.1, &b.1)
        }
        (Type::Type(_), Type::Type(_)) => true,
        (a, b) => a.is(b),
    }
}
