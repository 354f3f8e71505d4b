use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Api, Body, Handler, HandlerRequest};
use kubeplane_auth::{BoundObject, TokenIssuer, TokenRequest};
use kubeplane_core::{
    GroupKind, GroupResource, GroupVersionKind, Object,
    field::{self, Path},
    identity::GroupVersion,
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::time::Duration;

const DEFAULT_SECONDS: i64 = 3600;
/// Whether a token is refused that is asked for an account which was replaced since.
const UID_GATE: &str = "TokenRequestServiceAccountUIDValidation";
const LEAST_SECONDS: i64 = 600;
const MOST_SECONDS: i64 = 1 << 32;
/// What the kubelet asks for when it wants clients to be warned, not cut off, after an hour.
const WARN_ONLY_SECONDS: i64 = 3607;
const EXTENDED: Duration = Duration::from_secs(365 * 24 * 3600);

/// `serviceaccounts/token`: issues tokens bound to pods, nodes and secrets (KEP-1205).
#[derive(Debug, Clone)]
pub struct ServiceAccountToken {
    issuer: TokenIssuer,
}

impl ServiceAccountToken {
    /// Signs with `issuer`.
    #[must_use]
    pub fn new(issuer: TokenIssuer) -> Self {
        Self { issuer }
    }
}

#[async_trait]
impl Handler for ServiceAccountToken {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let mut review = request.object_with(fill_time).await?;
        let (namespace, name) = (request.info.namespace.clone(), request.info.name.clone());
        let account =
            request.api.get(&GroupResource::new("", "serviceaccounts"), &namespace, &name).await?;
        let kind = GroupKind::new("authentication.k8s.io", "TokenRequest");
        check_identity(&review, &account, &kind)?;
        check_uid(&request, &review, &account, &kind)?;
        fill(&mut review, &account);
        review.set(
            &["metadata", "creationTimestamp"],
            json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(request.api.clock().now())),
        );
        let dry_run = request.query().all("dryRun").any(|value| value == "All");
        // Whom it is for is filled in when admission has seen what was asked for.
        let complete = |review: &mut Object| {
            if texts(review, &["spec", "audiences"]).is_empty() {
                review.set(&["spec", "audiences"], self.issuer.audiences().to_vec());
            }
            let errors = validate(review);
            match errors.is_empty() {
                true => Ok(()),
                false => Err(ApiError::invalid(&kind, "", &errors)),
            }
        };
        let (api, options) = (&request.api, Object::default());
        api.admit_create_with(&request, &mut review, &options, dry_run, complete).await?;
        let mut wanted = TokenRequest {
            namespace: namespace.clone(),
            service_account: name.clone(),
            uid: account.uid().to_owned(),
            audiences: texts(&review, &["spec", "audiences"]),
            ..TokenRequest::default()
        };
        bind(&request.api, &review, &mut wanted).await?;
        let seconds = review
            .at(&["spec", "expirationSeconds"])
            .and_then(Value::as_i64)
            .unwrap_or(DEFAULT_SECONDS);
        let asked = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let own =
            wanted.audiences.iter().all(|audience| self.issuer.audiences().contains(audience));
        wanted.lifetime = if wanted.pod.is_some() && seconds == WARN_ONLY_SECONDS && own {
            EXTENDED
        } else {
            asked
        };
        let (token, _) = self.issuer.issue(&wanted).map_err(ApiError::internal)?;
        let expires =
            request.api.clock().now().saturating_add(jiff::SignedDuration::from_secs(seconds));
        let expires = expires.map_err(ApiError::internal)?;
        review.set(&["status"], json!({
            "token": token,
            "expirationTimestamp": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(expires),
        }));
        request.respond(StatusCode::CREATED, &review)
    }
}

fn check_identity(review: &Object, account: &Object, kind: &GroupKind) -> ApiResult<()> {
    let metadata = Path::new("metadata");
    let sides = [
        ("name", review.name(), account.name()),
        ("namespace", review.namespace(), account.namespace()),
    ];
    for (what, sent, actual) in sides {
        if !sent.is_empty() && sent != actual {
            let why = format!("must match the service account {what} if specified");
            let error = field::Error::invalid(&metadata.child(what), sent, why);
            return Err(ApiError::invalid(kind, account.name(), &[error]));
        }
    }
    Ok(())
}

/// Whether the account that is asked for was replaced since.
fn check_uid(
    request: &HandlerRequest,
    review: &Object,
    account: &Object,
    kind: &GroupKind,
) -> ApiResult<()> {
    let (asked, actual) = (review.uid(), account.uid());
    if asked.is_empty() || asked == actual {
        return Ok(());
    }
    let why = format!(
        "the UID in the token request ({asked}) does not match the UID of the service account ({actual})"
    );
    if request.api.features().is_on(UID_GATE) {
        let resource = GroupResource::new(kind.group.clone(), kind.kind.clone());
        return Err(ApiError::conflict(&resource, account.name(), why));
    }
    request.warnings.add(format!(
        "{why} but {UID_GATE} is not enabled. In the future, this will return a conflict error"
    ));
    Ok(())
}

/// A default of the kind, which whoever asks is taken to have asked for.
fn fill_time(review: &mut Object) {
    if review.at(&["spec", "expirationSeconds"]).is_none_or(Value::is_null) {
        review.set(&["spec", "expirationSeconds"], DEFAULT_SECONDS);
    }
}

fn fill(review: &mut Object, account: &Object) {
    review.set(&["metadata", "name"], account.name());
    review.set(&["metadata", "namespace"], account.namespace());
    review.set(&["metadata", "uid"], account.uid());
    review.remove(&["status"]);
}

fn validate(review: &Object) -> field::Errors {
    let path = Path::new("spec").child("expirationSeconds");
    let seconds = review
        .at(&["spec", "expirationSeconds"])
        .and_then(Value::as_i64)
        .unwrap_or(DEFAULT_SECONDS);
    match seconds {
        ..LEAST_SECONDS => vec![field::Error::invalid(
            &path,
            seconds,
            "may not specify a duration less than 10 minutes",
        )],
        MOST_SECONDS.. => vec![field::Error::invalid(
            &path,
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        )],
        _ => Vec::new(),
    }
}

/// Looks up the object the token is to be bound to.
async fn bind(api: &Api, review: &Object, wanted: &mut TokenRequest) -> ApiResult<()> {
    let Some(reference) =
        review.at(&["spec", "boundObjectRef"]).cloned().and_then(Object::from_value)
    else {
        return Ok(());
    };
    let name = reference.text(&["name"]);
    let (plural, namespace) = match (reference.api_version(), reference.kind()) {
        ("v1", "Pod") => ("pods", wanted.namespace.as_str()),
        ("v1", "Node") => ("nodes", ""),
        ("v1", "Secret") => ("secrets", wanted.namespace.as_str()),
        (_, kind) => {
            let GroupVersion { group, version } = reference.group_version().unwrap_or_default();
            let kind = GroupVersionKind::new(group, version, kind.to_owned());
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type {kind}"
            )));
        }
    };
    let resource = GroupResource::new("", plural);
    let object = api.get(&resource, namespace, name).await?;
    let sent = reference.text(&["uid"]);
    if !sent.is_empty() && sent != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({sent}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        );
        let resource = GroupResource::new("", reference.kind().to_owned());
        return Err(ApiError::conflict(&resource, name, why));
    }
    let bound = BoundObject { name: name.to_owned(), uid: object.uid().to_owned() };
    match plural {
        "pods" => {
            if object.text(&["spec", "serviceAccountName"]) != wanted.service_account {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
                    wanted.service_account
                )));
            }
            wanted.node = node_of(api, &object).await;
            wanted.pod = Some(bound);
        }
        "nodes" => wanted.node = Some(bound),
        _ => wanted.secret = Some(bound),
    }
    Ok(())
}

async fn node_of(api: &Api, pod: &Object) -> Option<BoundObject> {
    let name = pod.text(&["spec", "nodeName"]);
    if name.is_empty() {
        return None;
    }
    let nodes = GroupResource::new("", "nodes");
    let node = api.reader().get_fresh(&nodes, "", name).await.ok().flatten();
    let uid = node.map(|node| node.uid().to_owned()).unwrap_or_default();
    Some(BoundObject { name: name.to_owned(), uid })
}

fn texts(object: &Object, path: &[&str]) -> Vec<String> {
    let list = object.at(path).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
