use super::{
    definition::Binding,
    invocation::{Invocation, Misconfigured, Rules, namespace_of},
    may_judge,
    validator::{Judgement, judge},
};
use crate::{
    attributes::{admission_request, operation},
    expressions::{Inputs, answered},
    shared::{Shared, struct_json},
    webhook,
};
use async_trait::async_trait;
use http::StatusCode;
use kubeplane_cel::{Activation, Authorizer};
use kubeplane_core::{
    Definition, GroupVersionKind, Object,
    admission::{Admission, Does, Operation, Request},
    status::{ApiError, ApiResult, Cause, Details},
};
use std::{collections::BTreeMap, sync::Arc};

/// Holds writes against ValidatingAdmissionPolicies, as their bindings say: refuses, warns or notes.
#[derive(Debug)]
pub struct ValidatingAdmissionPolicy {
    shared: Arc<Shared>,
    rules: Rules,
}

/// A write refused.
struct Denied {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: String,
}

impl From<Misconfigured> for Denied {
    fn from(broken: Misconfigured) -> Self {
        Self {
            policy: broken.policy.name.clone(),
            binding: broken.binding.map(|binding| binding.name.clone()),
            message: broken.why,
            reason: String::new(),
        }
    }
}

impl ValidatingAdmissionPolicy {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let rules =
            Rules::new(&shared, "validatingadmissionpolicies", "validatingadmissionpolicybindings");
        Self { shared, rules }
    }

    /// What all invocations come to.
    async fn judge(
        &self,
        invocations: &[Invocation],
        request: &Request<'_>,
        namespace: Option<&Object>,
    ) -> ApiResult<Vec<Judgement>> {
        let shared = &*self.shared;
        let mut inputs: Vec<(&GroupVersionKind, Inputs<'_>)> = Vec::new();
        for Invocation { matched, .. } in invocations {
            if inputs.iter().any(|(kind, _)| *kind == &matched.kind) {
                continue;
            }
            let views = matched.views(request).await?;
            let described = admission_request(request, matched);
            let made = Inputs::new(request, described, views, namespace);
            inputs.push((&matched.kind, made));
        }
        let (authorizer, operation) = (Authorizer::default(), operation(request.operation));
        let judged = answered(shared, request.user, &authorizer, || {
            let bases: Vec<(&GroupVersionKind, Activation<'_>)> =
                inputs.iter().map(|(kind, made)| (*kind, made.activation(&authorizer))).collect();
            let base = |kind| bases.iter().find(|(own, _)| *own == kind).map(|(_, base)| base);
            invocations
                .iter()
                .map(|invocation| match base(&invocation.matched.kind) {
                    Some(base) => judge(shared, invocation, base, operation),
                    None => Judgement::default(),
                })
                .collect()
        });
        Ok(judged.await)
    }

    /// Does what the binding says about what a policy came to.
    fn act(
        &self,
        invocation: &Invocation,
        judgement: Judgement,
        request: &Request<'_>,
        denied: &mut Vec<Denied>,
    ) {
        let Invocation { policy, binding, .. } = invocation;
        let counters = &self.shared.counters;
        if judgement.denials.is_empty() {
            counters.validated(&policy.name, &binding.name, "allow", false);
        }
        for denial in judgement.denials {
            for action in &binding.actions {
                match action.as_str() {
                    "Deny" => {
                        counters.validated(&policy.name, &binding.name, "deny", denial.error);
                        denied.push(Denied {
                            policy: policy.name.clone(),
                            binding: Some(binding.name.clone()),
                            message: denial.message.clone(),
                            reason: denial.reason.clone(),
                        });
                    }
                    "Audit" => {
                        counters.validated(&policy.name, &binding.name, "audit", denial.error);
                        let failure = failure(binding, denial.index, &denial.message);
                        let key = "validation.policy.admission.k8s.io/validation_failure";
                        request.notes.annotate(key, failure);
                    }
                    "Warn" => {
                        counters.validated(&policy.name, &binding.name, "warn", denial.error);
                        request.warnings.add(format!(
                            "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{}': {}",
                            policy.name, binding.name, denial.message
                        ));
                    }
                    _ => {}
                }
            }
        }
        denied.extend(judgement.broken_annotations.into_iter().map(|message| Denied {
            policy: policy.name.clone(),
            binding: Some(binding.name.clone()),
            message,
            reason: String::new(),
        }));
    }
}

fn failure(binding: &Binding, index: usize, message: &str) -> String {
    let failure = struct_json(&[
        ("message", message.into()),
        ("policy", binding.policy.as_str().into()),
        ("binding", binding.name.as_str().into()),
        ("expressionIndex", index.into()),
        ("validationActions", binding.actions.clone().into()),
    ]);
    format!("[{failure}]")
}

fn refusal(request: &Request<'_>, denied: &Denied) -> ApiError {
    let Denied { policy, binding, message, reason } = denied;
    let message = match binding {
        Some(binding) => format!(
            "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}"
        ),
        None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
    };
    let forbidden = super::forbidden(request, &message);
    let code = match reason.as_str() {
        "Forbidden" => StatusCode::FORBIDDEN,
        "Unauthorized" => StatusCode::UNAUTHORIZED,
        "RequestEntityTooLarge" => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let reason = if reason.is_empty() { "Invalid" } else { reason };
    let causes = vec![Cause { message, ..Cause::default() }];
    let details = Details { causes, ..forbidden.details().cloned().unwrap_or_default() };
    ApiError::new(code, webhook::reason(reason), forbidden.message()).with_details(details)
}

#[async_trait]
impl Admission for ValidatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, _operation: Operation, definition: &Definition, _subresource: &str) -> bool {
        may_judge(definition)
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let selected = self.rules.select(&self.shared, request).await?;
        let broken = selected.misconfigured.into_iter();
        let mut broken = broken.filter(|broken| !broken.policy.ignore).peekable();
        let mut denied: Vec<Denied> = Vec::new();
        if !selected.invocations.is_empty() {
            let namespace = namespace_of(request).await?;
            let invocations = &selected.invocations;
            let judgements = self.judge(invocations, request, namespace.as_deref()).await?;
            let mut annotations: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (index, (invocation, mut judgement)) in
                invocations.iter().zip(judgements).enumerate()
            {
                // The first that refuses has the word, whatever its reason.
                while let Some(before) = broken.next_if(|broken| broken.before <= index) {
                    denied.push(before.into());
                }
                for (key, value) in judgement.annotations.drain(..) {
                    let key = format!("{}/{key}", invocation.policy.name);
                    let values = annotations.entry(key).or_default();
                    if !values.contains(&value) {
                        values.push(value);
                    }
                }
                self.act(invocation, judgement, request, &mut denied);
            }
            for (key, values) in annotations {
                request.notes.annotate(key, values.join(", "));
            }
        }
        denied.extend(broken.map(Denied::from));
        match denied.first() {
            Some(first) => Err(refusal(request, first)),
            None => Ok(()),
        }
    }
}
