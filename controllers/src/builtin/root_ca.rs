use super::{
    figures::{Labels, Place, growing, labels},
    service_accounts::is_active,
};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use kubeplane_client::ObjectKey;
use kubeplane_telemetry::Metrics;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use std::collections::BTreeMap;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const TEXT: &str = "The authorities that sign the certificate of this cluster's API server, for clients inside it.";

/// Publishes the authority of the API server's certificate into every namespace.
pub(super) struct RootCa {
    pem: String,
    /// By the code of the answer.
    looks: Family<Labels<1>, Counter>,
    durations: Family<Labels<1>, Histogram>,
}

impl RootCa {
    pub(super) fn new(pem: String, metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "root_ca_cert_publisher");
        let durations =
            Family::new_with_constructor((|| growing(0.001, 2.0, 15)) as fn() -> Histogram);
        let help = "Seconds that looks at a namespace took, by the code of the answer";
        Self {
            pem,
            looks: place.show("sync", "Looks at namespaces, by the code of the answer"),
            durations: place.show_this("sync_duration_seconds", help, durations),
        }
    }

    fn config_map(&self, namespace: &str) -> ConfigMap {
        ConfigMap {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                namespace: Some(namespace.to_owned()),
                annotations: Some(BTreeMap::from([(DESCRIPTION.to_owned(), TEXT.to_owned())])),
                ..ObjectMeta::default()
            },
            data: Some(BTreeMap::from([("ca.crt".to_owned(), self.pem.clone())])),
            ..ConfigMap::default()
        }
    }
}

#[async_trait]
impl Controller for RootCa {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "root-ca-certificate-publisher-controller"
    }

    fn identity(&self) -> &'static str {
        "root-ca-cert-publisher"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<Namespace>();
        sources.watch::<ConfigMap>(|change| {
            let meta = &change.object().metadata;
            let ours = meta.name.as_deref() == Some(NAME);
            ours.then(|| ObjectKey::new("", meta.namespace.clone().unwrap_or_default()))
                .into_iter()
                .collect()
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let started = context.clock().elapsed();
        let result = self.publish(request, context).await;
        let code = result.as_ref().err().map_or(200, |error| {
            error.status().map(|own| own.code).filter(|code| *code != 0).unwrap_or(500)
        });
        let label = labels([("code", &*code.to_string())]);
        let took = context.clock().elapsed().saturating_sub(started);
        self.looks.get_or_create(&label).inc();
        self.durations.get_or_create(&label).observe(took.as_secs_f64());
        result
    }
}

impl RootCa {
    async fn publish(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        if !is_active(context, &request.name) {
            return Ok(Action::Done);
        }
        let api: Api<ConfigMap> = Api::namespaced(context.client(), &request.name);
        let wanted = self.config_map(&request.name);
        let Some(present) = context.informers().of::<ConfigMap>().get(&request.name, NAME) else {
            return match api.create(&PostParams::default(), &wanted).await.map_err(Error::from) {
                Ok(_) => Ok(Action::Done),
                Err(error) if error.is_already_exists() || error.is_namespace_terminating() => {
                    Ok(Action::Done)
                }
                Err(error) => Err(error),
            };
        };
        let described =
            present.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(DESCRIPTION));
        if present.data != wanted.data || !described {
            let mut next = (*present).clone();
            next.data = wanted.data;
            let annotations = next.metadata.annotations.get_or_insert_default();
            annotations.insert(DESCRIPTION.to_owned(), TEXT.to_owned());
            api.replace(NAME, &PostParams::default(), &next).await?;
        }
        Ok(Action::Done)
    }
}
