//! Recycling: a pod that removes what is in a volume of the host's or an NFS server's disk, before it is free again.

use super::Sync;
use crate::{Error, builtin::Settings};
use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use kubeplane_client::EventType;
use kubeplane_workload::{phase::phase, storage::storage, typed::typed};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Where recycling pods run.
const NAMESPACE: &str = "default";
/// What the names of recycling pods begin with; the volume's follows.
const PREFIX: &str = "recycler-for-";
/// On a recycling pod: the uid of the volume that it is for.
const FOR: &str = "kubeplane.dev/recycles";
/// What the original runs.
const IMAGE: &str = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.6";
const SCRIPT: &str =
    "test -e /scrub && find /scrub -mindepth 1 -delete && test -z \"$(ls -A /scrub)\" || exit 1";

/// How long a recycling pod may run at least, and for each GiB.
#[derive(Debug)]
pub(super) struct Time {
    host_path: (Duration, Duration),
    nfs: (Duration, Duration),
}

impl Time {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            host_path: (
                settings.pv_recycler_minimum_timeout_hostpath,
                settings.pv_recycler_timeout_increment_hostpath,
            ),
            nfs: (
                settings.pv_recycler_minimum_timeout_nfs,
                settings.pv_recycler_increment_timeout_nfs,
            ),
        }
    }
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// The volume that a pod recycles, by the pod's name.
pub(super) fn recycled_by(pod: &Pod) -> Option<&str> {
    let own = pod.metadata.namespace.as_deref() == Some(NAMESPACE);
    pod.metadata.name.as_deref()?.strip_prefix(PREFIX).filter(|_| own)
}

/// What a recycling pod mounts, and for how many seconds it may run; `None` for what cannot be recycled.
fn source(volume: &PersistentVolume, time: &Time) -> Option<(Value, i64)> {
    let spec = volume.spec.as_ref()?;
    let (source, (least, each)) = match (&spec.host_path, &spec.nfs) {
        (Some(host), _) => {
            (json!({"name": "vol", "hostPath": {"path": host.path}}), time.host_path)
        }
        (None, Some(nfs)) => (json!({"name": "vol", "nfs": nfs}), time.nfs),
        (None, None) => return None,
    };
    let size = storage(spec.capacity.as_ref()).map_or(0, |size| size.value() >> 30);
    Some((source, size.saturating_mul(seconds(each)).max(seconds(least))))
}

fn recycler(volume: &PersistentVolume, source: &Value, seconds: i64) -> Result<Pod, Error> {
    let pod = json!({
        "metadata": {"name": format!("{PREFIX}{}", volume.name_any()), "namespace": NAMESPACE,
            "annotations": {FOR: volume.metadata.uid}},
        "spec": {
            "activeDeadlineSeconds": seconds,
            "restartPolicy": "Never",
            "volumes": [source],
            "containers": [{"name": "pv-recycler", "image": IMAGE, "command": ["/bin/sh"], "args": ["-c", SCRIPT],
                "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}]}],
        },
    });
    typed(&pod).map_err(|error| Error::Invalid(error.to_string()))
}

impl Sync<'_> {
    /// Starts the pod, or looks how it ended; whether that is all there is to do for now.
    pub(super) async fn scrub(&self, volume: Arc<PersistentVolume>) -> Result<bool, Error> {
        let Some((source, seconds)) = source(&volume, &self.controller.scrubs_for) else {
            let text = "No recycler plugin found for the volume!";
            return self.fail(volume, "VolumeFailedRecycle", text).await;
        };
        let api: Api<Pod> = Api::namespaced(self.context.client(), NAMESPACE);
        let name = format!("{PREFIX}{}", volume.name_any());
        let Some(pod) = api.get_opt(&name).await? else {
            let pod = recycler(&volume, &source, seconds)?;
            return match api.create(&PostParams::default(), &pod).await.map_err(Error::from) {
                Ok(_) => Ok(true),
                Err(error) => {
                    let text = format!("unexpected error creating recycler pod:  {}", error.text());
                    self.not_recycled(volume, &text).await
                }
            };
        };
        let ours = pod.annotations().get(FOR) == volume.metadata.uid.as_ref();
        match phase(&pod) {
            "Succeeded" if ours => {
                self.end(&api, &pod).await?;
                self.tell_volume(&volume, EventType::Normal, "VolumeRecycled", "Volume recycled");
                self.unbind(volume).await?;
                Ok(true)
            }
            "Failed" if ours => {
                let message = pod.status.as_ref().and_then(|status| status.message.clone());
                let why =
                    message.unwrap_or_else(|| "pod failed, pod.Status.Message unknown".into());
                self.end(&api, &pod).await?;
                self.not_recycled(volume, &format!("failed to recycle volume: {why}")).await
            }
            _ if ours => Ok(true),
            _ => {
                self.end(&api, &pod).await?;
                self.not_recycled(volume, "old recycler pod found, will retry later").await
            }
        }
    }

    async fn end(&self, api: &Api<Pod>, pod: &Pod) -> Result<(), Error> {
        match api.delete(&pod.name_any(), &DeleteParams::default()).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// It is tried again later, whatever the phase says.
    async fn not_recycled(&self, volume: Arc<PersistentVolume>, why: &str) -> Result<bool, Error> {
        self.fail(volume, "VolumeFailedRecycle", &format!("Recycle failed: {why}")).await?;
        Ok(false)
    }
}
