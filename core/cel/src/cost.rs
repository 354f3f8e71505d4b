//! What evaluating an expression can cost at most, from the sizes its schema allows.

use crate::{
    check::{Scope, Type, infer, qualified},
    functions,
};
use kube_cel::cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, operators};

const LIST: u64 = 10;
const MAP: u64 = 30;
const STRUCT: u64 = 40;

/// The largest cost of an expression, in the original's units.
pub(crate) fn estimate(expression: &IdedExpr, scope: &Scope) -> u64 {
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => 0,
        Expr::Ident(_) => 1,
        // To ask whether a field is there costs nothing.
        Expr::Select(select) => {
            estimate(&select.operand, scope).saturating_add(u64::from(!select.test))
        }
        Expr::List(list) => sum(&list.elements, scope).saturating_add(LIST),
        Expr::Map(_) => MAP,
        Expr::Struct(_) => STRUCT,
        Expr::Call(call) => of_call(call, scope),
        Expr::Comprehension(comprehension) => of_loop(comprehension, scope),
    }
}

fn sum(list: &[IdedExpr], scope: &Scope) -> u64 {
    list.iter().fold(0, |total: u64, item| total.saturating_add(estimate(item, scope)))
}

/// The type of an expression that was found to be sound.
fn known(expression: &IdedExpr, scope: &Scope) -> Type {
    infer(expression, scope, &mut Vec::new())
}

/// The most characters, items or entries; what has none is one, or where the schema knows it nothing.
fn size(expression: &IdedExpr, scope: &Scope) -> u64 {
    match known(expression, scope) {
        Type::Bool | Type::Int | Type::Double if is_path(expression) => 0,
        known => known.size(),
    }
}

/// Whether a value is one that the schema describes.
fn is_path(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Ident(_) => true,
        Expr::Select(select) => is_path(&select.operand),
        Expr::Call(call) if call.func_name == operators::INDEX => {
            call.args.first().is_some_and(is_path)
        }
        _ => false,
    }
}

/// A tenth of what is looked at, rounded up.
fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

fn of_call(call: &CallExpr, scope: &Scope) -> u64 {
    let mut parts = sum(&call.args, scope);
    let target = call.target.as_deref().filter(|_| qualified(call, scope).is_none());
    if let Some(target) = target {
        parts = parts.saturating_add(estimate(target, scope));
    }
    let argument = |index: usize| call.args.get(index).map_or(1, |found| size(found, scope));
    let on = || target.map_or_else(|| argument(0), |found| size(found, scope));
    let is_text = |found: Option<&IdedExpr>| {
        found.is_some_and(|found| matches!(known(found, scope), Type::String { .. }))
    };
    let smaller = || argument(0).min(argument(1));
    let own = match call.func_name.as_str() {
        operators::LOGICAL_AND | operators::LOGICAL_OR => 0,
        operators::CONDITIONAL => {
            let [condition, yes, no] = call.args.as_slice() else { return parts };
            let worse = estimate(yes, scope).max(estimate(no, scope));
            return estimate(condition, scope).saturating_add(worse);
        }
        operators::EQUALS | operators::NOT_EQUALS => tenth(smaller()),
        operators::LESS
        | operators::LESS_EQUALS
        | operators::GREATER
        | operators::GREATER_EQUALS
            if is_text(call.args.first()) =>
        {
            tenth(smaller())
        }
        operators::IN => match call.args.get(1).map(|list| known(list, scope)) {
            Some(Type::Shaped(shape)) if !shape.is_list() => 1,
            _ => argument(1),
        },
        operators::ADD if is_text(call.args.first()) => {
            tenth(argument(0).saturating_add(argument(1)))
        }
        "matches" | "find" | "findAll" => {
            let pattern = call.args.last().map_or(1, |pattern| size(pattern, scope)).div_ceil(4);
            tenth(on().saturating_add(1)).saturating_mul(pattern)
        }
        "contains" => tenth(on()).saturating_mul(tenth(argument(0))),
        "startsWith" | "endsWith" => tenth(argument(0)),
        "replace" | "split" | "ip.isCanonical" => on().div_ceil(5),
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" if !is_text(target) => {
            let item = target.map(|list| known(list, scope).element());
            let item = match item {
                Some(Type::String { max }) => tenth(max),
                _ => 0,
            };
            on().saturating_mul(item.saturating_add(1))
        }
        "join" => joined(target, call.args.first(), scope),
        // An authorization check: two of them are the most one expression may make.
        "check" => 350_000,
        name if functions::traverses(name) => tenth(on()),
        _ => 1,
    };
    parts.saturating_add(own)
}

/// All items of a list in one text, with another between each two.
fn joined(list: Option<&IdedExpr>, between: Option<&IdedExpr>, scope: &Scope) -> u64 {
    let count = list.map_or(1, |list| size(list, scope));
    let item = list.map_or(1, |list| known(list, scope).element().size());
    let apart = between.map_or(0, |text| size(text, scope));
    let apart = apart.saturating_mul(count.saturating_sub(1));
    tenth(count.saturating_mul(item).saturating_add(apart))
}

fn of_loop(comprehension: &ComprehensionExpr, scope: &Scope) -> u64 {
    let range = known(&comprehension.iter_range, scope);
    let mut inner = scope.clone();
    inner.insert(comprehension.iter_var.clone(), range.element());
    if let Some(second) = &comprehension.iter_var2 {
        inner.insert(second.clone(), Type::Dyn);
    }
    let start = known(&comprehension.accu_init, scope);
    inner.insert(comprehension.accu_var.clone(), start);
    let round = estimate(&comprehension.loop_cond, &inner)
        .saturating_add(estimate(&comprehension.loop_step, &inner));
    let rounds = range.size().saturating_mul(round);
    estimate(&comprehension.iter_range, scope)
        .saturating_add(estimate(&comprehension.accu_init, scope))
        .saturating_add(rounds)
        .saturating_add(estimate(&comprehension.result, &inner))
}
