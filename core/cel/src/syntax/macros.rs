//! What macros stand for.

use super::{Fault, Found, Parser, fault};
use crate::ast::{ACCUMULATOR, Expr, Fold, Kind, Literal, op};
use std::sync::Arc;

/// The variable of loops that run over nothing.
const UNUSED: &str = "#unused";

/// A call, or what its macro makes of it.
pub(super) fn expand(
    parser: &mut Parser,
    place: usize,
    function: Arc<str>,
    target: Option<Expr>,
    args: Vec<Expr>,
) -> Found<Expr> {
    let Some(target) = target else {
        if &*function == "has" && args.len() == 1 {
            return has(parser, place, args);
        }
        return Ok(parser.expr(place, Kind::Call { function, target: None, args }));
    };
    let is_bind = parser.binds
        && &*function == "bind"
        && args.len() == 3
        && matches!(&target.kind, Kind::Ident(name) if &**name == "cel");
    let mut make = Make { parser, place };
    if is_bind {
        return make.bind(args);
    }
    match (&*function, args.len()) {
        ("all" | "exists" | "exists_one" | "existsOne", 2) => {
            make.quantifier(&function, target, args)
        }
        ("map", 2 | 3) => make.map(target, args),
        ("filter", 2) => make.filter(target, args),
        ("all" | "exists" | "exists_one" | "existsOne", 3) => {
            make.quantifier(&function, target, args)
        }
        ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => {
            make.transform(&function, target, args)
        }
        ("optMap", 2) => make.of_optional(target, args, true),
        ("optFlatMap", 2) => make.of_optional(target, args, false),
        ("sortBy", 2) => make.sort_by(target, args),
        _ => {
            let target = Some(Box::new(target));
            Ok(make.parser.expr(place, Kind::Call { function, target, args }))
        }
    }
}

fn has(parser: &mut Parser, place: usize, mut args: Vec<Expr>) -> Found<Expr> {
    let argument = args.remove(0);
    let at = parser.places[argument.id];
    match argument.kind {
        Kind::Select { operand, field, test: false } => {
            Ok(parser.expr(place, Kind::Select { operand, field, test: true }))
        }
        _ => fault(at, "invalid argument to has() macro"),
    }
}

/// Makes parts of an expression, all at one place.
struct Make<'p> {
    parser: &'p mut Parser,
    place: usize,
}

/// The variables of a loop.
struct Items {
    first: Arc<str>,
    second: Option<Arc<str>>,
}

impl Make<'_> {
    fn expr(&mut self, kind: Kind) -> Expr {
        self.parser.expr(self.place, kind)
    }

    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.parser.call(self.place, function, args)
    }

    fn method(&mut self, function: &str, target: Expr, args: Vec<Expr>) -> Expr {
        self.expr(Kind::Call { function: function.into(), target: Some(Box::new(target)), args })
    }

    fn accumulator(&mut self) -> Expr {
        self.expr(Kind::Ident(ACCUMULATOR.into()))
    }

    fn literal(&mut self, value: Literal) -> Expr {
        self.expr(Kind::Literal(value))
    }

    fn list(&mut self, elements: Vec<Expr>) -> Expr {
        self.expr(Kind::List { elements, optional: Vec::new() })
    }

    /// The same with ids of its own.
    fn copy(&mut self, expr: &Expr) -> Expr {
        let place = self.parser.places[expr.id];
        let kind = match &expr.kind {
            kind @ (Kind::Literal(_) | Kind::Ident(_)) => kind.clone(),
            Kind::Select { operand, field, test } => Kind::Select {
                operand: Box::new(self.copy(operand)),
                field: field.clone(),
                test: *test,
            },
            Kind::Call { function, target, args } => Kind::Call {
                function: function.clone(),
                target: target.as_ref().map(|target| Box::new(self.copy(target))),
                args: args.iter().map(|argument| self.copy(argument)).collect(),
            },
            Kind::List { elements, optional } => Kind::List {
                elements: elements.iter().map(|element| self.copy(element)).collect(),
                optional: optional.clone(),
            },
            Kind::Map(entries) => Kind::Map(
                entries
                    .iter()
                    .map(|entry| crate::ast::Entry {
                        key: self.copy(&entry.key),
                        value: self.copy(&entry.value),
                        optional: entry.optional,
                    })
                    .collect(),
            ),
            Kind::Struct { name, fields } => {
                let mut copied = Vec::new();
                for field in fields {
                    let place = self.parser.places[field.id];
                    let id = self.parser.id(place);
                    let value = self.copy(&field.value);
                    copied.push(crate::ast::Field { id, value, ..field.clone() });
                }
                Kind::Struct { name: name.clone(), fields: copied }
            }
            Kind::Fold(fold) => Kind::Fold(Box::new(Fold {
                range: self.copy(&fold.range),
                item: fold.item.clone(),
                item2: fold.item2.clone(),
                accu: fold.accu.clone(),
                start: self.copy(&fold.start),
                goes_on: self.copy(&fold.goes_on),
                step: self.copy(&fold.step),
                result: self.copy(&fold.result),
            })),
        };
        self.parser.expr(place, kind)
    }

    /// The variables that the first arguments name.
    fn items(&mut self, args: &mut Vec<Expr>, two: bool) -> Found<Items> {
        let first = self.item(args.remove(0))?;
        if !two {
            return Ok(Items { first, second: None });
        }
        let at = self.parser.places[args[0].id];
        let second = self.item(args.remove(0))?;
        if first == second {
            return fault(at, format!("duplicate variable name: {first}"));
        }
        Ok(Items { first, second: Some(second) })
    }

    fn item(&mut self, argument: Expr) -> Found<Arc<str>> {
        let at = self.parser.places[argument.id];
        match argument.kind {
            Kind::Ident(name) if &*name == "__result__" => {
                fault(at, "iteration variable overwrites accumulator variable")
            }
            Kind::Ident(name) => Ok(name),
            _ => fault(at, "argument must be a simple name"),
        }
    }

    fn fold(&mut self, range: Expr, items: Items, parts: [Expr; 4]) -> Expr {
        let [start, goes_on, step, result] = parts;
        let Items { first: item, second: item2 } = items;
        let accu = ACCUMULATOR.into();
        self.expr(Kind::Fold(Box::new(Fold {
            range,
            item,
            item2,
            accu,
            start,
            goes_on,
            step,
            result,
        })))
    }

    fn quantifier(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Found<Expr> {
        let two = args.len() == 3;
        let items = self.items(&mut args, two)?;
        let predicate = args.remove(0);
        let parts = match function {
            "all" => {
                let start = self.literal(Literal::Bool(true));
                let accumulated = self.accumulator();
                let goes_on = self.call(op::NOT_STRICTLY_FALSE, vec![accumulated]);
                let accumulated = self.accumulator();
                let step = self.call(op::AND, vec![accumulated, predicate]);
                [start, goes_on, step, self.accumulator()]
            }
            "exists" => {
                let start = self.literal(Literal::Bool(false));
                let accumulated = self.accumulator();
                let not = self.call(op::NOT, vec![accumulated]);
                let goes_on = self.call(op::NOT_STRICTLY_FALSE, vec![not]);
                let accumulated = self.accumulator();
                let step = self.call(op::OR, vec![accumulated, predicate]);
                [start, goes_on, step, self.accumulator()]
            }
            _ => {
                let start = self.literal(Literal::Int(0));
                let goes_on = self.literal(Literal::Bool(true));
                let one = self.literal(Literal::Int(1));
                let accumulated = self.accumulator();
                let more = self.call(op::ADD, vec![accumulated, one]);
                let same = self.accumulator();
                let step = self.call(op::CONDITIONAL, vec![predicate, more, same]);
                let accumulated = self.accumulator();
                let one = self.literal(Literal::Int(1));
                let result = self.call(op::EQUALS, vec![accumulated, one]);
                [start, goes_on, step, result]
            }
        };
        Ok(self.fold(target, items, parts))
    }

    /// The step that appends a value to the list, where the condition holds.
    fn appended(&mut self, value: Expr, condition: Option<Expr>) -> Expr {
        let item = self.list(vec![value]);
        let accumulated = self.accumulator();
        let step = self.call(op::ADD, vec![accumulated, item]);
        self.conditional(step, condition)
    }

    fn conditional(&mut self, step: Expr, condition: Option<Expr>) -> Expr {
        let Some(condition) = condition else { return step };
        let same = self.accumulator();
        self.call(op::CONDITIONAL, vec![condition, step, same])
    }

    fn collected(&mut self, target: Expr, items: Items, start: Expr, step: Expr) -> Expr {
        let goes_on = self.literal(Literal::Bool(true));
        let result = self.accumulator();
        self.fold(target, items, [start, goes_on, step, result])
    }

    fn map(&mut self, target: Expr, mut args: Vec<Expr>) -> Found<Expr> {
        let items = self.items(&mut args, false)?;
        let condition = (args.len() == 2).then(|| args.remove(0));
        let start = self.list(Vec::new());
        let step = self.appended(args.remove(0), condition);
        Ok(self.collected(target, items, start, step))
    }

    fn filter(&mut self, target: Expr, mut args: Vec<Expr>) -> Found<Expr> {
        let kept = args[0].clone();
        let items = self.items(&mut args, false)?;
        let start = self.list(Vec::new());
        let step = self.appended(kept, Some(args.remove(0)));
        Ok(self.collected(target, items, start, step))
    }

    fn transform(&mut self, function: &str, target: Expr, mut args: Vec<Expr>) -> Found<Expr> {
        let items = self.items(&mut args, true)?;
        let condition = (args.len() == 2).then(|| args.remove(0));
        let value = args.remove(0);
        if function == "transformList" {
            let start = self.list(Vec::new());
            let step = self.appended(value, condition);
            return Ok(self.collected(target, items, start, step));
        }
        let start = self.expr(Kind::Map(Vec::new()));
        let accumulated = self.accumulator();
        let mut inserted = vec![accumulated];
        if function == "transformMap" {
            inserted.push(self.expr(Kind::Ident(items.first.clone())));
        }
        inserted.push(value);
        let step = self.call("cel.@mapInsert", inserted);
        let step = self.conditional(step, condition);
        Ok(self.collected(target, items, start, step))
    }

    /// `name` bound to a value in an expression.
    fn bound(&mut self, name: Arc<str>, value: Expr, result: Expr) -> Expr {
        let range = self.list(Vec::new());
        let goes_on = self.literal(Literal::Bool(false));
        let step = self.expr(Kind::Ident(name.clone()));
        self.expr(Kind::Fold(Box::new(Fold {
            range,
            item: UNUSED.into(),
            item2: None,
            accu: name,
            start: value,
            goes_on,
            step,
            result,
        })))
    }

    fn bind(&mut self, mut args: Vec<Expr>) -> Found<Expr> {
        let at = self.parser.places[args[0].id];
        let Kind::Ident(name) = args.remove(0).kind else {
            return fault(at, "cel.bind() variable names must be simple identifiers");
        };
        let value = args.remove(0);
        Ok(self.bound(name, value, args.remove(0)))
    }

    fn of_optional(&mut self, target: Expr, mut args: Vec<Expr>, wrap: bool) -> Found<Expr> {
        let at = self.parser.places[args[0].id];
        let Kind::Ident(name) = args.remove(0).kind else {
            let name = if wrap { "optMap()" } else { "optFlatMap()" };
            return fault(at, format!("{name} variable name must be a simple identifier"));
        };
        let copy = self.copy(&target);
        let has = self.method("hasValue", target, Vec::new());
        let value = self.method("value", copy, Vec::new());
        let mut made = self.bound(name, value, args.remove(0));
        if wrap {
            made = self.call("optional.of", vec![made]);
        }
        let none = self.call("optional.none", Vec::new());
        Ok(self.call(op::CONDITIONAL, vec![has, made, none]))
    }

    fn sort_by(&mut self, target: Expr, args: Vec<Expr>) -> Found<Expr> {
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let place = self.parser.places[target.id];
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err(Fault { place, message: message.to_owned(), grammar: false });
        }
        let input: Arc<str> = "@__sortBy_input__".into();
        let range = self.expr(Kind::Ident(input.clone()));
        let keys = self.map(range, args)?;
        let list = self.expr(Kind::Ident(input.clone()));
        let sorted = self.method("@sortByAssociatedKeys", list, vec![keys]);
        Ok(self.bound(input, target, sorted))
    }
}
