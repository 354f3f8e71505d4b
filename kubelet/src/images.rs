//! Makes sure that the images of containers are on this machine.

mod credentials;
mod reference;

use crate::{api::Objects, backoff::Backoff, container::security::ImageUser, spec, status::Reason};
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod};
use kubeplane_client::{EventRecorder, EventType};
use kubeplane_clock::SharedClock;
use kubeplane_runtime_cri::{ContainerRuntime, v1};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

const FIRST_WAIT: Duration = Duration::from_secs(10);
const LAST_WAIT: Duration = Duration::from_secs(300);
const PARALLEL: usize = 4;

type Key = (String, String);

/// An image that is present.
#[derive(Debug)]
pub(crate) struct Present {
    pub(crate) spec: v1::ImageSpec,
    pub(crate) user: ImageUser,
}

/// Pulls images, with back-off per pod and image.
#[derive(Debug)]
pub(crate) struct Images {
    runtime: Arc<dyn ContainerRuntime>,
    objects: Arc<dyn Objects>,
    recorder: EventRecorder,
    clock: SharedClock,
    backoff: Backoff<Key>,
    failures: Mutex<HashMap<Key, (Duration, String)>>,
    slots: Semaphore,
}

/// The container an image is for.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) container: &'a Container,
    pub(crate) reference: &'a ObjectReference,
    pub(crate) sandbox: &'a v1::PodSandboxConfig,
}

impl Images {
    pub(crate) fn new(
        runtime: Arc<dyn ContainerRuntime>,
        objects: Arc<dyn Objects>,
        recorder: EventRecorder,
        clock: SharedClock,
    ) -> Self {
        Self {
            runtime,
            objects,
            recorder,
            clock,
            backoff: Backoff::new(FIRST_WAIT, LAST_WAIT),
            failures: Mutex::default(),
            slots: Semaphore::new(PARALLEL),
        }
    }

    /// The image of a container, pulled if its policy says so.
    ///
    /// # Errors
    /// The reason and message the container waits with.
    pub(crate) async fn ensure(&self, wanted: &Wanted<'_>) -> Result<Present, Reason> {
        let given = wanted.container.image.as_deref().unwrap_or_default();
        let image = reference::with_tag(given).map_err(|why| {
            let message = format!("Failed to apply default image tag {given:?}: {why}");
            self.event(wanted, EventType::Warning, "InspectFailed", &message);
            Reason { reason: "InvalidImageName", message }
        })?;
        let spec = v1::ImageSpec { image, ..Default::default() };
        let policy = wanted.container.image_pull_policy.as_deref().unwrap_or("IfNotPresent");
        if policy != "Always" {
            if let Some(found) = self.status(&spec, wanted).await? {
                let message = if policy == "Never" {
                    format!("Container image {given:?} already present on machine")
                } else {
                    format!(
                        "Container image {given:?} already present on machine and can be accessed \
                         by the pod"
                    )
                };
                self.event(wanted, EventType::Normal, "Pulled", &message);
                return Ok(present(found, given));
            }
            if policy == "Never" {
                let message =
                    format!("Container image {given:?} is not present with pull policy of Never");
                self.event(wanted, EventType::Warning, "ErrImageNeverPull", &message);
                return Err(Reason { reason: "ErrImageNeverPull", message });
            }
        }
        self.pull(wanted, given, &spec).await?;
        match self.status(&spec, wanted).await? {
            Some(found) => Ok(present(found, given)),
            None => Err(Reason {
                reason: "ImageInspectError",
                message: format!("Failed to inspect image {given:?}: it is gone after its pull"),
            }),
        }
    }

    async fn status(
        &self,
        spec: &v1::ImageSpec,
        wanted: &Wanted<'_>,
    ) -> Result<Option<v1::Image>, Reason> {
        self.runtime.image_status(spec).await.map_err(|error| {
            let message = format!("Failed to inspect image {:?}: {error}", spec.image);
            self.event(wanted, EventType::Warning, "InspectFailed", &message);
            Reason { reason: "ImageInspectError", message }
        })
    }

    async fn pull(
        &self,
        wanted: &Wanted<'_>,
        given: &str,
        spec: &v1::ImageSpec,
    ) -> Result<(), Reason> {
        let uid = wanted.pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid, spec.image.clone());
        self.check_backoff(wanted, given, &key)?;
        self.event(wanted, EventType::Normal, "Pulling", &format!("Pulling image {given:?}"));
        let asked = self.clock.elapsed();
        let _slot = self.slots.acquire().await;
        let begun = self.clock.elapsed();
        let auth = self.credentials(wanted.pod, &spec.image).await;
        match self.runtime.pull_image(spec, auth, Some(wanted.sandbox.clone())).await {
            Ok(_) => {
                let now = self.clock.elapsed();
                let size = self.runtime.image_status(spec).await.ok().flatten();
                let message = format!(
                    "Successfully pulled image {given:?} in {} ({} including waiting). Image size: \
                     {} bytes.",
                    go_duration(now.saturating_sub(begun)),
                    go_duration(now.saturating_sub(asked)),
                    size.map_or(0, |image| image.size)
                );
                self.event(wanted, EventType::Normal, "Pulled", &message);
                self.failures.lock().remove(&key);
                Ok(())
            }
            Err(error) => {
                let now = self.clock.elapsed();
                self.backoff.next(key.clone(), now);
                self.failures.lock().insert(key, (now, error.to_string()));
                let message = format!("Failed to pull image {given:?}: {error}");
                self.event(wanted, EventType::Warning, "Failed", &message);
                Err(Reason { reason: "ErrImagePull", message: error.to_string() })
            }
        }
    }

    fn check_backoff(&self, wanted: &Wanted<'_>, given: &str, key: &Key) -> Result<(), Reason> {
        let failure = self.failures.lock().get(key).cloned();
        let Some((failed_at, why)) = failure else { return Ok(()) };
        if self.backoff.until(key, failed_at, self.clock.elapsed()).is_none() {
            return Ok(());
        }
        let message = format!("Back-off pulling image {given:?}");
        self.event(wanted, EventType::Normal, "BackOff", &message);
        let message = format!("{message}: ErrImagePull: {why}");
        Err(Reason { reason: "ImagePullBackOff", message })
    }

    /// When the next pull for this pod may succeed, in the clock's elapsed time.
    pub(crate) fn next_try(&self, uid: &str) -> Option<Duration> {
        let now = self.clock.elapsed();
        let failures = self.failures.lock();
        let own = failures.iter().filter(|((pod, _), _)| pod == uid);
        own.filter_map(|(key, (failed_at, _))| self.backoff.until(key, *failed_at, now)).min()
    }

    /// Forgets what is remembered for a pod that is gone.
    pub(crate) fn forget(&self, uid: &str) {
        self.failures.lock().retain(|(pod, _), _| pod != uid);
        self.backoff.retain(|(pod, _)| pod != uid);
    }

    fn event(&self, wanted: &Wanted<'_>, kind: EventType, reason: &str, message: &str) {
        self.recorder.event(wanted.reference, kind, reason, message);
    }

    async fn credentials(&self, pod: &Pod, image: &str) -> Option<v1::AuthConfig> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for reference in spec::spec(pod).image_pull_secrets.iter().flatten() {
            let Ok(secret) = self.objects.secret(namespace, &reference.name).await else {
                continue;
            };
            if let Some(found) = credentials::for_image(&secret, image) {
                return Some(found);
            }
        }
        None
    }
}

fn present(image: v1::Image, given: &str) -> Present {
    Present {
        user: ImageUser { uid: image.uid.map(|uid| uid.value), name: image.username },
        spec: v1::ImageSpec {
            image: image.id,
            user_specified_image: given.to_owned(),
            ..Default::default()
        },
    }
}

/// A duration the way Go prints it, rounded to milliseconds.
pub(crate) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let text = |millis: u128| {
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match (minutes, millis) {
        (0, 0) => "0s".to_owned(),
        (0, 1..1000) => format!("{millis}ms"),
        (0, _) => format!("{}s", text(rest)),
        (minutes, _) => match (minutes / 60, minutes % 60) {
            (0, minutes) => format!("{minutes}m{}s", text(rest)),
            (hours, minutes) => format!("{hours}h{minutes}m{}s", text(rest)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_printed_as_go_does() {
        for (millis, text) in [
            (0, "0s"),
            (150, "150ms"),
            (1500, "1.5s"),
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
