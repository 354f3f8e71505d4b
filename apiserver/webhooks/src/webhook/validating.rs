use super::{
    call::{Phase, ask, settle},
    hook::Hook,
    wanted,
};
use crate::{
    attributes::{Matched, is_configuration},
    followed::Followed,
    shared::Shared,
};
use async_trait::async_trait;
use futures::future::join_all;
use kubeplane_core::{
    Definition,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};
use std::sync::Arc;

/// Asks all webhooks of ValidatingWebhookConfigurations that look at a write, at once. The first refusal in the
/// order of configurations counts.
#[derive(Debug)]
pub struct ValidatingAdmissionWebhook {
    shared: Arc<Shared>,
    configurations: Followed<Vec<Hook>>,
}

impl ValidatingAdmissionWebhook {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let own = shared.clone();
        let configurations = Followed::new("validatingwebhookconfigurations", move |object| {
            Hook::all(&own.environment, object)
        });
        Self { shared, configurations }
    }

    async fn call(
        &self,
        index: usize,
        hook: &Hook,
        matched: &Matched,
        request: &Request<'_>,
    ) -> ApiResult<()> {
        let (shared, phase) = (&self.shared, Phase::Validating);
        let start = shared.clock.elapsed();
        let error = ask(shared, hook, request, matched, phase).await.err();
        let took = shared.clock.elapsed().saturating_sub(start);
        let failed = matches!(&error, Some(super::answer::CallError::Failed { .. }));
        let result = settle(shared, hook, request, phase, error, took);
        if failed && result.is_ok() {
            let key = "failed-open.validating.webhook.admission.k8s.io/round_0_index_";
            request.notes.annotate(format!("{key}{index}"), hook.name.as_str());
        }
        result
    }
}

#[async_trait]
impl Admission for ValidatingAdmissionWebhook {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, _operation: Operation, definition: &Definition, _subresource: &str) -> bool {
        !is_configuration(definition)
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let all = self.configurations.current(request.reader).await?;
        let mut relevant = Vec::new();
        for hook in all.iter().flat_map(|hooks| hooks.iter()) {
            if let Some(matched) =
                wanted(&self.shared, hook, request, Phase::Validating.name()).await?
            {
                relevant.push((hook, matched));
            }
        }
        let calls = relevant.iter().enumerate();
        let calls = calls.map(|(index, (hook, matched))| self.call(index, hook, matched, request));
        join_all(calls).await.into_iter().collect()
    }
}
