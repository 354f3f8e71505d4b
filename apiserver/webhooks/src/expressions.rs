//! Expressions of configurations: compiled once, evaluated over one write within a budget.

use crate::{attributes::namespace, metrics::About, shared::Shared};
use kubeplane_cel::{
    Activation, Answer, Authorizer, Bound, Check, Environment, Error, Program, Scope, Shape, Type,
};
use kubeplane_core::{
    Object,
    admission::Request,
    auth::{Attributes, Decision, GROUP_AUTHENTICATED, UserInfo},
};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

/// What one expression may cost.
const PER_EXPRESSION: u64 = 1_000_000;
/// What all expressions of a policy may cost for one binding and parameter.
pub(crate) const POLICY_BUDGET: u64 = 10_000_000;
/// What all match conditions of a webhook or policy may cost.
pub(crate) const CONDITIONS_BUDGET: u64 = 2_500_000;
/// How deep variables may use one another: evaluating one goes down with it.
const DEEPEST: usize = 100;
/// How often an expression is evaluated again because it asked the authorizer something new.
const ROUNDS: usize = 64;

/// The shape of a namespace as far as policies may see it: its times are times.
static NAMESPACE: LazyLock<Option<Shape>> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let map = json!({"type": "object", "additionalProperties": text});
    let number = json!({"type": "integer"});
    let texts = json!({"type": "array", "items": text});
    let metadata = json!({"type": "object", kubeplane_cel::PLAIN_NAMES: true, "properties": {
        "name": text, "generateName": text, "namespace": text, "uid": text, "resourceVersion": text,
        "labels": map, "annotations": map, "creationTimestamp": time, "deletionTimestamp": time,
        "generation": number, "deletionGracePeriodSeconds": number, "finalizers": texts,
    }});
    let condition = json!({"type": "object", "properties": {
        "status": text, "type": text, "message": text, "reason": text, "lastTransitionTime": time,
    }});
    let conditions = json!({"type": "array", "items": condition});
    let schema = json!({"type": "object", "properties": {
        "metadata": metadata,
        "spec": {"type": "object", "properties": {"finalizers": texts}},
        "status": {"type": "object", "properties": {"phase": text, "conditions": conditions}},
    }});
    Shape::of_schema(&schema, false)
});

/// What expressions see besides the variables of their policy.
static SCOPE: LazyLock<Scope> =
    LazyLock::new(|| Scope::admission().with_authorizer().with("params", Type::Dyn).with_objects());

/// The scope of expressions before any variable.
pub(crate) fn scope() -> Scope {
    SCOPE.clone()
}

/// One expression.
#[derive(Debug)]
pub(crate) struct Expression {
    pub(crate) source: String,
    program: Result<Program, String>,
}

impl Expression {
    pub(crate) fn compile(environment: &Environment, source: &str, scope: &Scope) -> Self {
        let program = environment.compile_in(source, scope, None).map_err(|error| match error {
            Error::Instantiate(_) => error.to_string(),
            other => format!("compilation failed: {other}"),
        });
        Self { source: source.to_owned(), program }
    }

    /// The expression under a key of a map, if there is one.
    pub(crate) fn at(
        environment: &Environment,
        map: &Value,
        key: &str,
        scope: &Scope,
    ) -> Option<Self> {
        let source = map.get(key).and_then(Value::as_str)?;
        (!source.is_empty()).then(|| Self::compile(environment, source, scope))
    }

    /// The type of a variable with this expression.
    pub(crate) fn declared(&self) -> Type {
        self.program.as_ref().map_or(Type::Dyn, |program| program.returns().declared())
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
pub(crate) struct Inputs<'n> {
    object: Option<Object>,
    old: Option<Object>,
    request: Map<String, Value>,
    namespace: Option<&'n Object>,
    resource: Check,
}

fn whole(object: Option<&Object>) -> Bound<'_> {
    object.map_or_else(Bound::null, |object| Bound::object(object.map()))
}

impl<'n> Inputs<'n> {
    /// Of the objects in the version that is looked at, and the `request` made for it.
    pub(crate) fn new(
        request: &Request<'_>,
        described: Map<String, Value>,
        (object, old): (Option<Object>, Option<Object>),
        namespace_object: Option<&'n Object>,
    ) -> Self {
        let kind = &request.definition.kind;
        Self {
            object,
            old,
            request: described,
            namespace: namespace_object,
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
    pub(crate) fn activation(&self, authorizer: &Authorizer) -> Activation<'_> {
        let namespace = match (self.namespace, NAMESPACE.as_ref()) {
            (Some(namespace), Some(shape)) => shape.bind_object(namespace.map()),
            _ => Bound::null(),
        };
        let mut activation = Activation::new()
            .with("object", whole(self.object.as_ref()))
            .with("oldObject", whole(self.old.as_ref()))
            .with("request", Bound::object(&self.request))
            .with("namespaceObject", namespace)
            .with("params", Bound::null());
        activation.set_authorizer(authorizer, &self.resource);
        activation
    }
}

/// Evaluates the expressions of one policy, binding and parameter, or of one webhook.
pub(crate) struct Evaluation<'a> {
    activation: Activation<'a>,
    variables: &'a [Variable],
    /// Those that were asked for; what failed fails where it is used.
    known: BTreeMap<&'a str, Bound<'a>>,
    left: u64,
    /// How many variables wait for others.
    waiting: usize,
}

impl<'a> Evaluation<'a> {
    pub(crate) fn new(
        base: &Activation<'a>,
        variables: &'a [Variable],
        params: Option<Bound<'a>>,
        budget: u64,
    ) -> Self {
        let mut activation = base.clone();
        if let Some(params) = params {
            activation.set("params", params);
        }
        if !variables.is_empty() {
            activation.set("variables", Bound::map([]));
            activation.set_on_demand("variables");
        }
        Self { activation, variables, known: BTreeMap::new(), left: budget, waiting: 0 }
    }

    /// The value of an expression.
    pub(crate) fn evaluate(&mut self, expression: &'a Expression) -> Result<Bound<'a>, Failure> {
        let program = expression
            .program
            .as_ref()
            .map_err(|why| Failure::Wrong(format!("compilation error: {why}")))?;
        let (result, cost) = self.run(program)?;
        self.spend(cost)?;
        result.map_err(|error| {
            let source = &expression.source;
            Failure::Wrong(format!("expression '{source}' resulted in error: {error}"))
        })
    }

    fn spend(&mut self, cost: u64) -> Result<(), Failure> {
        self.left = self.left.checked_sub(cost).ok_or(Failure::Budget)?;
        Ok(())
    }

    /// Runs a program, again after each variable that it turns out to need.
    fn run(&mut self, program: &'a Program) -> Result<(Result<Bound<'a>, Error>, u64), Failure> {
        loop {
            let evaluated = program.run(&self.activation, PER_EXPRESSION);
            match evaluated.result {
                Err(Error::Needs(name)) => self.fill(&name)?,
                result => return Ok((result, evaluated.cost)),
            }
        }
    }

    /// Evaluates a variable. Those it uses stand before it, so that this ends.
    fn fill(&mut self, name: &str) -> Result<(), Failure> {
        let Some(variable) = self.variables.iter().find(|variable| variable.name == name) else {
            return Err(Failure::Wrong(format!("no such key: {name}")));
        };
        let value = match &variable.expression.program {
            Err(why) => Err(format!("composited variable {name:?} fails to compile: {why}")),
            Ok(_) if self.waiting >= DEEPEST => {
                Err(format!("composited variable {name:?} is used by {DEEPEST} others in turn"))
            }
            Ok(program) => {
                self.waiting += 1;
                let ran = self.run(program);
                self.waiting -= 1;
                let (result, cost) = ran?;
                self.spend(cost)?;
                result
                    .map_err(|why| format!("composited variable {name:?} fails to evaluate: {why}"))
            }
        };
        self.known.insert(&variable.name, value.unwrap_or_else(Bound::failed));
        let known = self.known.iter().map(|(name, value)| (*name, value.clone()));
        self.activation.set("variables", Bound::map(known));
        Ok(())
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
        let scope = scope();
        Self(sources.map(|source| Expression::compile(environment, source, &scope)).collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn evaluate<'a>(
        &'a self,
        evaluation: &mut Evaluation<'a>,
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
                // Nothing is known any more of those that failed before.
                Err(Failure::Budget) => return Verdict::Failed(Failure::Budget.message()),
                Err(failure) => {
                    shared.counters.condition_failed(about);
                    let why = failure.message();
                    if !wrong.contains(&why) {
                        wrong.push(why);
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
