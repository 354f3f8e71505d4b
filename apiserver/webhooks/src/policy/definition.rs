//! Policies and bindings with everything compiled.

use crate::{
    expressions::{Conditions, Expression, Variable, scope},
    matching::Matching,
};
use kubeplane_cel::{Environment, Scope};
use kubeplane_core::{GroupVersion, Object, selector::LabelSelector};
use serde_json::Value;

/// The kind of a policy's parameters.
#[derive(Debug)]
pub(super) struct ParamKind {
    pub(super) version: GroupVersion,
    pub(super) kind: String,
}

/// What a policy of either sort has.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    /// Failures do not matter.
    pub(super) ignore: bool,
    pub(super) matching: Matching,
    pub(super) conditions: Conditions,
    pub(super) variables: Vec<Variable>,
    pub(super) param_kind: Option<ParamKind>,
    pub(super) validations: Vec<Validation>,
    /// Keys with the expressions of their values.
    pub(super) annotations: Vec<(String, Expression)>,
    pub(super) mutations: Vec<Mutation>,
    /// It is evaluated again when others changed what it saw.
    pub(super) again: bool,
}

/// One thing that has to be true.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) message_expression: Option<Expression>,
    pub(super) reason: String,
}

/// One change.
#[derive(Debug)]
pub(super) enum Mutation {
    /// The expression makes a part of the object, to be merged into it.
    Apply(Expression),
    /// The expression makes a list of JSON patch operations.
    Patch(Expression),
}

fn texts<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

impl Policy {
    pub(super) fn of(environment: &Environment, object: &Object) -> Self {
        let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
        let mut scope = scope().with_variables();
        let variables: Vec<Variable> = items(spec, "variables")
            .map(|one| {
                let source = texts(one, "expression");
                let expression = Expression::compile(environment, source, &scope);
                let name = texts(one, "name").to_owned();
                scope = scope.clone().with_variable(&name, expression.declared());
                Variable { name, expression }
            })
            .collect();
        let compile =
            |value: &Value, key: &str| Expression::compile(environment, texts(value, key), &scope);
        Self {
            name: object.name().to_owned(),
            ignore: texts(spec, "failurePolicy") == "Ignore",
            matching: Matching::of_resources(spec.get("matchConstraints").unwrap_or(&Value::Null)),
            conditions: Conditions::of(environment, spec),
            variables,
            param_kind: spec.get("paramKind").filter(|kind| kind.is_object()).map(ParamKind::of),
            validations: items(spec, "validations")
                .map(|one| Validation {
                    expression: compile(one, "expression"),
                    message: texts(one, "message").trim().to_owned(),
                    message_expression: Expression::at(
                        environment,
                        one,
                        "messageExpression",
                        &scope,
                    ),
                    reason: texts(one, "reason").to_owned(),
                })
                .collect(),
            annotations: items(spec, "auditAnnotations")
                .map(|one| (texts(one, "key").to_owned(), compile(one, "valueExpression")))
                .collect(),
            mutations: items(spec, "mutations")
                .filter_map(|one| Mutation::of(environment, one, &scope))
                .collect(),
            again: texts(spec, "reinvocationPolicy") == "IfNeeded",
        }
    }
}

impl ParamKind {
    fn of(value: &Value) -> Self {
        let version = GroupVersion::parse(texts(value, "apiVersion")).unwrap_or_default();
        Self { version, kind: texts(value, "kind").to_owned() }
    }
}

impl Mutation {
    fn of(environment: &Environment, value: &Value, scope: &Scope) -> Option<Self> {
        let expression =
            |key: &str| Expression::at(environment, value.get(key)?, "expression", scope);
        match texts(value, "patchType") {
            "ApplyConfiguration" => expression("applyConfiguration").map(Self::Apply),
            "JSONPatch" => expression("jsonPatch").map(Self::Patch),
            _ => None,
        }
    }
}

/// Which parameters a binding names.
#[derive(Debug)]
pub(super) struct ParamRef {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) selector: Option<Result<LabelSelector, String>>,
    /// A write is refused when there is none.
    pub(super) deny: bool,
}

/// A binding of a policy.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) matching: Matching,
    pub(super) param_ref: Option<ParamRef>,
    pub(super) actions: Vec<String>,
}

impl Binding {
    pub(super) fn of(object: &Object) -> Self {
        let spec = object.at(&["spec"]).unwrap_or(&Value::Null);
        let actions = items(spec, "validationActions").filter_map(Value::as_str);
        Self {
            name: object.name().to_owned(),
            policy: texts(spec, "policyName").to_owned(),
            matching: Matching::of_resources(spec.get("matchResources").unwrap_or(&Value::Null)),
            param_ref: spec.get("paramRef").filter(|one| one.is_object()).map(ParamRef::of),
            actions: actions.map(str::to_owned).collect(),
        }
    }
}

impl ParamRef {
    fn of(value: &Value) -> Self {
        let selector = value.get("selector").filter(|selector| selector.is_object());
        Self {
            name: texts(value, "name").to_owned(),
            namespace: texts(value, "namespace").to_owned(),
            selector: selector.map(|selector| {
                LabelSelector::from_json(Some(selector)).map_err(|error| error.to_string())
            }),
            deny: texts(value, "parameterNotFoundAction") == "Deny",
        }
    }
}
