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
        Expr::Select(select) => estimate(&select.operand, scope).saturating_add(1),
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

fn size(expression: &IdedExpr, scope: &Scope) -> u64 {
    known(expression, scope).size()
}

/// A tenth of what is looked at, rounded up.
fn tenth(size: u64) -> u64 {
    size.div_ceil(10)
}

fn of_call(call: &CallExpr, scope: &Scope) -> u64 {
    let arguments = sum(&call.args, scope);
    let name = call.func_name.as_str();
    let short_cut = matches!(
        name,
        operators::LOGICAL_AND | operators::LOGICAL_OR | operators::NOT_STRICTLY_FALSE
    );
    let mut total = if short_cut { arguments } else { arguments.saturating_add(1) };
    if name == operators::CONDITIONAL
        && let [condition, yes, no] = call.args.as_slice()
    {
        let worse = estimate(yes, scope).max(estimate(no, scope));
        return estimate(condition, scope).saturating_add(worse);
    }
    let target = call.target.as_deref().filter(|_| qualified(call, scope).is_none());
    if let Some(target) = target {
        total = total.saturating_add(estimate(target, scope));
    }
    if !functions::traverses(name) {
        return total;
    }
    total.saturating_add(match name {
        operators::EQUALS | operators::NOT_EQUALS => {
            let sizes = call.args.iter().map(|argument| size(argument, scope));
            tenth(sizes.min().unwrap_or(1))
        }
        operators::IN => call.args.get(1).map_or(1, |list| size(list, scope)),
        operators::ADD => match call.args.first().map(|first| known(first, scope)) {
            Some(Type::String { .. }) => tenth(
                call.args.iter().fold(0, |sum: u64, item| sum.saturating_add(size(item, scope))),
            ),
            _ => 0,
        },
        "matches" | "find" | "findAll" => {
            let pattern = call.args.last().map_or(1, |pattern| size(pattern, scope)).div_ceil(4);
            let text = target.or(call.args.first()).map_or(1, |text| size(text, scope));
            tenth(text.saturating_add(1)).saturating_mul(pattern.max(1))
        }
        "contains" => {
            let sought = call.args.first().map_or(1, |argument| size(argument, scope));
            tenth(target.map_or(1, |text| size(text, scope))).saturating_mul(tenth(sought).max(1))
        }
        _ => tenth(target.or(call.args.first()).map_or(1, |text| size(text, scope))),
    })
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
