use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{Namespace, ServiceAccount},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use kubeplane_client::ObjectKey;

const NAME: &str = "default";

/// Keeps the `default` ServiceAccount in every namespace.
pub(super) struct ServiceAccounts;

#[async_trait]
impl Controller for ServiceAccounts {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "serviceaccount-controller"
    }

    fn identity(&self) -> &'static str {
        "service-account-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<Namespace>();
        sources.watch::<ServiceAccount>(|change| {
            let namespace = change.object().metadata.namespace.clone().unwrap_or_default();
            if change.is_deleted() { vec![ObjectKey::new("", namespace)] } else { Vec::new() }
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        if !is_active(context, &request.name)
            || informers.of::<ServiceAccount>().get(&request.name, NAME).is_some()
        {
            return Ok(Action::Done);
        }
        let metadata = ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(request.name.clone()),
            ..ObjectMeta::default()
        };
        let account = ServiceAccount { metadata, ..ServiceAccount::default() };
        let api: Api<ServiceAccount> = Api::namespaced(context.client(), &request.name);
        match api.create(&PostParams::default(), &account).await.map_err(Error::from) {
            Ok(_) => Ok(Action::Done),
            Err(error) if error.is_already_exists() || error.is_namespace_terminating() => {
                Ok(Action::Done)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the namespace is there to stay.
pub(super) fn is_active(context: &Context, name: &str) -> bool {
    let namespace = context.informers().of::<Namespace>().get("", name);
    namespace.is_some_and(|namespace| {
        let phase = namespace.status.as_ref().and_then(|status| status.phase.as_deref());
        namespace.metadata.deletion_timestamp.is_none() && phase != Some("Terminating")
    })
}
