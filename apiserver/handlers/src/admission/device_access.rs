//! Who may have devices that are in use, and who may say what becomes of claims: what the original's storage of claims
//! asks beside its validation.

use async_trait::async_trait;
use kubeplane_apiserver::forbidden;
use kubeplane_core::{
    Definition, GroupResource, Object,
    admission::{Admission, Does, Operation, Request},
    auth::{Attributes, Decision, UserInfo},
    features::Features,
    field::{Error, Errors, Path},
    names,
    status::{ApiError, ApiResult},
};
use serde_json::{Map, Value};
use std::{collections::BTreeSet, sync::Arc};

const LABEL: &str = "resource.kubernetes.io/admin-access";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const ACCOUNT: &str = "system:serviceaccount:";

/// Lets claims have administrators' access only in namespaces that are marked for it, and their status be changed only by
/// those who may bind claims, or speak for the drivers of the devices.
#[derive(Debug, Clone)]
pub(super) struct DeviceAccess {
    granular: bool,
}

impl DeviceAccess {
    pub(super) fn new(features: &Features) -> Self {
        Self { granular: features.is_on("DRAResourceClaimGranularStatusAuthorization") }
    }

    async fn of_status(
        &self,
        request: &Request<'_>,
        claim: &Object,
        old: &Object,
    ) -> ApiResult<Errors> {
        let mut errors = Errors::new();
        let granted = |claim: &Object| {
            let results = list(claim.at(&["status", "allocation", "devices", "results"]));
            results.iter().position(|result| result["adminAccess"] == true)
        };
        if let Some(index) = granted(claim).filter(|_| granted(old).is_none()) {
            let path = Path::new("status").child("allocation").child("devices").child("results");
            errors.extend(unmarked(request, path.index(index)).await?);
        }
        if self.granular {
            errors.extend(may_bind(request, claim, old).await);
            if claim.at(&["status", "allocation"]).is_some() {
                errors.extend(may_speak_for_drivers(request, claim, old).await);
            }
        }
        Ok(errors)
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// That the namespace is not marked, if it is not.
async fn unmarked(request: &Request<'_>, path: Path) -> ApiResult<Option<Error>> {
    let namespaces = GroupResource::new("", "namespaces");
    let namespace = match request.reader.get(&namespaces, "", request.namespace).await? {
        Some(found) => Some(found),
        None => request.reader.get_fresh(&namespaces, "", request.namespace).await?,
    };
    let label = namespace.as_ref().and_then(|namespace| namespace.label(LABEL));
    Ok((label != Some("true")).then(|| {
        let why = format!(
            "admin access to devices requires the `{LABEL}: true` label on the containing namespace"
        );
        Error::forbidden(&path.child("adminAccess"), why)
    }))
}

/// Where a claim asks for administrators' access first, in the words of any version.
fn asked(devices: Option<&Value>) -> Option<Path> {
    let requests = list(devices.and_then(|devices| devices.get("requests")));
    let index = requests.iter().position(|request| {
        request["exactly"]["adminAccess"] == true || request["adminAccess"] == true
    })?;
    Some(Path::new("spec").child("devices").child("requests").index(index))
}

/// Nothing, an empty list and null are one.
fn same(one: &Object, other: &Object, field: &str) -> bool {
    let of = |object: &Object| {
        object
            .at(&["status", field])
            .filter(|value| {
                !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty())
            })
            .cloned()
    };
    of(one) == of(other)
}

/// The refusal, unless this user may do this with a subresource that there is only for this question.
async fn refusal(request: &Request<'_>, verb: String, of: [&str; 3]) -> Option<String> {
    let [subresource, namespace, name] = of.map(str::to_owned);
    let kind = &request.definition.kind;
    let attributes = Attributes {
        user: Arc::new(request.user.clone()),
        verb,
        group: kind.group.to_string(),
        version: kind.version.to_string(),
        resource: request.definition.plural.to_string(),
        subresource,
        namespace,
        name,
        ..Attributes::default()
    };
    match request.authorizer.authorize(&attributes).await {
        Decision::Allow(_) => None,
        Decision::Deny(reason) | Decision::NoOpinion(reason) => {
            Some(forbidden(&attributes, &reason).message().to_owned())
        }
    }
}

async fn may_bind(request: &Request<'_>, claim: &Object, old: &Object) -> Option<Error> {
    if same(claim, old, "allocation") && same(claim, old, "reservedFor") {
        return None;
    }
    let verb = request.verb;
    let why = refusal(request, verb.to_owned(), ["binding", "", ""]).await?;
    let detail = format!(
        "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" permission: {why}"
    );
    Some(Error::forbidden(&Path::new("status").child("allocation"), detail))
}

/// Drivers whose devices have another status than before.
fn changed_drivers(claim: &Object, old: &Object) -> BTreeSet<String> {
    let devices = |claim: &Object| list(claim.at(&["status", "devices"])).to_vec();
    let (new, old) = (devices(claim), devices(old));
    let only = |some: &[Value], others: &[Value]| -> Vec<String> {
        let lone = some.iter().filter(|device| !others.contains(device));
        lone.map(|device| device["driver"].as_str().unwrap_or_default().to_owned()).collect()
    };
    only(&new, &old).into_iter().chain(only(&old, &new)).collect()
}

async fn may_speak_for_drivers(request: &Request<'_>, claim: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let node = claim.at(&["status", "allocation"]).and_then(only_node);
    let here = node.is_some_and(|node| runs_on(request.user, node));
    let prefixes: &[&str] =
        if here { &["associated-node:", "arbitrary-node:"] } else { &["arbitrary-node:"] };
    let verbs: Vec<_> = prefixes.iter().map(|prefix| format!("{prefix}{}", request.verb)).collect();
    for driver in changed_drivers(claim, old) {
        let mut first = None;
        let mut allowed = false;
        for verb in &verbs {
            let of = ["driver", request.namespace, driver.as_str()];
            match refusal(request, verb.clone(), of).await {
                None => allowed = true,
                Some(why) => drop(first.get_or_insert(why)),
            }
            if allowed {
                break;
            }
        }
        if let Some(why) = first.filter(|_| !allowed) {
            let detail = format!(
                "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{}]\" permission: {why}",
                verbs.join(" ")
            );
            errors.push(Error::forbidden(&Path::new("status").child("devices"), detail));
        }
    }
    errors
}

/// The node that an allocation is for, if it is for one.
fn only_node(allocation: &Value) -> Option<&str> {
    let [term] = list(allocation["nodeSelector"].get("nodeSelectorTerms")) else { return None };
    let expressions = list(term.get("matchExpressions"));
    let [field] = list(term.get("matchFields")) else { return None };
    let by_name = field["key"] == "metadata.name" && field["operator"] == "In";
    let [node] = list(field.get("values")) else { return None };
    node.as_str().filter(|_| by_name && expressions.is_empty())
}

/// Whether a user is the service account of a pod of this node.
fn runs_on(user: &UserInfo, node: &str) -> bool {
    let account = user.name.strip_prefix(ACCOUNT).and_then(|name| name.split_once(':'));
    let is_account = account.is_some_and(|(namespace, name)| {
        names::is_dns1123_label(namespace).is_empty()
            && names::is_dns1123_subdomain(name).is_empty()
    });
    let own = user.extra.get(NODE_NAME).map(Vec::as_slice).unwrap_or_default();
    is_account && names::is_dns1123_subdomain(node).is_empty() && *own == [node.to_owned()]
}

fn spec(object: &Object) -> Option<&Map<String, Value>> {
    object.at(&["spec"])?.as_object()
}

#[async_trait]
impl Admission for DeviceAccess {
    fn name(&self) -> &'static str {
        "DeviceAccess"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        definition.kind.group == "resource.k8s.io"
            && match (definition.plural.as_ref(), subresource) {
                ("resourceclaims" | "resourceclaimtemplates", "") => operation == Operation::Create,
                ("resourceclaims", "status") => operation == Operation::Update,
                _ => false,
            }
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        let mut errors = Errors::new();
        match request.old {
            Some(old) if request.subresource == "status" => {
                errors = self.of_status(request, object, old).await?;
            }
            _ => {
                // Templates have the spec of a claim in theirs; the original tells of both in the same words.
                let spec = spec(object);
                let devices = spec.and_then(|spec| {
                    spec.get("devices").or_else(|| spec.get("spec")?.get("devices"))
                });
                if let Some(path) = asked(devices) {
                    errors.extend(unmarked(request, path).await?);
                }
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        Err(ApiError::invalid(&request.definition.group_kind(), object.name(), &errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn drivers_are_those_whose_devices_changed() {
        let claim =
            |devices: Value| Object::from_value(json!({"status": {"devices": devices}})).unwrap();
        let device = |driver: &str, data: &str| json!({"driver": driver, "pool": "p", "device": "d", "data": data});
        let old = claim(json!([device("a", "1"), device("b", "1"), device("c", "1")]));
        let new = claim(json!([device("b", "1"), device("c", "2"), device("d", "1")]));
        assert_eq!(changed_drivers(&new, &old), ["a", "c", "d"].map(str::to_owned).into());
        assert!(changed_drivers(&old, &old).is_empty());
    }

    #[test]
    fn service_accounts_of_pods_are_associated_with_their_node() {
        let selector = |fields: Value| json!({"nodeSelector": {"nodeSelectorTerms": [{"matchFields": fields}]}});
        let by_name =
            |names: Value| json!([{"key": "metadata.name", "operator": "In", "values": names}]);
        assert_eq!(only_node(&selector(by_name(json!(["n"])))), Some("n"));
        assert_eq!(only_node(&selector(by_name(json!(["n", "m"])))), None);
        assert_eq!(only_node(&json!({})), None);
        let mut user =
            UserInfo::new("system:serviceaccount:kube-system:driver", Vec::<String>::new());
        assert!(!runs_on(&user, "n"));
        user.extra.insert(NODE_NAME.to_owned(), vec!["n".to_owned()]);
        assert!(runs_on(&user, "n") && !runs_on(&user, "m"));
        user.name = "jane".to_owned();
        assert!(!runs_on(&user, "n"));
    }
}
