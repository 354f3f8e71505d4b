//! What becomes of a volume whose claim is gone.

use super::{Sync, operations::Operation};
use crate::Error;
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_workload::{
    is_terminal,
    storage::{MIGRATED_TO, PROVISIONED_BY, annotation, migrated, volume_class, volume_phase},
};
use std::{
    collections::BTreeSet,
    path::{Component, Path},
    sync::Arc,
};

/// Who deletes a volume.
enum Deleter {
    /// Somebody outside.
    Others,
    /// This process, which removes the directory.
    Directory(String),
    /// Nobody, for this reason.
    None(String),
}

/// The name by which the original provisions directories of its own machine.
const HOST_PATH: &str = "kubernetes.io/host-path";

fn deleter(volume: &PersistentVolume) -> Deleter {
    let by = annotation(&volume.metadata, PROVISIONED_BY).filter(|by| !by.is_empty());
    let spec = volume.spec.as_ref();
    let directory = spec.and_then(|spec| spec.host_path.as_ref()).map(|own| own.path.clone());
    match (by, directory) {
        (None | Some(HOST_PATH), Some(path)) => Deleter::Directory(path),
        (Some(by), _) if by.starts_with("kubernetes.io/") => {
            Deleter::None(format!("no volume plugin matched name: {by}"))
        }
        (Some(_), _) => Deleter::Others,
        (None, None) if spec.is_some_and(|spec| spec.csi.is_some()) => Deleter::Others,
        (None, None) => Deleter::None(format!(
            "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
            volume.name_any()
        )),
    }
}

/// Removes a directory of this machine, as the original does in single-node clusters: only below `/tmp`.
async fn remove_directory(path: &str) -> Result<(), String> {
    let below = path.find("/tmp/").is_some_and(|at| path.len() > at + "/tmp/".len());
    let climbs = Path::new(path).components().any(|part| part == Component::ParentDir);
    if !below || climbs {
        return Err(format!(
            "host_path deleter only supports /tmp/.+ but received provided {path}"
        ));
    }
    match tokio::fs::remove_dir_all(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

impl Sync<'_> {
    /// Whether the volume is as its policy wants it, or in the hands of others.
    pub(super) async fn reclaim(&self, volume: Arc<PersistentVolume>) -> Result<bool, Error> {
        if annotation(&volume.metadata, MIGRATED_TO).is_some_and(|driver| !driver.is_empty()) {
            return Ok(true);
        }
        let spec = volume.spec.as_ref();
        match spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) {
            Some("Retain") => Ok(true),
            Some("Delete") => {
                let deleter = deleter(&volume);
                let operation = Operation::Delete(volume.name_any());
                let plugin = self.plugin(&volume, &deleter);
                self.controller.operations.begin(operation.clone(), &plugin);
                let deleted = match deleter {
                    Deleter::Others => return Ok(true),
                    Deleter::None(why) => Err(why),
                    Deleter::Directory(path) => remove_directory(&path).await,
                };
                match deleted {
                    Ok(()) => self.remove(&volume).await,
                    Err(why) => {
                        self.controller.operations.failed(&operation);
                        self.fail(volume, "VolumeFailedDelete", &why).await
                    }
                }
            }
            Some("Recycle") => self.recycle(volume).await,
            _ => {
                let text = "Volume has unrecognized PersistentVolumeReclaimPolicy";
                self.fail(volume, "VolumeUnknownReclaimPolicy", text).await
            }
        }
    }

    /// Who made a volume, as it is told: of those outside what its class says, so that there are not too many.
    fn plugin(&self, volume: &PersistentVolume, deleter: &Deleter) -> String {
        match deleter {
            Deleter::Directory(_) => HOST_PATH.to_owned(),
            Deleter::None(_) => String::new(),
            Deleter::Others => {
                let class = self.class(volume_class(volume));
                let by = class.map(|class| class.provisioner.clone()).unwrap_or_default();
                migrated(&by).map_or(by, str::to_owned)
            }
        }
    }

    async fn remove(&self, volume: &PersistentVolume) -> Result<bool, Error> {
        let api: Api<PersistentVolume> = Api::all(self.context.client());
        let uid = volume.metadata.uid.clone();
        let exactly = Preconditions { uid, ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(exactly), ..DeleteParams::default() };
        match api.delete(&volume.name_any(), &params).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(true),
        }
    }

    /// A volume in use is left alone until its pods are gone.
    async fn recycle(&self, volume: Arc<PersistentVolume>) -> Result<bool, Error> {
        let key = super::claim_key(&volume).unwrap_or_default();
        let pods = self.users(&key);
        if !pods.is_empty() && self.claim(&key).is_none() {
            let names: Vec<_> = pods.into_iter().collect();
            let text = format!("Volume is used by pods: {}", names.join(","));
            self.tell_volume(&volume, EventType::Normal, "VolumeFailedRecycle", &text);
            return Ok(false);
        }
        self.scrub(volume).await
    }

    fn users(&self, claim: &ObjectKey) -> BTreeSet<String> {
        let pods = super::claimed::users(&self.context.informers().of::<Pod>(), claim);
        let active = pods.iter().filter(|pod| !is_terminal(pod));
        active.map(|pod| ObjectKey::of(&**pod).to_string()).collect()
    }

    pub(super) async fn fail(
        &self,
        volume: Arc<PersistentVolume>,
        reason: &str,
        text: &str,
    ) -> Result<bool, Error> {
        if volume_phase(&volume) != "Failed" {
            let volume = self.set_volume_phase(volume, "Failed", text).await?;
            self.tell_volume(&volume, EventType::Warning, reason, text);
        }
        Ok(true)
    }
}
