use super::{
    answer::CallError,
    call::{Phase, ask, settle},
    hook::Hook,
    review::Answer,
    wanted,
};
use crate::{
    attributes::{Matched, is_configuration},
    followed::Followed,
    shared::{Shared, struct_json},
};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, Object,
    admission::{Admission, Does, Operation, Request},
    decode::conform,
    patch::json_patch,
    status::{ApiError, ApiResult},
};
use serde_json::Value;
use std::{collections::BTreeSet, sync::Arc};

const NAME: &str = "MutatingAdmissionWebhook";

/// Calls the webhooks of MutatingWebhookConfigurations that look at a write, one after the other in the order of
/// configurations, and applies their patches. Those that want it are called once more when others changed the
/// object after them.
#[derive(Debug)]
pub struct MutatingAdmissionWebhook {
    shared: Arc<Shared>,
    configurations: Followed<Vec<Hook>>,
}

/// What one run leaves for the second.
#[derive(Debug, Default)]
struct Run {
    /// The object as the last webhook left it.
    output: Option<Object>,
    /// Webhooks that want to be called again when the object changes.
    invoked: BTreeSet<String>,
    /// Those that are to be called again.
    again: BTreeSet<String>,
}

impl Run {
    /// The object changed: all that were called and care are called again.
    fn changed(&mut self) {
        self.again.append(&mut self.invoked);
    }
}

impl MutatingAdmissionWebhook {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let own = shared.clone();
        let configurations = Followed::new("mutatingwebhookconfigurations", move |object| {
            Hook::all(&own.environment, object)
        });
        Self { shared, configurations }
    }

    async fn run(
        &self,
        hooks: &[&Hook],
        request: &mut Request<'_>,
        run: &mut Run,
    ) -> ApiResult<()> {
        for (index, hook) in hooks.iter().enumerate() {
            let matched = wanted(&self.shared, hook, request, Phase::Mutating.name()).await?;
            let Some(matched) = matched else { continue };
            if request.notes.is_again() && !run.again.contains(&hook.key) {
                continue;
            }
            let changed = self.call(index, hook, &matched, request).await?;
            if changed {
                run.changed();
                request.notes.run_again();
            }
            if hook.again {
                run.invoked.insert(hook.key.clone());
            }
        }
        Ok(())
    }

    /// Calls one webhook; whether it changed the object.
    async fn call(
        &self,
        index: usize,
        hook: &Hook,
        matched: &Matched,
        request: &mut Request<'_>,
    ) -> ApiResult<bool> {
        let (shared, phase) = (&self.shared, Phase::Mutating);
        let start = shared.clock.elapsed();
        let answer = ask(shared, hook, request, matched, phase).await;
        let place = format!("round_{}_index_{index}", u8::from(request.notes.is_again()));
        let result = match answer {
            Ok(answer) => apply(hook, matched, request, &answer, &place).await,
            Err(error) => Err(error),
        };
        let took = shared.clock.elapsed().saturating_sub(start);
        let failed = matches!(&result, Err(CallError::Failed { .. }));
        let changed = *result.as_ref().unwrap_or(&false);
        let [configuration, webhook] = told_by(hook);
        let told = struct_json(&[configuration, webhook, ("mutated", changed.into())]);
        request.notes.annotate(format!("mutation.webhook.admission.k8s.io/{place}"), told);
        settle(shared, hook, request, phase, result.err(), took)?;
        if failed {
            let key = format!("failed-open.mutation.webhook.admission.k8s.io/{place}");
            request.notes.annotate(key, hook.name.as_str());
        }
        Ok(changed)
    }
}

/// Who says something, in annotations for the audit log.
fn told_by(hook: &Hook) -> [(&'static str, Value); 2] {
    [("configuration", hook.configuration.as_str().into()), ("webhook", hook.name.as_str().into())]
}

/// Applies the patch of an answer; whether it changed anything. `place` is that of the call, for the audit log.
async fn apply(
    hook: &Hook,
    matched: &Matched,
    request: &mut Request<'_>,
    answer: &Answer,
    place: &str,
) -> Result<bool, CallError> {
    if answer.patch.is_empty() {
        return Ok(false);
    }
    let operations: Vec<Value> = serde_json::from_slice(&answer.patch).map_err(|error| {
        CallError::failed(503, format!("received undecodable patch in webhook response: {error}"))
    })?;
    if operations.is_empty() {
        return Ok(false);
    }
    let Some(object) = request.object.as_deref() else {
        return Err(internal(format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name
        )));
    };
    if answer.patch_type != "JSONPatch" {
        let why = format!("unsupported patch type {:?}", answer.patch_type);
        return Err(CallError::failed(400, why));
    }
    let before = matched.view(request, object).await.map_err(CallError::Refused)?;
    let patched = json_patch(before.clone().into_value(), &answer.patch).map_err(internal)?;
    let mut patched = Object::from_value(patched)
        .ok_or_else(|| internal("the patched object is no object".to_owned()))?;
    if matched.kind == matched.definition.kind {
        conform(&mut patched, &matched.definition.schema)
            .map_err(|error| internal(error.to_string()))?;
    }
    let changed = patched != before;
    let [configuration, webhook] = told_by(hook);
    let (patch, kind) = (("patch", operations.into()), ("patchType", "JSONPatch".into()));
    let told = struct_json(&[configuration, webhook, patch, kind]);
    request.notes.detail(format!("patch.webhook.admission.k8s.io/{place}"), told);
    if matched.kind == matched.definition.kind {
        matched.definition.strategy.default(&mut patched);
    }
    let patched = matched.back(request, patched).await.map_err(CallError::Refused)?;
    if let Some(object) = request.object.as_deref_mut() {
        *object = patched;
    }
    Ok(changed)
}

fn internal(why: impl std::fmt::Display) -> CallError {
    CallError::Refused(ApiError::internal(why))
}

#[async_trait]
impl Admission for MutatingAdmissionWebhook {
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
        !is_configuration(definition)
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let all = self.configurations.current(request.reader).await?;
        let hooks: Vec<&Hook> = all.iter().flat_map(|hooks| hooks.iter()).collect();
        if hooks.is_empty() {
            return Ok(());
        }
        let mut run: Run = request.notes.take(NAME).unwrap_or_default();
        if request.notes.is_again() && run.output.as_ref() != request.object.as_deref() {
            run.changed();
        }
        self.run(&hooks, request, &mut run).await?;
        // Nobody compares when nobody wants to be called again.
        run.output = request.object.as_deref().filter(|_| !run.invoked.is_empty()).cloned();
        request.notes.put(NAME, run);
        Ok(())
    }
}
