//! What is written out in a sound expression, and cannot be meant so.

use super::{Checked, Wrong};
use crate::{
    ast::{Expr, Id, Kind, Literal},
    types::Type,
};

/// Spans, moments and patterns that are written out are what they say.
pub(super) fn literals(expr: &Expr, wrong: &mut Vec<Wrong>) {
    if let Kind::Call { function, args, .. } = &expr.kind
        && let Some(Expr { id, kind: Kind::Literal(Literal::String(text)) }) = args.first()
    {
        let sound = match &**function {
            "duration" => crate::time::span(text).is_some(),
            "timestamp" => crate::time::rfc3339(text).is_some(),
            "matches" => crate::library::regex::compiled(text).is_ok(),
            _ => true,
        };
        if !sound {
            wrong.push(Wrong { id: *id, message: format!("invalid {function} argument") });
        }
    }
    expr.children().into_iter().for_each(|child| literals(child, wrong));
}

/// What is formatted fits the pattern, where both are written out.
pub(super) fn formats(expr: &Expr, checked: &Checked, wrong: &mut Vec<Wrong>) {
    if let Kind::Call { function, target: Some(target), args } = &expr.kind
        && &**function == "format"
        && let Kind::Literal(Literal::String(pattern)) = &target.kind
        && let [Expr { kind: Kind::List { elements, .. }, .. }] = args.as_slice()
    {
        let types: Vec<&Type> = elements.iter().map(|element| checked.of(element)).collect();
        match crate::library::format::fits(pattern, &types) {
            Err((Some(index), message)) => wrong.push(Wrong { id: elements[index].id, message }),
            Err((None, message)) => wrong.push(Wrong { id: expr.id, message }),
            Ok(count) if count < elements.len() => {
                let given = elements.len();
                let message = format!(
                    "too many arguments supplied to string.format (expected {count}, got {given})"
                );
                wrong.push(Wrong { id: expr.id, message });
            }
            Ok(_) => {}
        }
    }
    expr.children().into_iter().for_each(|child| formats(child, checked, wrong));
}

/// All elements of one literal are of one type; what is formatted need not be.
pub(super) fn homogeneous(expr: &Expr, checked: &Checked, wrong: &mut Vec<Wrong>) {
    let mut differ = |id: Id, first: &Type, other: &Type| {
        if first.is(other) {
            return false;
        }
        wrong.push(Wrong { id, message: format!("expected type '{first}' but found '{other}'") });
        true
    };
    match &expr.kind {
        Kind::Call { function, .. } if &**function == "format" => return,
        Kind::List { elements, optional } => {
            let of = |index: usize, element: &Expr| {
                let of = checked.of(element);
                let inner = of.unwrapped().filter(|_| optional.contains(&index));
                inner.unwrap_or(of).clone()
            };
            let first = elements.first().map(|element| of(0, element));
            for (index, element) in elements.iter().enumerate().skip(1) {
                if first
                    .as_ref()
                    .is_some_and(|first| differ(element.id, first, &of(index, element)))
                {
                    break;
                }
            }
        }
        Kind::Map(entries) => {
            let of = |value: &Expr, optional: bool| {
                let of = checked.of(value);
                of.unwrapped().filter(|_| optional).unwrap_or(of).clone()
            };
            if let Some(first) = entries.first() {
                let (keys, values) = (of(&first.key, false), of(&first.value, first.optional));
                for entry in &entries[1..] {
                    differ(entry.key.id, &keys, &of(&entry.key, false));
                    differ(entry.value.id, &values, &of(&entry.value, entry.optional));
                }
            }
        }
        _ => {}
    }
    expr.children().into_iter().for_each(|child| homogeneous(child, checked, wrong));
}
