//! Giving running containers what the node has given to their pod.

use super::Worker;
use crate::{
    actions::resize::{Resize, Update, is_going},
    allocation::Figures,
    container::resources,
    observed::ObservedPod,
    resize::{self, ERROR, IN_PROGRESS, words::summary},
    spec,
};
use k8s_openapi::api::core::v1::Pod;
use kubeplane_client::EventType;
use std::sync::Arc;

impl Worker {
    /// Notes whether containers have yet what the pod was given, and tells when they do.
    pub(super) fn track(&self, pod: &Pod, observed: &ObservedPod) {
        let going = is_going(pod, observed);
        let (turn, generation) = (self.turn, pod.metadata.generation);
        let now = self.host.clock.now();
        let completed = self.host.pods.change(&self.id.uid, |record| {
            let given = &mut record.given;
            // Something else was given meanwhile: this is not about that.
            if given.turn != turn {
                return None;
            }
            if going {
                let new = || resize::condition(IN_PROGRESS, None, ("", ""), generation, now);
                given.in_progress.get_or_insert_with(new);
                return None;
            }
            given.in_progress.take()
        });
        let Some(condition) = completed.flatten() else { return };
        let text = summary("Pod resize completed", pod, condition.observed_generation, "");
        self.host.pod_event(pod, EventType::Normal, "ResizeCompleted", text);
        resize::retry(&self.host, "pod_resized");
    }

    /// Changes running containers; whether all was done.
    pub(super) async fn resize(&mut self, pod: &Arc<Pod>, resize: &Resize) -> bool {
        let start = self.host.clock.elapsed();
        let done = self.actuate(pod, resize).await;
        let took = self.host.clock.elapsed().saturating_sub(start);
        self.host.metrics.resizes.took(done.is_ok(), took);
        let Err(message) = done else { return true };
        tracing::warn!(pod = %self.id, %message, "failed to resize a pod");
        let (own, now) = (pod.metadata.generation, self.host.clock.now());
        let told = self.host.pods.change(&self.id.uid, |record| {
            let old = record.given.in_progress.take();
            let generation = old.as_ref().map_or(own, |old| old.observed_generation);
            let next = resize::condition(
                IN_PROGRESS,
                old.as_ref(),
                (ERROR, message.as_str()),
                generation,
                now,
            );
            let is_same = old.as_ref() == Some(&next);
            record.given.in_progress = Some(next);
            (!is_same).then_some(generation)
        });
        if let Some(generation) = told.flatten() {
            let text = summary("Pod resize error", pod, generation, &message);
            self.host.pod_event(pod, EventType::Warning, "ResizeError", text);
        }
        false
    }

    /// Changes one after the other; what comes after a failure is not tried.
    async fn actuate(&mut self, pod: &Arc<Pod>, resize: &Resize) -> Result<(), String> {
        self.check_memory(&resize.memory).await?;
        for update in &resize.memory {
            let figures = Figures {
                memory_request: update.to.memory_request,
                memory_limit: update.to.memory_limit,
                ..update.from
            };
            self.update(pod, update, figures).await?;
        }
        for update in &resize.cpu {
            self.update(pod, update, update.to).await?;
        }
        Ok(())
    }

    async fn update(
        &mut self,
        pod: &Arc<Pod>,
        update: &Update,
        figures: Figures,
    ) -> Result<(), String> {
        let Some((_, container)) = spec::container_named(pod, &update.name) else { return Ok(()) };
        let mut container = container.into_owned();
        container.resources = Some(figures.to_resources());
        let resources = resources::linux(pod, &container, self.host.machine.memory);
        let told = self.host.runtime.update_container_resources(&update.id, resources).await;
        told.map_err(|error| error.to_string())?;
        self.host.pods.set_actuated(&self.id.uid, &update.name, figures);
        self.keep();
        Ok(())
    }

    /// A limit below what a container uses would have it killed.
    async fn check_memory(&self, updates: &[Update]) -> Result<(), String> {
        let mut errors = Vec::new();
        for Update { id, name, from, to } in updates {
            let (has, limit) = (from.memory_limit, to.memory_limit);
            if limit == 0 || (has != 0 && limit >= has) {
                continue;
            }
            let stats = self.host.runtime.container_stats(id).await;
            let stats = stats.map_err(|error| {
                tracing::debug!(pod = %self.id, %error, "no memory usage of a container");
                format!("unable to read memory usage for pod {:?}", self.id.to_string())
            })?;
            let used = stats.memory.and_then(|memory| memory.usage_bytes);
            let Some(used) = used.map(|used| used.value) else {
                errors.push(format!("missing container {name:?} memory usage"));
                continue;
            };
            if i64::try_from(used).is_ok_and(|used| used < limit) {
                continue;
            }
            errors.push(format!(
                "attempting to set container {name:?} memory limit ({limit}) below current usage ({used})"
            ));
        }
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(format!("cannot decrease memory limits: {one}")),
            many => Err(format!("cannot decrease memory limits: [{}]", many.join(", "))),
        }
    }

    /// Writes down what the pod was given, if that is not as it is written already.
    pub(super) fn keep(&mut self) {
        let Some(now) = self.host.pods.kept(&self.id.uid) else { return };
        if self.kept.as_ref() == Some(&now) {
            return;
        }
        match now.write(&self.host.volumes.pod_dir(&self.id.uid)) {
            Ok(()) => self.kept = Some(now),
            Err(error) => {
                tracing::warn!(pod = %self.id, %error, "failed to keep what a pod was given");
            }
        }
    }
}
