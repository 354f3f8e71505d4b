//! The types of expressions, as far as the schema tells them.

use crate::{
    functions,
    shape::{Kind, Shape},
};
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, LiteralValue, operators,
};
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// The type of an expression.
#[derive(Debug, Clone)]
pub enum Type {
    /// Not known before it is evaluated.
    Dyn,
    /// A truth value.
    Bool,
    /// A whole number.
    Int,
    /// A number.
    Double,
    /// Text of at most so many characters.
    String {
        /// The most characters.
        max: u64,
    },
    /// Anything else that has no parts.
    Scalar,
    /// A list of at most so many items.
    List(Box<Type>, u64),
    /// What a schema describes.
    Shaped(Arc<Shape>),
}

impl Type {
    /// The type of a value of this shape.
    pub(crate) fn of(shape: &Arc<Shape>) -> Self {
        match &shape.kind {
            Kind::Dyn => Self::Dyn,
            Kind::Bool => Self::Bool,
            Kind::Int => Self::Int,
            Kind::Double => Self::Double,
            Kind::String => Self::String { max: shape.max },
            Kind::Timestamp | Kind::Duration => Self::Scalar,
            Kind::Bytes | Kind::List(_) | Kind::Map(_) | Kind::Object(_) => {
                Self::Shaped(shape.clone())
            }
        }
    }

    /// The most characters, items or entries.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::String { max } | Self::List(_, max) => *max,
            Self::Shaped(shape) => shape.max,
            _ => 1,
        }
    }

    /// What a loop over it sees.
    pub(crate) fn element(&self) -> Self {
        match self {
            Self::List(items, _) => Self::clone(items),
            Self::Shaped(shape) => match &shape.kind {
                Kind::List(items) => Self::of(items),
                Kind::Map(_) => Self::String { max: shape.max },
                _ => Self::Dyn,
            },
            _ => Self::Dyn,
        }
    }

    fn indexed(&self) -> Self {
        match self {
            Self::Shaped(shape) => match &shape.kind {
                Kind::List(items) | Kind::Map(items) => Self::of(items),
                _ => Self::Dyn,
            },
            Self::List(items, _) => Self::clone(items),
            _ => Self::Dyn,
        }
    }
}

/// What a name means.
pub(crate) type Scope = HashMap<String, Type>;

/// What was found wrong: the word in the source it is about, and what to say.
pub(crate) struct Wrong {
    pub(crate) word: String,
    pub(crate) message: String,
    pub(crate) at: At,
}

/// Where the original points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    /// The word.
    Word,
    /// The parenthesis behind the word.
    Open,
    /// The parenthesis of the `has` around the word.
    Has,
}

fn wrong(word: impl Into<String>, message: impl Into<String>) -> Wrong {
    Wrong { word: word.into(), message: message.into(), at: At::Word }
}

/// The type of an expression; what is wrong with it is added to `found`, and its type taken for unknown.
pub(crate) fn infer(expression: &IdedExpr, scope: &Scope, found: &mut Vec<Wrong>) -> Type {
    let result = match &expression.expr {
        Expr::Unspecified | Expr::Map(_) | Expr::Struct(_) => Ok(Type::Dyn),
        Expr::Literal(literal) => Ok(of_literal(literal)),
        Expr::Ident(name) => match scope.get(name) {
            Some(known) => Ok(known.clone()),
            None if is_type_name(name) => Ok(Type::Scalar),
            None => Err(undeclared(name)),
        },
        Expr::Select(select) => {
            let operand = infer(&select.operand, scope, found);
            match field(&operand, &select.field) {
                Ok(_) if select.test => Ok(Type::Bool),
                Err(wrong) if select.test => Err(Wrong { at: At::Has, ..wrong }),
                other => other,
            }
        }
        Expr::Call(call) => of_call(call, scope, found),
        Expr::List(list) => {
            let types = list.elements.iter().map(|element| infer(element, scope, found));
            let items = types.last().unwrap_or(Type::Dyn);
            Ok(Type::List(Box::new(items), list.elements.len() as u64))
        }
        Expr::Comprehension(comprehension) => Ok(of_loop(comprehension, scope, found)),
    };
    result.unwrap_or_else(|wrong| {
        found.push(wrong);
        Type::Dyn
    })
}

fn undeclared(name: &str) -> Wrong {
    wrong(name, format!("undeclared reference to '{name}' (in container '')"))
}

fn of_loop(comprehension: &ComprehensionExpr, scope: &Scope, found: &mut Vec<Wrong>) -> Type {
    let range = infer(&comprehension.iter_range, scope, found);
    let mut inner = scope.clone();
    inner.insert(comprehension.iter_var.clone(), range.element());
    if let Some(second) = &comprehension.iter_var2 {
        inner.insert(comprehension.iter_var.clone(), Type::Dyn);
        inner.insert(second.clone(), range.indexed());
    }
    let start = match infer(&comprehension.accu_init, scope, found) {
        Type::List(..) => Type::List(Box::new(Type::Dyn), range.size()),
        other => other,
    };
    inner.insert(comprehension.accu_var.clone(), start);
    infer(&comprehension.loop_cond, &inner, found);
    let step = infer(&comprehension.loop_step, &inner, found);
    if let Type::List(items, _) = step {
        inner.insert(comprehension.accu_var.clone(), Type::List(items, range.size()));
    }
    infer(&comprehension.result, &inner, found)
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::String(text) => Type::String { max: text.inner().len() as u64 },
        LiteralValue::Bytes(_) | LiteralValue::UInt(_) | LiteralValue::Null => Type::Scalar,
    }
}

fn is_type_name(name: &str) -> bool {
    matches!(
        name,
        "bool"
            | "int"
            | "uint"
            | "double"
            | "string"
            | "bytes"
            | "list"
            | "map"
            | "null_type"
            | "type"
    )
}

fn field(operand: &Type, name: &str) -> Result<Type, Wrong> {
    let dotted = || format!(".{name}");
    match operand {
        Type::Shaped(shape) => match &shape.kind {
            Kind::Object(fields) => {
                let found = fields.values().find(|property| property.escaped == name);
                let found =
                    found.ok_or_else(|| wrong(dotted(), format!("undefined field '{name}'")))?;
                Ok(Type::of(&found.shape))
            }
            Kind::Map(values) => Ok(Type::of(values)),
            Kind::Dyn => Ok(Type::Dyn),
            _ => Err(wrong(
                dotted(),
                format!("type '{}' does not support field selection", named(operand)),
            )),
        },
        Type::Dyn => Ok(Type::Dyn),
        other => Err(wrong(
            dotted(),
            format!("type '{}' does not support field selection", named(other)),
        )),
    }
}

/// The name of a type in messages.
pub(crate) fn named(of: &Type) -> Cow<'static, str> {
    match of {
        Type::Dyn => "dyn".into(),
        Type::Bool => "bool".into(),
        Type::Int => "int".into(),
        Type::Double => "double".into(),
        Type::String { .. } => "string".into(),
        Type::Scalar => "scalar".into(),
        Type::List(items, _) => format!("list({})", named(items)).into(),
        Type::Shaped(shape) => match &shape.kind {
            Kind::List(items) => format!("list({})", named(&Type::of(items))).into(),
            Kind::Map(values) => format!("map(string, {})", named(&Type::of(values))).into(),
            Kind::Bytes => "bytes".into(),
            _ => "object".into(),
        },
    }
}

/// The name of a function that stands behind a dotted name, as `sets.contains`.
pub(crate) fn qualified<'a>(call: &'a CallExpr, scope: &Scope) -> Option<Cow<'a, str>> {
    let target = call.target.as_ref()?;
    let Expr::Ident(space) = &target.expr else { return None };
    if scope.contains_key(space) {
        return None;
    }
    let name = format!("{space}.{}", call.func_name);
    functions::returns(&name).map(|_| Cow::Owned(name))
}

fn of_call(call: &CallExpr, scope: &Scope, found: &mut Vec<Wrong>) -> Result<Type, Wrong> {
    let qualified = qualified(call, scope);
    let target = call.target.as_ref().filter(|_| qualified.is_none());
    let target = target.map(|target| infer(target, scope, found));
    let types: Vec<Type> = call.args.iter().map(|argument| infer(argument, scope, found)).collect();
    if let Some(name) = qualified {
        return Ok(functions::returns(&name).unwrap_or(Type::Dyn));
    }
    let both = |types: &[Type]| types.first().cloned().unwrap_or(Type::Dyn);
    Ok(match call.func_name.as_str() {
        operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT => {
            require_bool(&call.func_name, &types)?;
            Type::Bool
        }
        operators::EQUALS | operators::NOT_EQUALS => {
            of_one_type(&call.func_name, &types)?;
            Type::Bool
        }
        operators::IN | operators::NOT_STRICTLY_FALSE => Type::Bool,
        operators::GREATER
        | operators::GREATER_EQUALS
        | operators::LESS
        | operators::LESS_EQUALS => {
            comparable(&call.func_name, &types)?;
            Type::Bool
        }
        operators::CONDITIONAL => types.into_iter().nth(1).unwrap_or(Type::Dyn),
        operators::INDEX => both(&types).indexed(),
        operators::OPT_INDEX | operators::OPT_SELECT => Type::Dyn,
        operators::ADD => match (types.first(), types.get(1)) {
            (Some(Type::String { max: a }), Some(Type::String { max: b })) => {
                Type::String { max: a.saturating_add(*b) }
            }
            (Some(Type::List(items, a)), Some(other)) => {
                Type::List(items.clone(), a.saturating_add(other.size()))
            }
            (Some(Type::Dyn), _) => Type::Dyn,
            _ => both(&types),
        },
        operators::SUBSTRACT
        | operators::MULTIPLY
        | operators::DIVIDE
        | operators::MODULO
        | operators::NEGATE => both(&types),
        name => {
            let returned = functions::returns(name);
            let returned = returned.ok_or_else(|| Wrong { at: At::Open, ..undeclared(name) })?;
            match (name, types.first()) {
                // The original knows no bounds of what is made of another type.
                ("string", _) => Type::String { max: u64::MAX },
                _ => sized(name, returned, target.as_ref()),
            }
        }
    })
}

/// A text made of another is about as long.
fn sized(name: &str, returned: Type, target: Option<&Type>) -> Type {
    match (returned, target) {
        (Type::String { .. }, Some(target)) if name != "join" && name != "format" => {
            Type::String { max: target.size() }
        }
        (Type::List(items, _), Some(target)) => match *items {
            Type::String { .. } => {
                Type::List(Box::new(Type::String { max: target.size() }), target.size())
            }
            other => Type::List(Box::new(other), target.size()),
        },
        (other, _) => other,
    }
}

fn require_bool(operator: &str, types: &[Type]) -> Result<(), Wrong> {
    match types.iter().all(|of| matches!(of, Type::Bool | Type::Dyn)) {
        true => Ok(()),
        false => Err(no_overload(operator, types)),
    }
}

fn comparable(operator: &str, types: &[Type]) -> Result<(), Wrong> {
    let class = |of: &Type| match of {
        Type::Int | Type::Double => Some("number"),
        Type::Bool => Some("bool"),
        Type::String { .. } => Some("string"),
        Type::Scalar | Type::Dyn => None,
        Type::List(..) | Type::Shaped(_) => Some("compound"),
    };
    match types {
        [a, b] => match (class(a), class(b)) {
            (Some("compound"), _) | (_, Some("compound")) => Err(no_overload(operator, types)),
            (Some(a), Some(b)) if a != b => Err(no_overload(operator, types)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Values of types that are known and differ are never equal, so that to compare them is a mistake.
fn of_one_type(operator: &str, types: &[Type]) -> Result<(), Wrong> {
    let class = |of: &Type| match of {
        Type::Int => Some("int"),
        Type::Double => Some("double"),
        Type::Bool => Some("bool"),
        Type::String { .. } => Some("string"),
        Type::List(..) => Some("list"),
        Type::Shaped(shape) => match &shape.kind {
            Kind::List(_) => Some("list"),
            Kind::Map(_) | Kind::Object(_) => Some("map"),
            _ => None,
        },
        Type::Scalar | Type::Dyn => None,
    };
    match types {
        [a, b] => match (class(a), class(b)) {
            (Some(a), Some(b)) if a != b => Err(no_overload(operator, types)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn no_overload(operator: &str, types: &[Type]) -> Wrong {
    let names: Vec<_> = types.iter().map(named).collect();
    let word = operator.trim_matches('_');
    wrong(
        word,
        format!("found no matching overload for '{operator}' applied to '({})'", names.join(", ")),
    )
}
