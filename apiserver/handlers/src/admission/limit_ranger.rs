use super::{is_core, joined, refuse};
use async_trait::async_trait;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Operation, Request},
    quantity::Quantity,
    status::ApiResult,
};
use kubeplane_workload::{
    pod_spec,
    resources::{Resources, container_limits, container_requests},
};
use serde_json::{Map, Value};
use std::sync::Arc;

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// The largest amount that is compared by thousandths.
const FINE: i64 = i64::MAX / 1000;

/// Gives containers the default amounts of the namespace's LimitRanges and holds containers, pods and claims
/// against their bounds.
#[derive(Debug, Clone, Copy, Default)]
pub struct LimitRanger;

#[async_trait]
impl Admission for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        // The containers of a pod never change but through its resize.
        match (operation, subresource) {
            (Operation::Create, "") => {
                is_core(definition, "pods") || is_core(definition, "persistentvolumeclaims")
            }
            (Operation::Update, "") => is_core(definition, "persistentvolumeclaims"),
            (Operation::Update, "resize") => is_core(definition, "pods"),
            _ => false,
        }
    }

    async fn mutate(&self, request: &mut Request<'_>) -> ApiResult<()> {
        if request.definition.plural != "pods" {
            return Ok(());
        }
        let ranges = ranges(request).await?;
        if let Some(pod) = request.object.as_deref_mut() {
            for range in &ranges {
                fill(pod, range);
            }
        }
        Ok(())
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let ranges = ranges(request).await?;
        let Some(object) = request.object.as_deref().filter(|_| !ranges.is_empty()) else {
            return Ok(());
        };
        for range in &ranges {
            let errors = match request.definition.plural.as_ref() {
                "pods" => pod_errors(object, range),
                _ => claim_errors(object, range),
            };
            if let Some(why) = joined(errors) {
                return Err(refuse(request, why));
            }
        }
        Ok(())
    }
}

/// The LimitRanges that count for a write; none for an object that is on its way out.
async fn ranges(request: &Request<'_>) -> ApiResult<Vec<Arc<Object>>> {
    let resource = GroupResource::new("", "limitranges");
    let leaving = request.old.is_some_and(Object::is_deleting);
    if leaving || request.reader.revision(&resource).is_none() {
        return Ok(Vec::new());
    }
    Ok(request.reader.list(&resource, request.namespace).await?.items)
}

fn limits<'a>(range: &'a Object, kind: &str) -> impl Iterator<Item = &'a Value> {
    let all = range.at(&["spec", "limits"]).and_then(Value::as_array);
    all.into_iter().flatten().filter(move |limit| limit["type"] == kind)
}

fn fill(pod: &mut Object, range: &Object) {
    let mut defaults = [("requests", Map::new()), ("limits", Map::new())];
    for limit in limits(range, "Container") {
        for ((_, amounts), field) in defaults.iter_mut().zip(["defaultRequest", "default"]) {
            amounts.extend(limit[field].as_object().cloned().unwrap_or_default());
        }
    }
    let mut said = Vec::new();
    for (list, kind) in [("containers", "container"), ("initContainers", "init container")] {
        let spec = pod.map_at_mut(&["spec"]);
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
            said.extend(fill_container(container, kind, &defaults));
        }
    }
    if !said.is_empty() {
        let said = format!("LimitRanger plugin set: {}", said.join("; "));
        pod.set(&["metadata", "annotations", ANNOTATION], said);
    }
}

fn fill_container(
    container: &mut Map<String, Value>,
    kind: &str,
    defaults: &[(&str, Map<String, Value>); 2],
) -> Vec<String> {
    let name = container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut said = Vec::new();
    for ((field, amounts), word) in defaults.iter().zip(["request", "limit"]) {
        let has = |name: &String| {
            container.get("resources").is_some_and(|own| own[*field].get(name).is_some())
        };
        let mut missing: Vec<_> = amounts.iter().filter(|(resource, _)| !has(resource)).collect();
        if missing.is_empty() {
            continue;
        }
        missing.sort_by_key(|(resource, _)| *resource);
        let names: Vec<_> = missing.iter().map(|(resource, _)| resource.as_str()).collect();
        said.push(format!("{} {word} for {kind} {name}", names.join(", ")));
        let mut whole = Object::from_value(container.get("resources").cloned().unwrap_or_default())
            .unwrap_or_default();
        for (resource, amount) in missing {
            whole.set(&[*field, resource.as_str()], amount.clone());
        }
        container.insert("resources".to_owned(), whole.into_value());
    }
    said
}

/// What a container, a pod or a claim asks for.
struct Asked {
    requests: Resources,
    limits: Resources,
}

fn amounts(list: &Value) -> Resources {
    let list = list.as_object().into_iter().flatten();
    list.map(|(name, amount)| (name.clone(), Quantity::from_json(amount).unwrap_or_default()))
        .collect()
}

fn pod_errors(pod: &Object, range: &Object) -> Vec<String> {
    let mut errors = Vec::new();
    let spec = pod.at(&["spec"]).unwrap_or(&Value::Null);
    let all = range.at(&["spec", "limits"]).and_then(Value::as_array);
    for limit in all.into_iter().flatten() {
        match limit["type"].as_str() {
            Some("Container") => {
                for container in ["containers", "initContainers"]
                    .iter()
                    .filter_map(|list| spec[list].as_array())
                    .flatten()
                {
                    let own = &container["resources"];
                    let asked = Asked {
                        requests: amounts(&own["requests"]),
                        limits: amounts(&own["limits"]),
                    };
                    errors.extend(asked.errors("Container", limit));
                }
            }
            Some("Pod") => errors.extend(whole_pod(spec).errors("Pod", limit)),
            _ => {}
        }
    }
    errors
}

/// The peak of the containers, or what the pod as a whole says; overhead is not counted here.
fn whole_pod(spec: &Value) -> Asked {
    let typed = pod_spec(spec).unwrap_or_default();
    let mut asked =
        Asked { requests: container_requests(&typed), limits: container_limits(&typed) };
    for (list, field) in [(&mut asked.requests, "requests"), (&mut asked.limits, "limits")] {
        let own = amounts(&spec["resources"][field]).into_iter();
        list.extend(own.filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")));
    }
    asked
}

fn claim_errors(claim: &Object, range: &Object) -> Vec<String> {
    let requests = amounts(claim.at(&["spec", "resources", "requests"]).unwrap_or(&Value::Null));
    let asked = Asked { requests, limits: Resources::new() };
    let mut errors = Vec::new();
    for limit in limits(range, "PersistentVolumeClaim") {
        let kind = "PersistentVolumeClaim";
        errors.extend(amounts(&limit["min"]).iter().filter_map(|(n, v)| asked.min(kind, n, v)));
        let largest = amounts(&limit["max"]);
        errors.extend(largest.iter().filter_map(|(n, v)| asked.max_request(kind, n, v)));
    }
    errors
}

/// Three amounts in the finest unit all of them fit in.
fn comparable(amounts: [&Quantity; 3]) -> [i64; 3] {
    let whole = amounts.map(Quantity::value);
    if whole.iter().all(|value| *value <= FINE) {
        amounts.map(Quantity::milli_value)
    } else {
        whole
    }
}

impl Asked {
    fn errors(&self, kind: &str, limit: &Value) -> Vec<String> {
        let least = amounts(&limit["min"]);
        let most = amounts(&limit["max"]);
        let ratio = amounts(&limit["maxLimitRequestRatio"]);
        least
            .iter()
            .filter_map(|(name, bound)| self.min(kind, name, bound))
            .chain(most.iter().filter_map(|(name, bound)| self.max(kind, name, bound)))
            .chain(ratio.iter().filter_map(|(name, bound)| self.ratio(kind, name, bound)))
            .collect()
    }

    fn of(&self, name: &str, bound: &Quantity) -> (Option<&Quantity>, Option<&Quantity>, [i64; 3]) {
        let (request, limit) = (self.requests.get(name), self.limits.get(name));
        let zero = Quantity::default();
        let values = comparable([request.unwrap_or(&zero), limit.unwrap_or(&zero), bound]);
        (request, limit, values)
    }

    fn min(&self, kind: &str, name: &str, bound: &Quantity) -> Option<String> {
        let (request, limit, [asked, limited, least]) = self.of(name, bound);
        let start = format!("minimum {name} usage per {kind} is {bound}");
        let Some(request) = request else {
            return Some(format!("{start}.  No request is specified"));
        };
        if asked < least {
            return Some(format!("{start}, but request is {request}"));
        }
        let limit = limit.filter(|_| limited < least)?;
        Some(format!("{start}, but limit is {limit}"))
    }

    fn max(&self, kind: &str, name: &str, bound: &Quantity) -> Option<String> {
        let (request, limit, [asked, limited, most]) = self.of(name, bound);
        let start = format!("maximum {name} usage per {kind} is {bound}");
        let Some(limit) = limit else { return Some(format!("{start}.  No limit is specified")) };
        if limited > most {
            return Some(format!("{start}, but limit is {limit}"));
        }
        let request = request.filter(|_| asked > most)?;
        Some(format!("{start}, but request is {request}"))
    }

    fn max_request(&self, kind: &str, name: &str, bound: &Quantity) -> Option<String> {
        let (request, _, [asked, _, most]) = self.of(name, bound);
        let start = format!("maximum {name} usage per {kind} is {bound}");
        let Some(request) = request else {
            return Some(format!("{start}.  No request is specified"));
        };
        (asked > most).then(|| format!("{start}, but request is {request}"))
    }

    #[allow(clippy::cast_precision_loss, reason = "a ratio is said with six digits")]
    fn ratio(&self, kind: &str, name: &str, bound: &Quantity) -> Option<String> {
        let (_, _, [asked, limited, _]) = self.of(name, bound);
        let start = format!("{name} max limit to request ratio per {kind} is {bound}");
        if asked == 0 {
            return Some(format!("{start}, but no request is specified or request is 0"));
        }
        if limited == 0 {
            return Some(format!("{start}, but no limit is specified or limit is 0"));
        }
        let ratio = limited as f64 / asked as f64;
        let over = match bound.value() <= FINE {
            true => ratio * 1000.0 > bound.milli_value() as f64,
            false => ratio > bound.value() as f64,
        };
        over.then(|| format!("{start}, but provided ratio is {ratio:.6}"))
    }
}
