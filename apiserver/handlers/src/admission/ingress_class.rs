use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    status::ApiResult,
};
use serde_json::Value;
use std::{cmp::Reverse, sync::Arc};

const GROUP: &str = "networking.k8s.io";
const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const NAMED: &str = "kubernetes.io/ingress.class";

/// Gives Ingresses that name no class the default one; of several, the youngest.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultIngressClass;

#[async_trait]
impl Admission for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn does(&self) -> Does {
        Does::Mutates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create
            && subresource.is_empty()
            && definition.kind.group == GROUP
            && definition.plural == "ingresses"
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        let classes = GroupResource::new(GROUP, "ingressclasses");
        let named = request.object.as_deref().is_none_or(|ingress| {
            ingress.annotation(NAMED).is_some()
                || ingress.at(&["spec", "ingressClassName"]).is_some_and(Value::is_string)
        });
        if named || request.reader.revision(&classes).is_none() {
            return Ok(());
        }
        let all = request.reader.list(&classes, "").await?.items;
        let made = |class: &Arc<Object>| class.text(&["metadata", "creationTimestamp"]).to_owned();
        let chosen = all
            .into_iter()
            .filter(|class| class.annotation(DEFAULT) == Some("true"))
            .min_by_key(|class| (Reverse(made(class)), class.name().to_owned()));
        if let (Some(class), Some(ingress)) = (chosen, request.object.as_deref_mut()) {
            ingress.set(&["spec", "ingressClassName"], class.name());
        }
        Ok(())
    }
}
