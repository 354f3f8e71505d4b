//! Macros that the parser does not know: `cel.bind`, `optMap` and `optFlatMap`, turned into what it knows.

use crate::escape::unescape;
use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue,
    MapEntryExpr, MapExpr, operators,
};

/// The expression without those macros.
pub(crate) fn expand(expression: IdedExpr) -> IdedExpr {
    let IdedExpr { id, expr } = expression;
    let inner = |boxed: Box<IdedExpr>| Box::new(expand(*boxed));
    let all = |list: Vec<IdedExpr>| list.into_iter().map(expand).collect::<Vec<_>>();
    let entries = |list: Vec<IdedEntryExpr>| list.into_iter().map(entry).collect::<Vec<_>>();
    let expr = match expr {
        Expr::Call(mut call) => {
            call.target = call.target.map(inner);
            call.args = all(call.args);
            expanded(id, call)
        }
        Expr::Comprehension(mut looped) => {
            looped.iter_range = expand(looped.iter_range);
            looped.accu_init = expand(looped.accu_init);
            looped.loop_cond = expand(looped.loop_cond);
            looped.loop_step = expand(looped.loop_step);
            looped.result = expand(looped.result);
            Expr::Comprehension(looped)
        }
        Expr::List(mut list) => {
            list.elements = all(list.elements);
            Expr::List(list)
        }
        Expr::Map(mut map) => {
            map.entries = entries(map.entries);
            Expr::Map(map)
        }
        Expr::Select(mut select) => {
            select.operand = inner(select.operand);
            Expr::Select(select)
        }
        Expr::Struct(made) => Expr::Map(MapExpr { entries: entries(made.entries) }),
        other => other,
    };
    IdedExpr { id, expr }
}

/// The interpreter knows maps only: an object is one with its fields as keys.
fn entry(mut entry: IdedEntryExpr) -> IdedEntryExpr {
    match &mut entry.expr {
        EntryExpr::StructField(field) => {
            let name = LiteralValue::String(unescape(&field.field).as_str().into());
            entry.expr = EntryExpr::MapEntry(MapEntryExpr {
                key: IdedExpr { id: entry.id, expr: Expr::Literal(name) },
                value: expand(std::mem::take(&mut field.value)),
                optional: field.optional,
            });
        }
        EntryExpr::MapEntry(pair) => {
            pair.key = expand(std::mem::take(&mut pair.key));
            pair.value = expand(std::mem::take(&mut pair.value));
        }
    }
    entry
}

fn expanded(id: u64, call: CallExpr) -> Expr {
    let target = call.target.as_deref().map(|target| &target.expr);
    if call.func_name == operators::OPT_SELECT {
        // The interpreter fails on fields that are absent, but not on keys.
        return Expr::Call(CallExpr { func_name: operators::OPT_INDEX.to_owned(), ..call });
    }
    match (call.func_name.as_str(), target, &call.args[..]) {
        ("bind", Some(Expr::Ident(space)), [name, value, body]) if space == "cel" => {
            match &name.expr {
                Expr::Ident(name) => bound(id, name, value.clone(), body.clone()),
                _ => Expr::Call(call),
            }
        }
        ("optMap" | "optFlatMap", Some(_), [name, body]) => match (&name.expr, &call.target) {
            (Expr::Ident(name), Some(target)) => {
                let flat = call.func_name == "optFlatMap";
                mapped(id, Box::clone(target), name, body.clone(), flat)
            }
            _ => Expr::Call(call),
        },
        _ => Expr::Call(call),
    }
}

/// The body with a name for a value: a loop over nothing that starts with the value.
fn bound(id: u64, name: &str, value: IdedExpr, body: IdedExpr) -> Expr {
    let at = |expr: Expr| IdedExpr { id, expr };
    Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: at(Expr::List(ListExpr::new(Vec::new()))),
        iter_var: "#unused".to_owned(),
        iter_var2: None,
        accu_var: name.to_owned(),
        accu_init: value,
        loop_cond: at(Expr::Literal(LiteralValue::Boolean(false.into()))),
        loop_step: at(Expr::Ident(name.to_owned())),
        result: body,
    }))
}

/// What the body makes of the value of an optional, if it has one.
fn mapped(id: u64, target: Box<IdedExpr>, name: &str, body: IdedExpr, flat: bool) -> Expr {
    let at = |expr: Expr| IdedExpr { id, expr };
    let call = |target: Option<Box<IdedExpr>>, name: &str, args: Vec<IdedExpr>| {
        at(Expr::Call(CallExpr { func_name: name.to_owned(), target, args }))
    };
    let optional = || Some(Box::new(at(Expr::Ident("optional".to_owned()))));
    // The optional stands here twice: the interpreter does not keep one in a variable.
    let value = call(Some(target.clone()), "value", Vec::new());
    let body = at(bound(id, name, value, body));
    let found = if flat { body } else { call(optional(), "of", vec![body]) };
    let chosen = vec![
        call(Some(target), "hasValue", Vec::new()),
        found,
        call(optional(), "none", Vec::new()),
    ];
    Expr::Call(CallExpr {
        func_name: operators::CONDITIONAL.to_owned(),
        target: None,
        args: chosen,
    })
}
