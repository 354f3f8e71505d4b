use super::Autoscaler;
use crate::{Context, Error};
use http::{Method, Request};
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use serde_json::{Value, json};

/// How often a scale is written over somebody else's write.
const TRIES: usize = 5;

/// How large a workload is and is to be.
pub(super) struct Scale {
    /// The replicas it is to have.
    pub(super) wanted: i32,
    /// The replicas it has.
    pub(super) present: i32,
    /// Which pods are its.
    pub(super) selector: String,
    path: String,
    object: Value,
}

fn number(value: &Value) -> i32 {
    value.as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or_default()
}

async fn send(
    context: &Context,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Value, Error> {
    let request = Request::builder().method(method).uri(path);
    let request = request
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(body)
        .map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(context.client().request(request).await?)
}

impl Scale {
    /// That of what `target` names.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn find(
        autoscaler: &Autoscaler,
        context: &Context,
        namespace: &str,
        target: &CrossVersionObjectReference,
    ) -> Result<Self, String> {
        let version = target.api_version.as_deref().unwrap_or_default();
        if version.matches('/').count() > 1 {
            return Err(format!("unexpected GroupVersion string: {version}"));
        }
        let group = version.split_once('/').map_or("", |(group, _)| group);
        let mut plural = None;
        for again in [false, true] {
            let resources = autoscaler.resources(context, again).await;
            let resources = resources.map_err(|error| error.text())?;
            let served = resources.preferred.iter().map(|served| &served.resource);
            plural = served
                .filter(|served| served.group == group && served.kind == target.kind)
                .map(|served| match group {
                    "" => {
                        format!("/api/{}/namespaces/{namespace}/{}", served.version, served.plural)
                    }
                    _ => format!(
                        "/apis/{}/namespaces/{namespace}/{}",
                        served.api_version, served.plural
                    ),
                })
                .next();
            if plural.is_some() {
                break;
            }
        }
        let plural = plural
            .ok_or_else(|| format!("no matches for kind {:?} in group {group:?}", target.kind))?;
        let path = format!("{plural}/{}/scale", target.name);
        Self::get(context, path).await.map_err(|error| error.text())
    }

    async fn get(context: &Context, path: String) -> Result<Self, Error> {
        let object = send(context, Method::GET, &path, Vec::new()).await?;
        let selector = object["status"]["selector"].as_str().unwrap_or_default().to_owned();
        let (wanted, present) =
            (number(&object["spec"]["replicas"]), number(&object["status"]["replicas"]));
        Ok(Self { wanted, present, selector, path, object })
    }

    /// Makes it this large, also when somebody else writes the object at the same time.
    ///
    /// # Errors
    /// What the API server says.
    pub(super) async fn set(mut self, context: &Context, replicas: i32) -> Result<(), String> {
        for tries in 1.. {
            self.object["spec"]["replicas"] = json!(replicas);
            let body = self.object.to_string().into_bytes();
            match send(context, Method::PUT, &self.path, body).await {
                Err(error) if error.is_conflict() && tries < TRIES => {
                    if let Ok(fresh) = Self::get(context, self.path.clone()).await {
                        self = fresh;
                    }
                }
                other => return other.map(drop).map_err(|error| error.text()),
            }
        }
        Ok(())
    }
}
