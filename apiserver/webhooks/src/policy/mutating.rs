use super::{
    definition::{Mutation, Policy},
    invocation::{Invocation, Misconfigured, Rules, Selected, namespace_of},
    may_judge, merge,
};
use crate::{
    attributes::{admission_request, operation},
    expressions::{CONDITIONS_BUDGET, Evaluation, Inputs, POLICY_BUDGET, Verdict, answered},
    metrics::About,
    shared::Shared,
};
use async_trait::async_trait;
use kubeplane_cel::{Authorizer, Bound};
use kubeplane_core::{
    Definition, Object,
    admission::{Admission, Does, Operation, Request},
    decode::DecodeError,
    status::{ApiError, ApiResult, Cause, Details},
};
use std::{collections::BTreeSet, sync::Arc};

const NAME: &str = "MutatingAdmissionPolicy";

/// Changes objects as MutatingAdmissionPolicies say, by apply configurations and JSON patches.
#[derive(Debug)]
pub struct MutatingAdmissionPolicy {
    shared: Arc<Shared>,
    rules: Rules,
}

/// What one run leaves for the second.
#[derive(Debug, Default)]
struct Run {
    output: Option<Object>,
    invoked: BTreeSet<String>,
    again: BTreeSet<String>,
}

/// Why a change was not made.
enum Unmade {
    /// For a reason that the policy's failure policy is about.
    Broken(String),
    /// For one that ends the request.
    Ended(ApiError),
}

impl From<String> for Unmade {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

/// What a policy is evaluated over.
struct Subject<'a> {
    invocation: &'a Invocation,
    namespace: Option<&'a Object>,
    authorizer: &'a Authorizer,
}

impl Subject<'_> {
    /// An evaluation over a write, within a budget.
    fn evaluation<'a>(&'a self, inputs: &'a Inputs<'_>, budget: u64) -> Evaluation<'a> {
        let Invocation { policy, param, .. } = self.invocation;
        let param = param.as_ref().map(|param| Bound::object(param.map()));
        let base = inputs.activation(self.authorizer);
        Evaluation::new(&base, &policy.variables, param, budget)
    }
}

impl MutatingAdmissionPolicy {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let rules =
            Rules::new(&shared, "mutatingadmissionpolicies", "mutatingadmissionpolicybindings");
        Self { shared, rules }
    }

    async fn run(
        &self,
        selected: &mut Selected,
        request: &mut Request<'_>,
        run: &mut Run,
    ) -> ApiResult<()> {
        let namespace = namespace_of(request).await?;
        let authorizer = Authorizer::default();
        let Selected { invocations, misconfigured } = selected;
        let mut applied = false;
        for invocation in invocations.iter() {
            let subject =
                Subject { invocation, namespace: namespace.as_deref(), authorizer: &authorizer };
            match self.conditions(&subject, request).await? {
                Verdict::Matches => {}
                Verdict::Excluded => continue,
                Verdict::Failed(why) => {
                    misconfigured.push(broken(invocation, why));
                    continue;
                }
            }
            let key = key(invocation);
            if request.notes.is_again() && !run.again.contains(&key) {
                continue;
            }
            let made = self.mutations(&subject, request, misconfigured).await?;
            applied |= made.is_some();
            if made == Some(true) {
                run.again.append(&mut run.invoked);
                request.notes.run_again();
            }
            if invocation.policy.again {
                run.invoked.insert(key);
            }
        }
        if applied {
            // Whether it changed anything or not, and those that did it too.
            run.again.append(&mut run.invoked);
            request.notes.run_again();
        }
        Ok(())
    }

    /// Makes the changes of a policy, one after the other; whether there was any. `None` when none could be made.
    async fn mutations(
        &self,
        subject: &Subject<'_>,
        request: &mut Request<'_>,
        misconfigured: &mut Vec<Misconfigured>,
    ) -> ApiResult<Option<bool>> {
        let invocation = subject.invocation;
        let mut made = None;
        for mutation in &invocation.policy.mutations {
            if request.object.is_none() {
                continue;
            }
            let result = self.mutation(subject, mutation, request).await;
            self.count(invocation, result.is_err());
            match result {
                Ok(did) => made = Some(did || made == Some(true)),
                Err(Unmade::Broken(why)) => misconfigured.push(broken(invocation, why)),
                Err(Unmade::Ended(error)) => return Err(error),
            }
        }
        Ok(made)
    }

    fn count(&self, invocation: &Invocation, error: bool) {
        let action = if error { "deny" } else { "allow" };
        let Invocation { policy, binding, .. } = invocation;
        self.shared.counters.mutated(&policy.name, &binding.name, action, error);
    }

    async fn inputs<'a>(
        &self,
        subject: &Subject<'a>,
        request: &Request<'_>,
    ) -> ApiResult<Inputs<'a>> {
        let matched = &subject.invocation.matched;
        let views = matched.views(request).await?;
        let described = admission_request(request, matched);
        Ok(Inputs::new(request, described, views, subject.namespace))
    }

    async fn conditions(&self, subject: &Subject<'_>, request: &Request<'_>) -> ApiResult<Verdict> {
        let policy: &Policy = &subject.invocation.policy;
        if policy.conditions.is_empty() {
            return Ok(Verdict::Matches);
        }
        let about = About {
            kind: "policy",
            name: &policy.name,
            operation: operation(request.operation),
            phase: "admit",
        };
        let inputs = self.inputs(subject, request).await?;
        let verdict = answered(&self.shared, request.user, subject.authorizer, || {
            let mut own = subject.evaluation(&inputs, CONDITIONS_BUDGET);
            policy.conditions.evaluate(&mut own, &self.shared, about)
        });
        Ok(verdict.await)
    }

    /// Makes one change; whether there was any.
    async fn mutation(
        &self,
        subject: &Subject<'_>,
        mutation: &Mutation,
        request: &mut Request<'_>,
    ) -> Result<bool, Unmade> {
        let matched = &subject.invocation.matched;
        let Some(object) = request.object.as_deref() else { return Ok(false) };
        let unconverted = |error: ApiError| error.message().to_owned();
        let before = matched.view(request, object).await.map_err(unconverted)?;
        let (Mutation::Apply(expression) | Mutation::Patch(expression)) = mutation;
        let inputs = self.inputs(subject, request).await.map_err(unconverted)?;
        let made = answered(&self.shared, request.user, subject.authorizer, || {
            let mut own = subject.evaluation(&inputs, POLICY_BUDGET);
            own.evaluate(expression).map(|made| made.owned())
        });
        let made = made.await.map_err(|failure| failure.message())?;
        if let Some(why) = made.misnamed() {
            return Err(Unmade::Broken(format!("type mismatch: {why}")));
        }
        let made = made.to_json().ok_or_else(|| {
            format!("expression '{}' resulted in a value without a JSON form", expression.source)
        })?;
        let after = match mutation {
            Mutation::Apply(_) => {
                let after = merge::applied(&before, made, matched, self.shared.clock.now())?;
                merge::fitted(after, matched)?.0
            }
            Mutation::Patch(_) => {
                let (after, found) = merge::fitted(merge::patched(&before, made)?, matched)
                    .map_err(|why| Unmade::Ended(ApiError::internal(why)))?;
                if !found.is_empty() {
                    let why = DecodeError::Strict(found);
                    return Err(Unmade::Ended(ApiError::internal(why)));
                }
                after
            }
        };
        if after == before {
            return Ok(false);
        }
        let after = matched.back(request, after).await.map_err(unconverted)?;
        if let Some(object) = request.object.as_deref_mut() {
            *object = after;
        }
        Ok(true)
    }
}

/// A policy that could not do what it should, with this binding.
fn broken(invocation: &Invocation, why: String) -> Misconfigured {
    Misconfigured {
        policy: invocation.policy.clone(),
        binding: Some(invocation.binding.clone()),
        why,
        reason: "Invalid",
        before: 0,
    }
}

/// What tells an invocation from others.
fn key(invocation: &Invocation) -> String {
    let Invocation { policy, binding, param, .. } = invocation;
    let param = param.as_ref().map(|param| format!("{}/{}", param.namespace(), param.name()));
    format!("{}/{}/{}", policy.name, binding.name, param.unwrap_or_default())
}

fn refusal(request: &Request<'_>, broken: &[Misconfigured]) -> Option<ApiError> {
    let told = || broken.iter().filter(|broken| !broken.policy.ignore);
    let messages: Vec<String> = told()
        .map(|Misconfigured { policy, binding, why, .. }| match binding {
            Some(binding) => {
                let (policy, binding) = (&policy.name, &binding.name);
                format!("policy '{policy}' with binding '{binding}' denied request: {why}")
            }
            None => format!("policy {:?} denied request: {why}", policy.name),
        })
        .collect();
    let first = messages.first()?.clone();
    let forbidden = super::forbidden(request, "admission request denied by policy");
    let causes = messages.into_iter().map(|message| Cause { message, ..Cause::default() });
    let details =
        Details { causes: causes.collect(), ..forbidden.details().cloned().unwrap_or_default() };
    // What the first says in one word counts, if it says one.
    let reason = told().next().map(|first| first.reason).filter(|reason| !reason.is_empty());
    let reason = reason.unwrap_or_else(|| forbidden.reason());
    Some(ApiError::new(forbidden.code(), reason, first).with_details(details))
}

#[async_trait]
impl Admission for MutatingAdmissionPolicy {
    fn name(&self) -> &'static str {
        NAME
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, _operation: Operation, definition: &Definition, _subresource: &str) -> bool {
        may_judge(definition)
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let mut selected = self.rules.select(&self.shared, request).await?;
        if !selected.invocations.is_empty() {
            let mut run: Run = request.notes.take(NAME).unwrap_or_default();
            if request.notes.is_again() && run.output.as_ref() != request.object.as_deref() {
                run.again.append(&mut run.invoked);
            }
            self.run(&mut selected, request, &mut run).await?;
            run.output = request.object.as_deref().filter(|_| !run.invoked.is_empty()).cloned();
            request.notes.put(NAME, run);
        }
        refusal(request, &selected.misconfigured).map_or(Ok(()), Err)
    }
}
