//! Calls: which forms of a function are meant, and of what type the outcome is.

use super::{Checker, Meaning};
use crate::{
    ast::{Expr, Kind, Literal, op},
    declarations::{Overload, overloads},
    types::Type,
};
use std::sync::Arc;

impl Checker<'_> {
    pub(super) fn call(
        &mut self,
        expr: &Expr,
        function: &Arc<str>,
        target: Option<&Expr>,
        args: &[Expr],
    ) {
        if &**function == op::OPT_SELECT
            && let [operand, Expr { kind: Kind::Literal(Literal::String(field)), .. }] = args
        {
            let found = self.selected(expr, operand, field, true);
            let of = self.mapping.substitute(&found, false);
            self.set(expr.id, of);
            let forms = vec!["select_optional_field"];
            return self.mean(expr.id, Meaning::Function(function.clone(), forms, false));
        }
        args.iter().for_each(|argument| self.check(argument));
        let Some(target) = target else {
            let name = function.strip_prefix('.').unwrap_or(function);
            let Some(forms) = overloads(name) else {
                self.set(expr.id, Type::Error);
                return self.undeclared(expr.id, function);
            };
            return self.resolve(expr, &name.into(), forms, None, args, false);
        };
        if let Some(prefix) = target.dotted() {
            let name = format!("{}.{function}", prefix.strip_prefix('.').unwrap_or(&prefix));
            let is_known = self.scope.objects || name != "jsonpatch.escapeKey";
            if let Some(forms) = overloads(&name).filter(|_| is_known) {
                return self.resolve(expr, &name.into(), forms, None, args, true);
            }
        }
        self.check(target);
        match overloads(function) {
            Some(forms) => self.resolve(expr, function, forms, Some(target), args, false),
            None => {
                self.set(expr.id, Type::Error);
                self.undeclared(expr.id, function);
            }
        }
    }

    fn resolve(
        &mut self,
        expr: &Expr,
        name: &Arc<str>,
        forms: &'static [Overload],
        target: Option<&Expr>,
        args: &[Expr],
        whole: bool,
    ) {
        let types: Vec<Type> = target.into_iter().chain(args).map(|one| self.of(one)).collect();
        let (mut found, mut result): (Vec<&'static str>, Option<Type>) = (Vec::new(), None);
        for form in forms.iter().filter(|form| form.member == target.is_some()) {
            if matches!(&**name, op::AND | op::OR) {
                return self.logical(expr, name, form, args, &types);
            }
            let (wanted, returned) = self.instance(form);
            let wanted: Vec<&Type> = wanted.iter().collect();
            let given: Vec<&Type> = types.iter().collect();
            if !self.mapping.assign_all(&given, &wanted) {
                continue;
            }
            found.push(form.id);
            let returned = self.mapping.substitute(&returned, false);
            result = Some(match result {
                None => returned,
                Some(before) if before.is_dyn() || returned.is(&before) => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            let names: Vec<String> =
                types.iter().map(|of| self.mapping.substitute(of, true).to_string()).collect();
            let applied = match (target, names.split_first()) {
                (Some(_), Some((target, args))) => format!("{target}.({})", args.join(", ")),
                _ => format!("({})", names.join(", ")),
            };
            self.set(expr.id, Type::Error);
            return self.report(
                expr.id,
                format!("found no matching overload for '{name}' applied to '{applied}'"),
            );
        };
        self.set(expr.id, result);
        self.mean(expr.id, Meaning::Function(name.clone(), found, whole));
    }

    fn logical(
        &mut self,
        expr: &Expr,
        name: &Arc<str>,
        form: &'static Overload,
        args: &[Expr],
        types: &[Type],
    ) {
        let mut sound = true;
        for (argument, of) in args.iter().zip(types) {
            if !self.mapping.assign(of, &Type::Bool) {
                self.mismatch(argument.id, &Type::Bool, of);
                sound = false;
            }
        }
        self.set(expr.id, if sound { Type::Bool } else { Type::Error });
        if sound {
            self.mean(expr.id, Meaning::Function(name.clone(), vec![form.id], false));
        }
    }

    /// A form with types of its own for those that stand for any.
    fn instance(&mut self, form: &Overload) -> (Vec<Type>, Type) {
        if form.params.is_empty() {
            return (form.args.clone(), form.result.clone());
        }
        let fresh: Vec<(&Arc<str>, Type)> =
            form.params.iter().map(|name| (name, self.mapping.fresh())).collect();
        fn replaced(of: &Type, fresh: &[(&Arc<str>, Type)]) -> Type {
            match of {
                Type::Param(name) => {
                    let found = fresh.iter().find(|(param, _)| *param == name);
                    found.map_or(Type::Dyn, |(_, of)| of.clone())
                }
                other => other.with(&mut |part| replaced(part, fresh)),
            }
        }
        let args = form.args.iter().map(|of| replaced(of, &fresh)).collect();
        (args, replaced(&form.result, &fresh))
    }
}
