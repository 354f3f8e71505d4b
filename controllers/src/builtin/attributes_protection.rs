use super::volume_protection::protect;
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::VolumeAttributesClass,
};
use kube::Api;
use kubeplane_client::{Change, ObjectKey};

const FINALIZER: &str = "kubernetes.io/vac-protection";
/// The index of claims and of volumes by the classes they name.
const BY_CLASS: &str = "attributes-class";

/// Holds a class of attributes back while a claim or volume names it.
#[derive(Debug)]
pub(super) struct AttributesProtection;

fn of_claim(claim: &PersistentVolumeClaim) -> Vec<String> {
    let status = claim.status.as_ref();
    let asked = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let present = status.and_then(|own| own.current_volume_attributes_class_name.clone());
    let target = status.and_then(|own| {
        own.modify_volume_status.as_ref()?.target_volume_attributes_class_name.clone()
    });
    let mut names: Vec<_> = [asked, present, target].into_iter().flatten().collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}

fn of_volume(volume: &PersistentVolume) -> Vec<String> {
    let own = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    own.filter(|name| !name.is_empty()).into_iter().collect()
}

/// The classes that are no longer named after a change.
fn left<K>(change: &Change<K>, names: fn(&K) -> Vec<String>) -> Vec<ObjectKey> {
    let (before, after) = match change.old() {
        Some(old) => (names(old), names(change.object())),
        None if change.is_deleted() => (names(change.object()), Vec::new()),
        None => return Vec::new(),
    };
    let gone = before.into_iter().filter(|name| !after.contains(name));
    gone.map(|name| ObjectKey::new("", name)).collect()
}

#[async_trait]
impl Controller for AttributesProtection {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "volumeattributesclass-protection-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.informer::<PersistentVolumeClaim>().add_index(BY_CLASS, of_claim);
        sources.informer::<PersistentVolume>().add_index(BY_CLASS, of_volume);
        sources.objects::<VolumeAttributesClass>();
        sources.watch::<PersistentVolumeClaim>(|change| left(change, of_claim));
        sources.watch::<PersistentVolume>(|change| left(change, of_volume));
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let Some(class) = informers.of::<VolumeAttributesClass>().get("", &key.name) else {
            return Ok(Action::Done);
        };
        let api: Api<VolumeAttributesClass> = Api::all(context.client());
        if class.metadata.deletion_timestamp.is_none() {
            protect(&api, &class, FINALIZER, true).await?;
            return Ok(Action::Done);
        }
        let volumes = informers.of::<PersistentVolume>().by_index(BY_CLASS, &key.name);
        let claims = informers.of::<PersistentVolumeClaim>().by_index(BY_CLASS, &key.name);
        if volumes.is_empty() && claims.is_empty() {
            protect(&api, &class, FINALIZER, false).await?;
        }
        Ok(Action::Done)
    }
}
