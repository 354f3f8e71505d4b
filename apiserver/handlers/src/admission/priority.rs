use super::{is_core, refuse};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Operation, Request},
    features::Features,
    status::ApiResult,
};
use serde_json::Value;
use std::sync::Arc;

const GROUP: &str = "scheduling.k8s.io";

/// Gives every pod the priority of its PriorityClass, or of the default one; with the gate `WorkloadAwarePreemption` every
/// PodGroup too.
#[derive(Debug, Clone, Copy, Default)]
pub struct Priority {
    groups: bool,
}

impl Priority {
    /// Of these gates.
    #[must_use]
    pub fn new(features: &Features) -> Self {
        Self { groups: features.is_on("WorkloadAwarePreemption") }
    }
}

fn value_of(class: &Object) -> i64 {
    class.at(&["value"]).and_then(Value::as_i64).unwrap_or_default()
}

fn is_default(class: &Object) -> bool {
    class.at(&["globalDefault"]).and_then(Value::as_bool).unwrap_or_default()
}

/// The default class; the lowest one when a race made several.
async fn default_class(request: &Request<'_>) -> ApiResult<Option<Arc<Object>>> {
    let classes = GroupResource::new(GROUP, "priorityclasses");
    if request.reader.revision(&classes).is_none() {
        return Ok(None);
    }
    let all = request.reader.list(&classes, "").await?.items;
    Ok(all.into_iter().filter(|class| is_default(class)).min_by_key(|class| value_of(class)))
}

async fn class_of(request: &Request<'_>, name: &str) -> ApiResult<Option<Arc<Object>>> {
    if name.is_empty() {
        return default_class(request).await;
    }
    let classes = GroupResource::new(GROUP, "priorityclasses");
    let mut found = request.reader.get(&classes, "", name).await?;
    if found.is_none() {
        // It may have been made a moment ago.
        found = request.reader.get_fresh(&classes, "", name).await?;
    }
    match found {
        Some(class) => Ok(Some(class)),
        None => Err(refuse(request, format!("no PriorityClass with name {name} was found"))),
    }
}

/// A text of the spec.
fn text(request: &Request<'_>, key: &str) -> String {
    let text = |object: &Object| object.text(&["spec", key]).to_owned();
    request.object.as_deref().map(text).unwrap_or_default()
}

/// The priority that was sent.
fn sent_priority(request: &Request<'_>) -> Option<i64> {
    request.object.as_deref()?.at(&["spec", "priority"])?.as_i64()
}

async fn admit_new_group(request: &mut Request<'_>) -> ApiResult<()> {
    let class = class_of(request, &text(request, "priorityClassName")).await?;
    let priority = class.as_deref().map(value_of).unwrap_or_default();
    if let Some(sent) = sent_priority(request).filter(|sent| *sent != priority) {
        let why = format!(
            "priority set in the pod group ({sent}) must match the priority computed ({priority}) \
             based on the priority class set in the spec"
        );
        return Err(refuse(request, why));
    }
    let Some(group) = request.object.as_deref_mut() else { return Ok(()) };
    group.set(&["spec", "priority"], priority);
    if let Some(class) = class {
        group.set(&["spec", "priorityClassName"], class.name().to_owned());
    }
    Ok(())
}

async fn admit_new_pod(request: &mut Request<'_>) -> ApiResult<()> {
    let class = class_of(request, &text(request, "priorityClassName")).await?;
    let (name, priority, policy) = match &class {
        Some(class) => {
            let policy = class.text(&["preemptionPolicy"]).to_owned();
            (class.name().to_owned(), value_of(class), policy)
        }
        None => (String::new(), 0, "PreemptLowerPriority".to_owned()),
    };
    let sent = sent_priority(request);
    if let Some(sent) = sent.filter(|sent| *sent != priority) {
        let why = format!(
            "the integer value of priority ({sent}) must not be provided in pod spec; priority \
             admission controller computed {priority} from the given PriorityClass name"
        );
        return Err(refuse(request, why));
    }
    let sent = text(request, "preemptionPolicy");
    if !sent.is_empty() && !policy.is_empty() && sent != policy {
        let why = format!(
            "the string value of PreemptionPolicy ({sent}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(refuse(request, why));
    }
    let Some(pod) = request.object.as_deref_mut() else { return Ok(()) };
    if !name.is_empty() {
        pod.set(&["spec", "priorityClassName"], name);
    }
    pod.set(&["spec", "priority"], priority);
    if !policy.is_empty() {
        pod.set(&["spec", "preemptionPolicy"], policy);
    }
    Ok(())
}

#[async_trait]
impl Admission for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        let written = matches!(operation, Operation::Create | Operation::Update);
        let of_group = definition.kind.group == GROUP;
        let class = of_group && definition.plural == "priorityclasses";
        let group = of_group && definition.plural == "podgroups" && self.groups;
        let group = group && operation == Operation::Create;
        written && subresource.is_empty() && (class || group || is_core(definition, "pods"))
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        if request.definition.plural == "podgroups" {
            return admit_new_group(request).await;
        }
        if request.definition.plural != "pods" {
            return Ok(());
        }
        if request.operation == Operation::Create {
            return admit_new_pod(request).await;
        }
        let (Some(pod), Some(old)) = (request.object.as_deref_mut(), request.old) else {
            return Ok(());
        };
        for key in ["priority", "preemptionPolicy"] {
            if let (None, Some(kept)) = (pod.at(&["spec", key]), old.at(&["spec", key])) {
                pod.set(&["spec", key], kept.clone());
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(class) = request.object.as_deref() else { return Ok(()) };
        if request.definition.plural != "priorityclasses" || !is_default(class) {
            return Ok(());
        }
        match default_class(request).await? {
            Some(other) if other.name() != class.name() => {
                let name = other.name();
                let why = format!(
                    "PriorityClass {name} is already marked as default. Only one default can exist"
                );
                Err(refuse(request, why))
            }
            _ => Ok(()),
        }
    }
}
