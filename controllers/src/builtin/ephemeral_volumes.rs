use super::{claimed, figures::Place};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, Pod, Volume},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, ResourceExt, api::PostParams};
use kubeplane_client::{EventType, ObjectKey, controller_ref, is_controlled_by};
use kubeplane_telemetry::Metrics;
use prometheus_client::metrics::counter::Counter;

/// Makes the claims of volumes that live as long as their pod.
#[derive(Debug)]
pub(super) struct EphemeralVolumes {
    asked: Counter,
    refused: Counter,
}

impl EphemeralVolumes {
    pub(super) fn new(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "ephemeral_volume_controller");
        Self {
            asked: place.show("create", "Claims that were to be made"),
            refused: place.show("create_failures", "Claims that could not be made"),
        }
    }

    async fn claim(&self, context: &Context, pod: &Pod, volume: &Volume) -> Result<(), Error> {
        let namespace = pod.namespace().unwrap_or_default();
        let name = format!("{}-{}", pod.name_any(), volume.name);
        let known = context.informers().of::<PersistentVolumeClaim>().get(&namespace, &name);
        if let Some(known) = known {
            if is_controlled_by(&*known, pod.metadata.uid.as_deref().unwrap_or_default()) {
                return Ok(());
            }
            let pod = pod.name_any();
            return Err(Error::Invalid(format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
            )));
        }
        let template = volume.ephemeral.as_ref();
        let template =
            template.and_then(|own| own.volume_claim_template.clone()).unwrap_or_default();
        let meta = template.metadata.unwrap_or_default();
        let claim = PersistentVolumeClaim {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                owner_references: Some(vec![controller_ref(pod)]),
                annotations: meta.annotations,
                labels: meta.labels,
                ..ObjectMeta::default()
            },
            spec: Some(template.spec),
            status: None,
        };
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client(), &namespace);
        self.asked.inc();
        match claims.create(&PostParams::default(), &claim).await.map_err(Error::from) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.refused.inc();
                Err(Error::Invalid(format!("create PVC {name}: {}", error.text())))
            }
        }
    }
}

fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let all = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    all.filter(|volume| volume.ephemeral.is_some())
}

fn wants_claims(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && volumes(pod).next().is_some()
}

#[async_trait]
impl Controller for EphemeralVolumes {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "ephemeral-volume-controller"
    }

    fn event_source(&self) -> &'static str {
        "ephemeral_volume"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let pods = sources.informer::<Pod>();
        claimed::index(&pods);
        sources.watch::<Pod>(|change| {
            let pod = change.object();
            // What a pod asks for never changes.
            let new = change.old().is_none() && !change.is_deleted() && wants_claims(pod);
            new.then(|| ObjectKey::of(&**pod)).into_iter().collect()
        });
        sources.watch::<PersistentVolumeClaim>(move |change| {
            if !change.is_deleted() {
                return Vec::new();
            }
            let users = claimed::users(&pods, &ObjectKey::of(&**change.object()));
            let again = users.iter().filter(|pod| wants_claims(pod));
            again.map(|pod| ObjectKey::of(&**pod)).collect()
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let found = context.informers().of::<Pod>().get(&key.namespace, &key.name);
        let Some(pod) = found.filter(|pod| wants_claims(pod)) else { return Ok(Action::Done) };
        for volume in volumes(&pod) {
            if let Err(error) = self.claim(context, &pod, volume).await {
                let text = format!("ephemeral volume {}: {}", volume.name, error.text());
                context.recorder().event_for(&*pod, EventType::Warning, "FailedBinding", text);
                return Err(error);
            }
        }
        Ok(Action::Done)
    }
}
