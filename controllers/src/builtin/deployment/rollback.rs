//! Going back to an earlier revision, as clients of the API's first versions ask for it by an annotation.

use super::{hash, revision, rollout::Rollout};
use crate::{Action, Error};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::{Api, api::PostParams};
use kubeplane_client::EventType;
use std::sync::Arc;

const NOT_FOUND: &str = "DeploymentRollbackRevisionNotFound";
const UNCHANGED: &str = "DeploymentRollbackTemplateUnchanged";
const DONE: &str = "DeploymentRollback";

/// The revision that a deployment is to go back to; zero stands for the last one.
pub(super) fn asked_for(deployment: &Deployment) -> Option<i64> {
    deployment.metadata.annotations.as_ref()?.get(revision::ROLLBACK)?.parse().ok()
}

impl Rollout<'_> {
    /// Makes the template of a revision the deployment's own; what asked for it goes in any case.
    pub(super) async fn roll_back(mut self, asked: i64) -> Result<Action, Error> {
        self.sync_new(true).await?;
        let wanted = match asked {
            0 => revision::last(self.sets.iter().map(|set| &**set)),
            asked => asked,
        };
        if wanted == 0 {
            self.warn(NOT_FOUND, "Unable to find last revision.");
            return self.clear().await;
        }
        let found = self.sets.iter().find(|set| revision::of(set) == Some(wanted)).cloned();
        let Some(set) = found else {
            self.warn(NOT_FOUND, "Unable to find the revision to rollback to.");
            return self.clear().await;
        };
        let name = self.deployment.metadata.name.clone().unwrap_or_default();
        if !self.take_template(&set) {
            let what = "The rollback revision contains the same template as current deployment";
            self.warn(UNCHANGED, &format!("{what} {name:?}"));
            return self.clear().await;
        }
        let recorder = self.context.recorder().clone();
        let about = self.deployment.clone();
        let done = self.clear().await?;
        let message = format!("Rolled back deployment {name:?} to revision {wanted}");
        recorder.event_for(&about, EventType::Normal, DONE, message);
        Ok(done)
    }

    /// Whether that changed anything.
    fn take_template(&mut self, set: &Arc<ReplicaSet>) -> bool {
        let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let (Some(template), Some(spec)) = (template, self.deployment.spec.as_mut()) else {
            return false;
        };
        if hash::is_same(&spec.template, template) {
            return false;
        }
        spec.template = template.clone();
        let labels = spec.template.metadata.as_mut().and_then(|meta| meta.labels.as_mut());
        labels.and_then(|labels| labels.remove(hash::HASH_LABEL));
        revision::take_back(&mut self.deployment, set);
        true
    }

    fn warn(&self, reason: &str, message: &str) {
        let recorder = self.context.recorder();
        recorder.event_for(&self.deployment, EventType::Warning, reason, message);
    }

    async fn clear(mut self) -> Result<Action, Error> {
        if let Some(annotations) = &mut self.deployment.metadata.annotations {
            annotations.remove(revision::ROLLBACK);
        }
        let meta = &self.deployment.metadata;
        let (name, namespace) = (meta.name.as_deref(), meta.namespace.as_deref());
        let api: Api<Deployment> =
            Api::namespaced(self.context.client(), namespace.unwrap_or_default());
        let name = name.unwrap_or_default();
        let written = api.replace(name, &PostParams::default(), &self.deployment).await?;
        self.written.deployments.updated(&self.key(), &written);
        Ok(Action::Done)
    }
}
