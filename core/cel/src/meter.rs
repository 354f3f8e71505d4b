//! A budget for evaluations: every round of a loop pays for what it evaluates.

use crate::walk::{children_mut, count};
use kube_cel::cel::{
    self, Context, ExecutionError, FunctionContext,
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
    objects::Opaque,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// No source can name these.
const TICK: &str = "@tick";
const BUDGET: &str = "@budget";
pub(crate) const REQUEST_RESOURCE: &str = "@requestResource";

/// What is left to spend.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU64);

impl PartialEq for Budget {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Budget {}

impl Opaque for Budget {
    fn runtime_type_name(&self) -> &str {
        BUDGET
    }
}

impl Budget {
    pub(crate) fn new(units: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(units)))
    }

    /// Whether so much could be paid; what cannot be paid leaves nothing.
    pub(crate) fn spend(&self, units: u64) -> bool {
        let paid = |left: u64| Some(left.saturating_sub(units));
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, paid);
        before.is_ok_and(|left| left >= units) && !self.is_spent()
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left() == 0
    }

    pub(crate) fn left(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn bind(self: &Arc<Self>, context: &mut Context<'_>) {
        context.add_variable_from_value(BUDGET, cel::Value::Opaque(self.clone()));
    }
}

/// Adds the function that loops pay with.
pub(crate) fn register(context: &mut Context<'static>) {
    context.add_function(TICK, tick);
}

fn tick(ftx: &FunctionContext<'_, '_>, units: i64, goes_on: cel::Value) -> cel::ResolveResult {
    let Some(bound) = ftx.ptx.get_variable(BUDGET) else { return Ok(goes_on) };
    let bound: cel::Value = bound.as_ref().try_into()?;
    let cel::Value::Opaque(opaque) = &bound else { return Ok(goes_on) };
    let Some(budget) = opaque.downcast_ref::<Budget>() else { return Ok(goes_on) };
    match budget.spend(units.unsigned_abs()) {
        true => Ok(goes_on),
        false => Err(ExecutionError::function_error(TICK, SPENT)),
    }
}

/// What is said when nothing is left.
pub(crate) const SPENT: &str = "operation cancelled: actual cost limit exceeded";

/// Makes all loops pay, and `authorizer.requestResource` a variable.
pub(crate) fn metered(expression: &mut IdedExpr) {
    children_mut(&mut expression.expr).into_iter().for_each(metered);
    let id = expression.id;
    match &mut expression.expr {
        Expr::Select(select) if select.field == "requestResource" => {
            let is_root = matches!(&select.operand.expr, Expr::Ident(name) if name == "authorizer");
            if is_root {
                expression.expr = Expr::Ident(REQUEST_RESOURCE.to_owned());
            }
        }
        Expr::Comprehension(looped) => {
            let units = count(&looped.loop_cond) + count(&looped.loop_step);
            let units = i64::try_from(units).unwrap_or(i64::MAX);
            let units = IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(units.into())) };
            let condition = std::mem::take(&mut looped.loop_cond);
            let args = vec![units, condition];
            let call = CallExpr { func_name: TICK.to_owned(), target: None, args };
            looped.loop_cond = IdedExpr { id, expr: Expr::Call(call) };
        }
        _ => {}
    }
}

/// The fields of a variable that an expression selects; `None` when it uses the variable as a whole.
pub(crate) fn fields_of(
    expression: &IdedExpr,
    variable: &str,
    found: &mut Vec<String>,
) -> Option<()> {
    let is_it = |of: &IdedExpr| matches!(&of.expr, Expr::Ident(name) if name == variable);
    match &expression.expr {
        Expr::Select(select) if is_it(&select.operand) => found.push(select.field.clone()),
        Expr::Ident(name) if name == variable => return None,
        Expr::Call(call)
            if matches!(call.func_name.as_str(), operators::INDEX | operators::OPT_INDEX)
                && call.args.first().is_some_and(is_it) =>
        {
            match call.args.get(1).map(|key| &key.expr) {
                Some(Expr::Literal(LiteralValue::String(name))) => {
                    found.push(name.inner().to_owned());
                }
                _ => return None,
            }
        }
        other => {
            for child in crate::walk::children(other) {
                fields_of(child, variable, found)?;
            }
        }
    }
    Some(())
}
