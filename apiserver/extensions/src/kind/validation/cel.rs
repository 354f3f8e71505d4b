//! The expressions of `x-kubernetes-validations`: they compile, and cost no more than they may.

use super::{ordered, schema::Place};
use crate::{
    props::{Props, Rule},
    rules::{Compiled, compile},
};
use kubeplane_cel::{EXPRESSION_COST_LIMIT, Environment, SCHEMA_COST_LIMIT, Shape};
use kubeplane_core::field::{Error, Errors, Path};
use serde_json::Value;

/// What is said of rules about values of which the schema does not say what they are.
const UNTYPED: &str = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert structural schema to CEL declarations";

/// The rules of one schema, as they are met.
#[derive(Debug)]
pub(super) struct Rules {
    environment: Environment,
    /// Costs of single rules do not count: the schema was accepted before.
    free: bool,
    total: u64,
    expensive: Vec<(u64, Path)>,
}

impl Rules {
    pub(super) fn new(free: bool) -> Self {
        Self { environment: Environment::new(), free, total: 0, expensive: Vec::new() }
    }

    /// What is wrong with the rules of one node.
    pub(super) fn node(
        &mut self,
        props: &Props,
        json: &Value,
        place: &Place,
        resource: bool,
        count: Option<u64>,
    ) -> Errors {
        let Some(shape) = Shape::of_schema(json, resource) else {
            let at = place.path.child("x-kubernetes-validations");
            return vec![Error::internal(&at, UNTYPED)];
        };
        let mut errors = Vec::new();
        let count = count.unwrap_or_else(|| shape.max_cardinality());
        for (index, rule) in compile(&self.environment, json, props, resource).iter().enumerate() {
            let at = place.path.child("x-kubernetes-validations").index(index);
            errors.extend(self.rule(rule, place, count, &at));
        }
        errors
    }

    fn rule(&mut self, compiled: &Compiled, place: &Place, count: u64, at: &Path) -> Errors {
        let mut errors = Vec::new();
        let rule_at = at.child("rule");
        match &compiled.program {
            Ok(program) => {
                let cost = program.max_cost().saturating_mul(count);
                errors.extend(self.charge("estimated rule cost", cost, &rule_at));
            }
            Err(why) => {
                errors.push(Error::invalid(&rule_at, internal(&compiled.rule), why.as_str()))
            }
        }
        let message_at = at.child("messageExpression");
        match &compiled.message {
            Some(Ok(program)) => {
                errors.extend(self.charge(
                    "estimated messageExpression cost",
                    program.max_cost(),
                    &message_at,
                ));
            }
            Some(Err(why)) if compiled.program.is_ok() => {
                errors.push(Error::invalid(&message_at, internal(&compiled.rule), why.as_str()));
            }
            _ => {}
        }
        if compiled.uses_old() {
            if let Some(above) = &place.uncorrelated {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {above}"
                );
                errors.push(Error::invalid(&rule_at, compiled.rule.rule.as_str(), detail));
            }
        } else if let Some(optional) =
            compiled.rule.optional_old_self.filter(|_| !compiled.is_uninstantiated())
        {
            let detail = "may not be set if oldSelf is not used in rule";
            errors.push(Error::invalid(&at.child("optionalOldSelf"), optional, detail));
        }
        errors
    }

    fn charge(&mut self, name: &str, cost: u64, at: &Path) -> Option<Error> {
        self.total = self.total.saturating_add(cost);
        if cost >= SCHEMA_COST_LIMIT / 100 {
            self.expensive.push((cost, at.clone()));
            self.expensive.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
            self.expensive.truncate(4);
        }
        let over = !self.free && cost > EXPRESSION_COST_LIMIT;
        over.then(|| Error::forbidden(at, exceeds(name, cost, EXPRESSION_COST_LIMIT)))
    }

    /// What is wrong with all rules together.
    pub(super) fn finish(self, path: &Path) -> Errors {
        if self.total <= SCHEMA_COST_LIMIT {
            return Vec::new();
        }
        let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        let mut errors: Errors =
            self.expensive.iter().map(|(_, at)| Error::forbidden(at, detail)).collect();
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(Error::forbidden(path, exceeds(name, self.total, SCHEMA_COST_LIMIT)));
        errors
    }
}

fn exceeds(name: &str, cost: u64, limit: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rough factor is printed")]
    let factor = cost as f64 / limit as f64;
    let factor = match factor {
        factor if factor > 100.0 => "more than 100x".to_owned(),
        factor if factor < 1.5 => format!("{factor:.6}x"),
        factor => format!("{factor:.1}x"),
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}

/// A rule as the original prints it.
fn internal(rule: &Rule) -> Value {
    ordered(&[
        ("Rule", rule.rule.as_str().into()),
        ("Message", rule.message.as_str().into()),
        ("MessageExpression", rule.message_expression.as_str().into()),
        ("Reason", rule.reason.as_deref().into()),
        ("FieldPath", rule.field_path.as_str().into()),
        ("OptionalOldSelf", rule.optional_old_self.into()),
    ])
}
