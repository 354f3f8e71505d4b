//! `pods/eviction`: deletes a pod on behalf of somebody who empties a node, as far as disruption budgets let them.
//!
//! ```text
//!   pod is over, pending or being deleted ------------------------------> delete
//!   no budget covers it ------------------------------------------------> delete
//!   it is not ready, and its budget is kept without it -----------------> delete, if it is still not ready
//!   its budget has one to spare: taken down in the budget's status -----> delete
//!   else 429
//! ```

use async_trait::async_trait;
use http::{Response, StatusCode};
use jiff::Timestamp;
use kubeplane_apiserver::{Api, Body, DeleteOptions, Handler, HandlerRequest};
use kubeplane_core::{
    GroupKind, GroupResource, Object,
    field::{Error, Path},
    selector::LabelSelector,
    status::{ApiError, ApiResult, Cause, Details, success},
};
use serde_json::{Value, json};

mod budget;

/// How often a pod that changed in between is looked at again.
const TRIES: usize = 20;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// Seconds after which a budget may have caught up.
const CATCHING_UP: u32 = 10;

/// Evicts pods.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodEviction;

#[async_trait]
impl Handler for PodEviction {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let mut eviction = request.object().await?;
        let name = request.info.name.clone();
        if eviction.name() != name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let sent = eviction
            .at(&["deleteOptions"])
            .cloned()
            .and_then(Object::from_value)
            .unwrap_or_default();
        let unsafe_delete = "ignoreStoreReadErrorWithClusterBreakingPotential";
        if sent.at(&[unsafe_delete]) == Some(&Value::Bool(true)) {
            let why = "can not be set for pod eviction, try after removing the option";
            let path = Path::new("deleteOptions").child(unsafe_delete);
            let kind = GroupKind::new("policy", "Eviction");
            return Err(ApiError::invalid(&kind, &name, &[Error::invalid(&path, true, why)]));
        }
        let mut options = DeleteOptions::from_object(&sent)?;
        options.dry_run |= request.query().all("dryRun").any(|value| value == "All");
        request.api.admit_create(&request, &mut eviction, &sent, options.dry_run).await?;
        let pod = Pod { api: &request.api, namespace: &request.info.namespace, name: &name };
        pod.evict(options).await?;
        let mut status = success(None);
        status["code"] = StatusCode::CREATED.as_u16().into();
        request.respond(StatusCode::CREATED, &Object::from_value(status).unwrap_or_default())
    }
}

/// One pod to evict.
struct Pod<'a> {
    api: &'a Api,
    namespace: &'a str,
    name: &'a str,
}

fn pods() -> GroupResource {
    GroupResource::new("", "pods")
}

/// Whether the pod is of no use to anybody, or not yet.
fn is_unguarded(pod: &Object) -> bool {
    is_over(pod) || pod.text(&["status", "phase"]) == "Pending"
}

fn is_over(pod: &Object) -> bool {
    matches!(pod.text(&["status", "phase"]), "Succeeded" | "Failed") || pod.is_deleting()
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.at(&["status", "conditions"]).and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

impl Pod<'_> {
    async fn evict(&self, options: DeleteOptions) -> ApiResult<()> {
        let pinned = options.preconditions.resource_version.is_some();
        let mut tries = TRIES;
        let pod = loop {
            let pod = self.api.get(&pods(), self.namespace, self.name).await?;
            if !is_unguarded(&pod) {
                break pod;
            }
            let mut options = options.clone();
            if !pinned && !is_over(&pod) {
                // It may become ready, and guarded, meanwhile.
                options.preconditions.resource_version = Some(pod.resource_version().to_owned());
            }
            tries -= 1;
            match self.delete(options).await {
                Err(error) if !pinned && error.code() == StatusCode::CONFLICT && tries > 0 => {}
                result => return result,
            }
        };
        let Some(budget) = self.budget(&pod).await? else {
            return self.delete(options).await;
        };
        if !is_ready(&pod) && budget::is_kept_without(&budget) {
            // It is this state that may go, whatever was asked for; as in the original.
            let mut options = options;
            options.preconditions.resource_version = Some(pod.resource_version().to_owned());
            return match self.delete(options).await {
                Err(error) if !pinned && error.code() == StatusCode::CONFLICT => {
                    Err(budget::still_processed(budget.name()))
                }
                result => result,
            };
        }
        self.take(budget.name(), options.dry_run).await?;
        self.delete(options).await
    }

    /// The budget that covers the pod.
    async fn budget(&self, pod: &Object) -> ApiResult<Option<Object>> {
        let resource = budget::resource();
        if self.api.registry().resource(&resource).is_none() {
            return Ok(None);
        }
        let mut budgets = self.api.list_stored(&resource, self.namespace).await?;
        budgets.retain(|budget| {
            let selector = match budget.at(&["spec", "selector"]) {
                None | Some(Value::Null) => return false,
                selector => LabelSelector::from_json(selector),
            };
            selector.is_ok_and(|selector| selector.matches(|key| pod.label(key)))
        });
        if budgets.len() > 1 {
            let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", why));
        }
        Ok(budgets.pop())
    }

    /// Takes one of the disruptions a budget allows.
    async fn take(&self, budget: &str, dry_run: bool) -> ApiResult<()> {
        let (resource, now) = (budget::resource(), self.api.clock().now());
        if dry_run {
            let mut budget = self.api.get(&resource, self.namespace, budget).await?;
            return budget::take(&mut budget, self.name, now);
        }
        let change = |budget: &mut Object| budget::take(budget, self.name, now);
        self.api.write_status(&resource, self.namespace, budget, change).await.map(|_| ())
    }

    /// Says in the pod's status why it goes, and deletes it.
    async fn delete(&self, mut options: DeleteOptions) -> ApiResult<()> {
        if !options.dry_run {
            let now = self.api.clock().now();
            let wanted = options.preconditions.clone();
            let mark = |pod: &mut Object| {
                let uid = wanted.uid.as_deref().unwrap_or_default();
                let version = wanted.resource_version.as_deref().unwrap_or_default();
                let found = pod.resource_version().to_owned();
                self.must_match("UID", uid, pod.uid(), "deleted and then recreated")?;
                self.must_match("ResourceVersion", version, &found, "modified")?;
                add_condition(pod, now);
                Ok(())
            };
            let marked = self.api.update_with(&pods(), self.namespace, self.name, mark).await?;
            if let Some(version) = &mut options.preconditions.resource_version {
                marked.resource_version().clone_into(version);
            }
        }
        self.api.delete(&pods(), self.namespace, self.name, options).await.map(|_| ())
    }

    fn must_match(&self, what: &str, wanted: &str, found: &str, why: &str) -> ApiResult<()> {
        if wanted.is_empty() || wanted == found {
            return Ok(());
        }
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object might \
             have been {why}"
        );
        Err(ApiError::conflict(&GroupResource::new("", "Pod"), self.name, why))
    }
}

fn add_condition(pod: &mut Object, now: Timestamp) {
    let status = pod.map_at_mut(&["status"]);
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    let mut since = json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
    let own = |condition: &Value| condition["type"] == "DisruptionTarget";
    if let Some(before) = conditions.iter().find(|condition| own(condition))
        && before["status"] == "True"
    {
        since = before["lastTransitionTime"].clone();
    }
    let made = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": since, "lastProbeTime": null,
    });
    match conditions.iter_mut().find(|condition| own(condition)) {
        Some(before) => *before = made,
        None => conditions.push(made),
    }
}

/// 429 with the reason a budget gives.
fn refused(why: String, retry_after: u32) -> ApiError {
    let cause = Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() };
    ApiError::too_many_requests(REFUSED, retry_after).with_details(Details {
        causes: vec![cause],
        retry_after_seconds: retry_after,
        ..Details::default()
    })
}
