//! Which policies, with which bindings and parameters, a write is held against.

use super::{
    definition::{Binding, Policy},
    params,
};
use crate::{
    attributes::{Matched, is_namespace},
    followed::Followed,
    shared::Shared,
};
use kubeplane_core::{
    GroupResource, Object,
    admission::Request,
    status::{ApiError, ApiResult},
};
use std::sync::Arc;

/// Policies and bindings as they are.
#[derive(Debug)]
pub(super) struct Rules {
    policies: Followed<Policy>,
    bindings: Followed<Binding>,
}

/// A policy to evaluate.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) policy: Arc<Policy>,
    pub(super) binding: Arc<Binding>,
    pub(super) param: Option<Arc<Object>>,
    pub(super) matched: Matched,
}

/// A policy or binding that cannot be evaluated.
#[derive(Debug)]
pub(super) struct Misconfigured {
    pub(super) policy: Arc<Policy>,
    pub(super) binding: Option<Arc<Binding>>,
    pub(super) why: String,
    /// Why in one word, where there is one.
    pub(super) reason: &'static str,
    /// How many invocations come before it.
    pub(super) before: usize,
}

/// Both, in the order of policies and bindings.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub(super) invocations: Vec<Invocation>,
    pub(super) misconfigured: Vec<Misconfigured>,
}

impl Rules {
    /// Of these two resources.
    pub(super) fn new(
        shared: &Arc<Shared>,
        policies: &'static str,
        bindings: &'static str,
    ) -> Self {
        let own = shared.clone();
        Self {
            policies: Followed::new(policies, move |object| Policy::of(&own.environment, object)),
            bindings: Followed::new(bindings, Binding::of),
        }
    }

    /// What a write is held against.
    ///
    /// # Errors
    /// When policies cannot be read.
    pub(super) async fn select(
        &self,
        shared: &Shared,
        request: &Request<'_>,
    ) -> ApiResult<Selected> {
        let policies = self.policies.current(request.reader).await?;
        let mut selected = Selected::default();
        if policies.is_empty() {
            return Ok(selected);
        }
        let bindings = self.bindings.current(request.reader).await?;
        for policy in policies.iter() {
            let mut own = Vec::new();
            for binding in bindings.iter() {
                if binding.policy == policy.name {
                    own.push(binding);
                }
            }
            if !own.is_empty() {
                selected.add(shared, request, policy, &own).await;
            }
        }
        Ok(selected)
    }
}

impl Selected {
    fn broken(&mut self, policy: &Arc<Policy>, binding: Option<&Arc<Binding>>, why: &str) {
        let what = if binding.is_some() { "binding" } else { "policy" };
        self.misconfigured.push(Misconfigured {
            policy: policy.clone(),
            binding: binding.cloned(),
            why: format!("failed to configure {what}: {why}"),
            reason: "",
            before: self.invocations.len(),
        });
    }

    async fn add(
        &mut self,
        shared: &Shared,
        request: &Request<'_>,
        policy: &Arc<Policy>,
        bindings: &[&Arc<Binding>],
    ) {
        let matched = match policy.matching.matches(shared, request).await {
            Ok(Some(matched)) => matched,
            Ok(None) => return,
            Err(error) => return self.broken(policy, None, error.message()),
        };
        let resource = policy.param_kind.as_ref().map(|kind| params::resource(shared, kind));
        let resource = match resource.transpose() {
            Ok(resource) => resource,
            Err(why) => return self.broken(policy, None, &why),
        };
        for &binding in bindings {
            match binding.matching.matches(shared, request).await {
                Ok(Some(_)) => {}
                Ok(None) => continue,
                Err(error) => {
                    self.broken(policy, Some(binding), error.message());
                    continue;
                }
            }
            let reference = binding.param_ref.as_ref();
            match params::collect(resource.as_deref(), reference, request).await {
                Err(why) => self.broken(policy, Some(binding), &why),
                Ok(params) => {
                    self.invocations.extend(params.into_iter().map(|param| Invocation {
                        policy: policy.clone(),
                        binding: binding.clone(),
                        param,
                        matched: matched.clone(),
                    }));
                }
            }
        }
    }
}

/// The namespace a write is in; `None` for those of the cluster, and for namespaces themselves.
///
/// # Errors
/// 404 when it is not there.
pub(super) async fn namespace_of(request: &Request<'_>) -> ApiResult<Option<Arc<Object>>> {
    if is_namespace(request.definition) || request.namespace.is_empty() {
        return Ok(None);
    }
    let namespaces = GroupResource::new("", "namespaces");
    let mut found = request.reader.get(&namespaces, "", request.namespace).await?;
    if found.is_none() {
        found = request.reader.get_fresh(&namespaces, "", request.namespace).await?;
    }
    match found {
        Some(namespace) => Ok(Some(namespace)),
        None => Err(ApiError::not_found(&namespaces, request.namespace)),
    }
}
