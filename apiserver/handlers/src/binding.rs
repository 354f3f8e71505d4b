use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Api, Body, Handler, HandlerRequest};
use kubeplane_core::{
    GroupResource, Object,
    field::{self, Path},
    status::{ApiError, ApiResult, success},
};
use serde_json::{Value, json};

/// `pods/binding` and `bindings`: puts a pod on a node, once.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodBinding;

#[async_trait]
impl Handler for PodBinding {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let mut binding = request.object().await?;
        let pod = if request.info.name.is_empty() {
            binding.name().to_owned()
        } else {
            request.info.name.clone()
        };
        if binding.name() != pod {
            return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
        }
        if let Some(refusal) = refusal(&validate(&binding)) {
            return Err(refusal);
        }
        let dry_run = request.query().all("dryRun").any(|value| value == "All");
        request.api.admit_create(&request, &mut binding, &Object::default(), dry_run).await?;
        assign(&request.api, &request.info.namespace, &pod, &binding, dry_run).await?;
        let mut status = success(None);
        status["code"] = StatusCode::CREATED.as_u16().into();
        request.respond(StatusCode::CREATED, &Object::from_value(status).unwrap_or_default())
    }
}

/// The original answers as if it had failed itself.
fn refusal(errors: &[field::Error]) -> Option<ApiError> {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let why = match &texts[..] {
        [] => return None,
        [only] => only.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    Some(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", why))
}

fn validate(binding: &Object) -> field::Errors {
    let target = Path::new("target");
    let mut errors = Vec::new();
    let kind = binding.text(&["target", "kind"]);
    if !matches!(kind, "" | "Node") {
        let mut error = field::Error::not_supported(&target.child("kind"), kind, &[]);
        error.detail = "supported values: \"Node\", \"<empty>\"".to_owned();
        errors.push(error);
    }
    if binding.text(&["target", "name"]).is_empty() {
        errors.push(field::Error::required(&target.child("name"), ""));
    }
    errors
}

async fn assign(
    api: &Api,
    namespace: &str,
    name: &str,
    binding: &Object,
    dry_run: bool,
) -> ApiResult<()> {
    let pods = GroupResource::new("", "pods");
    let node = binding.text(&["target", "name"]);
    let refuse =
        |why: String| ApiError::conflict(&GroupResource::new("", "pods/binding"), name, why);
    let now = api.clock().now();
    let features = api.features();
    let clears = features.is_on("ClearingNominatedNodeNameAfterBinding");
    let labels = features.is_on("PodTopologyLabelsAdmission");
    let change = |pod: &mut Object| -> ApiResult<()> {
        for (precondition, actual, what) in [
            (binding.uid(), pod.uid(), "UID"),
            (binding.resource_version(), pod.resource_version(), "ResourceVersion"),
        ] {
            if !precondition.is_empty() && precondition != actual {
                let why = format!(
                    "StorageError: invalid object, Code: 4, Key: /registry/pods/{namespace}/{name}, ResourceVersion: 0, \
                     AdditionalErrorMsg: Precondition failed: {what} in precondition: {precondition}, {what} in object \
                     meta: {actual}"
                );
                return Err(ApiError::conflict(&pods, name, why));
            }
        }
        if pod.is_deleting() {
            return Err(refuse(format!(
                "pod {name} is being deleted, cannot be assigned to a host"
            )));
        }
        let assigned = pod.text(&["spec", "nodeName"]);
        if !assigned.is_empty() {
            return Err(refuse(format!("pod {name} is already assigned to node {assigned:?}")));
        }
        if pod
            .at(&["spec", "schedulingGates"])
            .and_then(Value::as_array)
            .is_some_and(|gates| !gates.is_empty())
        {
            return Err(refuse(format!("pod {name} has non-empty .spec.schedulingGates")));
        }
        pod.set(&["spec", "nodeName"], node);
        if clears {
            pod.remove(&["status", "nominatedNodeName"]);
        }
        for map in ["annotations", "labels"].into_iter().take(if labels { 2 } else { 1 }) {
            if let Some(added) = binding
                .at(&["metadata", map])
                .and_then(Value::as_object)
                .filter(|added| !added.is_empty())
            {
                pod.map_at_mut(&["metadata", map]).extend(added.clone());
            }
        }
        set_scheduled(pod, now);
        Ok(())
    };
    if dry_run {
        return change(&mut api.get(&pods, namespace, name).await?);
    }
    api.amend(&pods, namespace, name, change).await
}

fn set_scheduled(pod: &mut Object, now: jiff::Timestamp) {
    let status = pod.map_at_mut(&["status"]);
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    if conditions.iter().any(|own| own["type"] == "PodScheduled" && own["status"] == "True") {
        return;
    }
    conditions.retain(|own| own["type"] != "PodScheduled");
    let since = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now);
    conditions.push(json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": since, "lastProbeTime": null}));
}
