use super::service_accounts::is_active;
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use kubeplane_client::ObjectKey;
use std::collections::BTreeMap;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";
const TEXT: &str = "The authorities that sign the certificate of this cluster's API server, for clients inside it.";

/// Publishes the authority of the API server's certificate into every namespace.
pub(super) struct RootCa {
    pem: String,
}

impl RootCa {
    pub(super) fn new(pem: String) -> Self {
        Self { pem }
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
