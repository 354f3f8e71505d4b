//! Expressions of configurations: compiled once, evaluated over one write within a budget.

use crate::{attributes::namespace, metrics::About, shared::Shared};
use kubeplane_cel::{
    Activation, Answer, Authorizer, Bound, Check, Environment, Error, Program, Shape,
};
use kubeplane_core::{
    Object,
    admission::Request,
    auth::{Attributes, Decision, GROUP_AUTHENTICATED, UserInfo},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
};

/// What one expression may cost.
const PER_EXPRESSION: u64 = 1_000_000;
/// What all expressions of a policy may cost for one binding and parameter.
pub(crate) const POLICY_BUDGET: u64 = 10_000_000;
/// What all match conditions of a webhook or policy may cost.
pub(crate) const CONDITIONS_BUDGET: u64 = 2_500_000;
/// How often an expression is evaluated again because it asked the authorizer something new.
const ROUNDS: usize = 64;

/// The names expressions may use; types are checked when a configuration is written.
const NAMES: [&str; 7] =
    ["object", "oldObject", "request", "namespaceObject", "params", "authorizer", "variables"];

static ANY: LazyLock<Option<Shape>> =
    LazyLock::new(|| Shape::of_schema(&json!({"x-kubernetes-int-or-string": true}), false));

/// A namespace's times are times; the rest is as it is in JSON.
static TIME: LazyLock<Option<Shape>> =
    LazyLock::new(|| Shape::of_schema(&json!({"type": "string", "format": "date-time"}), false));

/// One expression.
#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) source: String,
    program: Result<Program, String>,
    /// The policy's variables it uses; `None` for all.
    needs: Option<BTreeSet<String>>,
}

impl Expression {
    pub(crate) fn compile(environment: &Environment, source: &str) -> Self {
        let shapes = ANY.as_ref().map(|any| NAMES.map(|name| (name, any)));
        let program = environment
            .compile(source, shapes.as_ref().map(<[_; 7]>::as_slice).unwrap_or_default())
            .map(Program::metered)
            .map_err(|error| format!("compilation failed: {error}"));
        let needs = program.as_ref().ok().and_then(|program| program.fields_of("variables"));
        Self { source: source.to_owned(), program, needs }
    }

    /// The expression under a key of a map, if there is one.
    pub(crate) fn at(environment: &Environment, map: &Value, key: &str) -> Option<Self> {
        let source = map.get(key).and_then(Value::as_str)?;
        (!source.is_empty()).then(|| Self::compile(environment, source))
    }
}

/// A variable of a policy.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: String,
    pub(crate) expression: Expression,
}

/// Why an expression has no value.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing is left to spend on it and on those after it.
    Budget,
    /// It failed; in the original's words.
    Wrong(String),
}

impl Failure {
    pub(crate) fn message(&self) -> String {
        match self {
            Self::Budget => "validation failed due to running out of cost budget, no further validation rules will be run".to_owned(),
            Self::Wrong(message) => message.clone(),
        }
    }
}

/// What expressions see of a write.
#[derive(Debug)]
pub(crate) struct Inputs {
    object: Bound,
    old: Bound,
    request: Bound,
    namespace: Bound,
    resource: Check,
}

fn whole(object: Option<&Object>) -> Bound {
    // Borrowing the map would need a copy as well.
    let value = object.map_or(Value::Null, |object| Value::Object(object.map().clone()));
    Bound::plain(&value)
}

impl Inputs {
    /// Of the objects in the version that is looked at, and the `request` made for it.
    pub(crate) fn new(
        request: &Request<'_>,
        described: Map<String, Value>,
        object: Option<&Object>,
        old: Option<&Object>,
        namespace_object: Option<&Object>,
    ) -> Self {
        let kind = &request.definition.kind;
        Self {
            object: whole(object),
            old: whole(old),
            request: Bound::plain(&Value::Object(described)),
            namespace: namespace_object.map_or(Bound::plain(&Value::Null), described_namespace),
            resource: Check {
                group: kind.group.to_string(),
                resource: request.definition.plural.to_string(),
                subresource: request.subresource.to_owned(),
                namespace: namespace(request).to_owned(),
                name: request.name.to_owned(),
                ..Check::default()
            },
        }
    }

    /// All variables but a policy's own.
    pub(crate) fn activation<'e>(
        &self,
        environment: &'e Environment,
        authorizer: &Authorizer,
    ) -> Activation<'e> {
        let mut activation = environment.activation(PER_EXPRESSION);
        activation.set("object", &self.object);
        activation.set("oldObject", &self.old);
        activation.set("request", &self.request);
        activation.set("namespaceObject", &self.namespace);
        activation.set("params", &Bound::plain(&Value::Null));
        activation.set_authorizer(authorizer, &self.resource);
        activation
    }
}

/// The parts of a namespace that policies may see.
fn described_namespace(namespace: &Object) -> Bound {
    let part = |key: &str| Bound::plain(namespace.map().get(key).unwrap_or(&Value::Null));
    let metadata = namespace.at(&["metadata"]).and_then(Value::as_object);
    let shown = metadata.into_iter().flatten();
    let shown = shown.filter(|(key, _)| *key != "managedFields" && *key != "ownerReferences");
    let fields: Vec<(&str, Bound)> = shown
        .map(|(key, value)| match (key.as_str(), TIME.as_ref()) {
            (key @ ("creationTimestamp" | "deletionTimestamp"), Some(time)) => {
                (key, time.bind(value))
            }
            (key, _) => (key, Bound::plain(value)),
        })
        .collect();
    let metadata = Bound::map(fields.iter().map(|(key, value)| (*key, value)));
    let (spec, status) = (part("spec"), part("status"));
    Bound::map([("metadata", &metadata), ("spec", &spec), ("status", &status)])
}

/// Evaluates the expressions of one policy, binding and parameter, or of one webhook.
pub(crate) struct Evaluation<'a> {
    activation: Activation<'a>,
    variables: &'a [Variable],
    known: BTreeMap<&'a str, Result<Bound, String>>,
    left: u64,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(
        base: &'a Activation<'_>,
        variables: &'a [Variable],
        params: Option<&Bound>,
        budget: u64,
    ) -> Self {
        let mut activation = base.inner(PER_EXPRESSION);
        if let Some(params) = params {
            activation.set("params", params);
        }
        Self { activation, variables, known: BTreeMap::new(), left: budget }
    }

    /// The value of an expression.
    pub(crate) fn evaluate(&mut self, expression: &Expression) -> Result<Bound, Failure> {
        self.value(expression, self.variables.len())
    }

    /// Its value, where it can use the first so many variables.
    fn value(&mut self, expression: &Expression, visible: usize) -> Result<Bound, Failure> {
        let program = expression
            .program
            .as_ref()
            .map_err(|why| Failure::Wrong(format!("compilation error: {why}")))?;
        let broken = self.fill(&expression.needs, visible)?;
        let budget = self.left.min(PER_EXPRESSION);
        let mut inner = self.activation.inner(budget);
        if visible > 0 {
            let known = self.known.iter();
            let values = known.filter_map(|(name, value)| Some((*name, value.as_ref().ok()?)));
            inner.set("variables", &Bound::map(values));
        }
        let result = program.run(&inner);
        self.left -= budget - inner.left();
        match result {
            Ok(value) => Ok(value),
            Err(Error::Budget) if self.left == 0 => Err(Failure::Budget),
            Err(error) => {
                let why = broken.unwrap_or_else(|| error.to_string());
                Err(Failure::Wrong(format!(
                    "expression '{}' resulted in error: {why}",
                    expression.source
                )))
            }
        }
    }

    /// Evaluates the variables that are needed; returns why one of them has no value.
    fn fill(
        &mut self,
        needs: &Option<BTreeSet<String>>,
        visible: usize,
    ) -> Result<Option<String>, Failure> {
        let mut broken = None;
        for (index, variable) in self.variables.iter().enumerate().take(visible) {
            if needs.as_ref().is_some_and(|needs| !needs.contains(&variable.name)) {
                continue;
            }
            if !self.known.contains_key(variable.name.as_str()) {
                let value = match self.value(&variable.expression, index) {
                    Ok(value) => Ok(value),
                    Err(Failure::Budget) => return Err(Failure::Budget),
                    Err(Failure::Wrong(why)) => Err(format!(
                        "composited variable {:?} fails to evaluate: {why}",
                        variable.name
                    )),
                };
                self.known.insert(&variable.name, value);
            }
            if let Some(Err(why)) = self.known.get(variable.name.as_str()) {
                broken.get_or_insert_with(|| why.clone());
            }
        }
        Ok(broken)
    }
}

/// Conditions that all have to hold.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Vec<Expression>);

/// What match conditions came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Matches,
    Excluded,
    /// None is false, and at least one failed.
    Failed(String),
}

impl Conditions {
    /// The `matchConditions` of a webhook or a policy.
    pub(crate) fn of(environment: &Environment, owner: &Value) -> Self {
        let list = owner.get("matchConditions").and_then(Value::as_array).into_iter().flatten();
        let sources = list.filter_map(|one| one.get("expression").and_then(Value::as_str));
        Self(sources.map(|source| Expression::compile(environment, source)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn evaluate(
        &self,
        evaluation: &mut Evaluation<'_>,
        shared: &Shared,
        about: About<'_>,
    ) -> Verdict {
        let mut wrong = Vec::new();
        for condition in &self.0 {
            match evaluation.evaluate(condition) {
                Ok(value) if value.as_bool() == Some(false) => {
                    shared.counters.excluded(about);
                    return Verdict::Excluded;
                }
                Ok(_) => {}
                Err(failure) => {
                    shared.counters.condition_failed(about);
                    wrong.push(failure.message());
                    if matches!(failure, Failure::Budget) {
                        break;
                    }
                }
            }
        }
        match wrong.as_slice() {
            [] => Verdict::Matches,
            [one] => Verdict::Failed(one.clone()),
            many => Verdict::Failed(format!("[{}]", many.join(", "))),
        }
    }
}

/// Evaluates until no expression waits for an answer of the authorizer.
pub(crate) async fn answered<T>(
    shared: &Shared,
    user: &UserInfo,
    authorizer: &Authorizer,
    mut evaluate: impl FnMut() -> T + Send,
) -> T
where
    T: Send,
{
    for _ in 0..ROUNDS {
        let result = evaluate();
        let open = authorizer.take_open();
        if open.is_empty() {
            return result;
        }
        drop(result);
        for check in open {
            let answer = decide(shared, user, &check).await;
            authorizer.answer(check, answer);
        }
    }
    evaluate()
}

async fn decide(shared: &Shared, user: &UserInfo, check: &Check) -> Answer {
    let Some(server) = shared.server() else {
        return Answer { error: "no authorizer".to_owned(), ..Answer::default() };
    };
    let user = match &check.service_account {
        None => user.clone(),
        Some((namespace, name)) => UserInfo::new(
            format!("system:serviceaccount:{namespace}:{name}"),
            [
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                GROUP_AUTHENTICATED.to_owned(),
            ],
        ),
    };
    let attributes = Attributes {
        user: Arc::new(user),
        verb: check.verb.clone(),
        namespace: check.namespace.clone(),
        group: check.group.clone(),
        version: if check.resource.is_empty() { String::new() } else { "*".to_owned() },
        resource: check.resource.clone(),
        subresource: check.subresource.clone(),
        name: check.name.clone(),
        path: check.path.clone(),
        field_selector: check.field_selector.clone(),
        label_selector: check.label_selector.clone(),
    };
    match server.authorizer.authorize(&attributes).await {
        Decision::Allow(reason) => Answer { allowed: true, reason, ..Answer::default() },
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            Answer { reason, ..Answer::default() }
        }
    }
}
