//! The component that says in the status of a ValidatingAdmissionPolicy what its expressions get wrong about the kinds it is
//! meant for.

use async_trait::async_trait;
use futures::StreamExt;
use kubeplane_apiserver::Api;
use kubeplane_cel::{Environment, Error, Scope, Shape, Type};
use kubeplane_core::{
    Definition, GroupResource, GroupVersion, Object,
    component::{Component, ComponentError, Lifecycle},
    schema::{Kind, Schema},
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::ListOptions;
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How many kinds of one rule are looked at.
const MOST: usize = 10;
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_millis(500);
/// Who applies the status, as in the original.
const MANAGER: &str = "validatingadmissionpolicy-status";

fn resource() -> GroupResource {
    GroupResource::new("admissionregistration.k8s.io", "validatingadmissionpolicies")
}

/// Checks the expressions of each ValidatingAdmissionPolicy, once for each of its generations, against the kinds that it
/// names without wildcards, and notes warnings in its status. What a policy does is not changed by that.
#[derive(Debug)]
pub struct PolicyTypeChecking {
    api: Api,
    environment: Environment,
}

impl PolicyTypeChecking {
    /// Works on this server.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self { api, environment: Environment::new() }
    }

    /// Looks at all policies now, and again whenever one changes, until the store's watch ends.
    async fn follow(&self, lifecycle: &Lifecycle) -> ApiResult<()> {
        let range = self.api.resource(&resource())?.range("");
        let failed = |error| ApiError::internal(error);
        let options = ListOptions { limit: Some(1), ..ListOptions::default() };
        let now = self.api.store().list(&range, options).await.map_err(failed)?.revision;
        let mut watch = self.api.store().watch(&range, now).await.map_err(failed)?;
        loop {
            for policy in self.api.list_stored(&resource(), "").await? {
                self.look(&policy).await?;
            }
            lifecycle.ready();
            loop {
                match watch.next().await {
                    Some(Ok(batch)) if batch.events.is_empty() => {}
                    Some(Ok(_)) => break,
                    _ => return Ok(()),
                }
            }
        }
    }

    async fn look(&self, policy: &Object) -> ApiResult<()> {
        let generation = policy.generation();
        let seen = policy.at(&["status", "observedGeneration"]).and_then(Value::as_i64);
        if seen == Some(generation) || policy.is_deleting() {
            return Ok(());
        }
        let warnings = self.warnings(policy.at(&["spec"]).unwrap_or(&Value::Null));
        let checked = match warnings.is_empty() {
            true => json!({}),
            false => json!({"expressionWarnings": warnings}),
        };
        let mut applied = Object::default();
        applied.set(&["apiVersion"], policy.api_version());
        applied.set(&["kind"], policy.kind());
        applied.set(&["metadata", "name"], policy.name());
        applied.set(&["status", "observedGeneration"], generation);
        applied.set(&["status", "typeChecking"], checked);
        match self.api.apply_status(&resource(), policy.name(), MANAGER, &applied).await {
            Err(error) if error.code() != 404 => Err(error),
            _ => Ok(()),
        }
    }

    fn warnings(&self, spec: &Value) -> Vec<Value> {
        let kinds: Vec<(String, Scope)> = self
            .kinds(spec)
            .into_iter()
            .filter_map(|definition| {
                let schema = types(&definition.schema, &mut Vec::new());
                let shape = Arc::new(Shape::of_schema(&schema, false)?);
                let (version, kind) = (definition.group_version(), &definition.kind.kind);
                let of = Type::of(&shape, &format!("{version}.{kind}"));
                Some((definition.kind.to_string(), self.scope(spec, &of)))
            })
            .collect();
        let validations = spec["validations"].as_array().map_or(&[][..], Vec::as_slice);
        let mut warnings = Vec::new();
        for (index, validation) in validations.iter().enumerate() {
            for field in ["expression", "messageExpression"] {
                let source = validation[field].as_str().unwrap_or_default();
                let said: Vec<String> = kinds
                    .iter()
                    .filter(|_| !source.is_empty())
                    .filter_map(|(kind, scope)| {
                        match self.environment.compile_in(source, scope, None) {
                            // Only types are checked.
                            Ok(_) | Err(Error::Instantiate(_)) => None,
                            Err(why) => Some(format!("{kind}: {why}\n")),
                        }
                    })
                    .collect();
                if !said.is_empty() {
                    let field = format!("spec.validations[{index}].{field}");
                    warnings.push(json!({"fieldRef": field, "warning": said.join("\n")}));
                }
            }
        }
        warnings
    }

    /// What expressions see of objects of one kind: also what the policy's variables are of them.
    fn scope(&self, spec: &Value, of: &Type) -> Scope {
        let mut scope = Scope::admission()
            .with_authorizer()
            .with("object", of.clone())
            .with("oldObject", of.clone());
        if spec["paramKind"].is_object() {
            scope = scope.with("params", self.params(spec).unwrap_or(Type::Dyn));
        }
        scope = scope.with_variables();
        for variable in spec["variables"].as_array().into_iter().flatten() {
            let text = |key: &str| variable[key].as_str().unwrap_or_default();
            let compiled = self.environment.compile_in(text("expression"), &scope, None);
            let of = compiled.map_or(Type::Dyn, |program| program.returns().declared());
            scope = scope.with_variable(text("name"), of);
        }
        scope
    }

    fn params(&self, spec: &Value) -> Option<Type> {
        let version = GroupVersion::parse(spec["paramKind"]["apiVersion"].as_str()?)?;
        let kind = spec["paramKind"]["kind"].as_str()?;
        let found = self.api.registry().of_kind(&version, kind)?;
        let schema = types(&found.definition().schema, &mut Vec::new());
        let shape = Arc::new(Shape::of_schema(&schema, false)?);
        Some(Type::of(&shape, kind))
    }

    /// The kinds that rules name without wildcards, by group, version and kind.
    fn kinds(&self, spec: &Value) -> Vec<Arc<Definition>> {
        let mut found = BTreeMap::new();
        let rules = spec["matchConstraints"]["resourceRules"].as_array();
        for rule in rules.into_iter().flatten() {
            let list = |key: &str| -> Vec<&str> {
                let all = rule[key].as_array().into_iter().flatten();
                let mut all: Vec<_> = all.filter_map(Value::as_str).collect();
                all.sort_unstable();
                all
            };
            let (groups, versions) = (list("apiGroups"), list("apiVersions"));
            if groups.iter().chain(&versions).any(|name| name.contains('*')) {
                continue;
            }
            let resources = list("resources");
            let mut count = 0;
            for group in &groups {
                for version in &versions {
                    let version = GroupVersion::new((*group).to_owned(), (*version).to_owned());
                    for name in resources.iter().filter(|name| !name.contains(['*', '/'])) {
                        let Some(served) = self.api.registry().find(&version, name) else {
                            continue;
                        };
                        let definition = served.definition().clone();
                        let kind = &definition.kind;
                        let key = (kind.group.clone(), kind.version.clone(), kind.kind.clone());
                        found.insert(key, definition);
                        count += 1;
                        if count == MOST {
                            return found.into_values().collect();
                        }
                    }
                }
            }
        }
        found.into_values().collect()
    }
}

/// The types of a shape as a JSON schema; what contains itself is anything at all there.
fn types(schema: &Schema, inside: &mut Vec<String>) -> Value {
    let anything = || json!({"x-kubernetes-int-or-string": true});
    if !schema.name.is_empty() {
        if inside.iter().any(|name| *name == schema.name) {
            return anything();
        }
        inside.push(schema.name.to_string());
    }
    let made = match &schema.kind {
        Kind::String | Kind::Quantity => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "format": "byte"}),
        Kind::Time { .. } => json!({"type": "string", "format": "date-time"}),
        Kind::Integer { .. } => json!({"type": "integer"}),
        Kind::Number => json!({"type": "number"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Map { values, .. } => {
            json!({"type": "object", "additionalProperties": types(values, inside)})
        }
        Kind::List { items, .. } => json!({"type": "array", "items": types(items, inside)}),
        Kind::Object { fields, preserve_unknown: false, .. } => {
            let fields = fields.iter();
            let fields = fields.map(|field| (field.name.to_string(), types(&field.schema, inside)));
            json!({"type": "object", "properties": fields.collect::<Map<_, _>>()})
        }
        _ => anything(),
    };
    if !schema.name.is_empty() {
        inside.pop();
    }
    made
}

#[async_trait]
impl Component for PolicyTypeChecking {
    fn name(&self) -> &str {
        "policy-type-checking"
    }

    /// Ready when every policy was looked at once.
    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let work = async {
            loop {
                if let Err(error) = self.follow(&lifecycle).await {
                    tracing::warn!(%error, "policies cannot be checked");
                }
                self.api.clock().sleep(PAUSE).await;
            }
        };
        tokio::select! {
            biased;
            () = lifecycle.stopping() => Ok(()),
            () = work => Ok(()),
        }
    }
}
