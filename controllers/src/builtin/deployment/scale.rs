use super::{
    revision,
    rollout::Rollout,
    sets::{self, replicas, set_replicas},
    steps::{self, Share},
};
use crate::{Error, error::unless_gone};
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use kubeplane_client::EventType;
use std::sync::Arc;

impl Rollout<'_> {
    /// Spreads a change of the deployment's size over its active sets, so that it neither hastens nor delays a
    /// rollout under way.
    pub(super) async fn scale(&mut self, new: Option<&Arc<ReplicaSet>>) -> Result<(), Error> {
        let wanted = replicas(&self.deployment);
        if let Some(only) = sets::active_or_latest(&self.sets, new) {
            return self.resize(&only, wanted, false).await.map(drop);
        }
        if sets::is_saturated(&self.deployment, new.map(|new| &**new)) {
            let old: Vec<_> =
                sets::old(&self.sets, new.map(|new| &**new)).into_iter().cloned().collect();
            for set in sets::active(&old) {
                self.resize(set, 0, false).await?;
            }
            return Ok(());
        }
        if !sets::is_rolling(&self.deployment) {
            return Ok(());
        }
        let surge = sets::fence(&self.deployment).surge;
        let allowed = if wanted > 0 { wanted + surge } else { 0 };
        let mut active: Vec<_> = sets::active(&self.sets).into_iter().cloned().collect();
        let total: i32 = active.iter().map(|set| set_replicas(set)).sum();
        if total != allowed {
            sets::sort_by_size(&mut active, allowed > total);
        }
        let shares: Vec<_> = active.iter().map(|set| self.share(set)).collect();
        let sizes = steps::scale_proportionally(wanted, surge, &shares);
        for (set, size) in active.iter().zip(sizes) {
            self.resize(set, size, true).await?;
        }
        Ok(())
    }

    fn share(&self, set: &ReplicaSet) -> Share {
        let noted = revision::max(set).filter(|max| *max != 0);
        let status = self.deployment.status.as_ref().and_then(|status| status.replicas);
        Share { replicas: set_replicas(set), max_before: noted.or(status).unwrap_or_default() }
    }

    /// Gives a set a new size; with `annotate` its notes are brought up to date even when the size stays.
    /// Whether the size changed.
    pub(super) async fn resize(
        &mut self,
        set: &Arc<ReplicaSet>,
        size: i32,
        annotate: bool,
    ) -> Result<bool, Error> {
        let before = set_replicas(set);
        if before == size && !annotate {
            return Ok(false);
        }
        let mut next = (**set).clone();
        let noted = revision::note_replicas(&mut next, &self.deployment);
        if before == size && !noted {
            return Ok(false);
        }
        next.spec.get_or_insert_default().replicas = Some(size);
        let written = self.replace_set(&next).await?;
        if before == size {
            return Ok(false);
        }
        let direction = if before < size { "up" } else { "down" };
        let name = written.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Scaled {direction} replica set {name} from {before} to {size}");
        self.context.recorder().event_for(
            &self.deployment,
            EventType::Normal,
            "ScalingReplicaSet",
            message,
        );
        Ok(true)
    }

    pub(super) async fn replace_set(&mut self, set: &ReplicaSet) -> Result<Arc<ReplicaSet>, Error> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let written = Arc::new(self.set_api().replace(name, &PostParams::default(), set).await?);
        self.written.sets.updated(&self.key(), &*written);
        for present in &mut self.sets {
            if present.metadata.uid == written.metadata.uid {
                *present = written.clone();
            }
        }
        Ok(written)
    }

    pub(super) fn set_api(&self) -> Api<ReplicaSet> {
        let namespace = self.deployment.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.context.client(), namespace)
    }

    /// Deletes old sets without pods beyond the history that is to be kept.
    pub(super) async fn clean_up(&self, new: Option<&ReplicaSet>) -> Result<(), Error> {
        let limit = self.deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit);
        let Some(limit) = limit.filter(|limit| *limit != i32::MAX) else { return Ok(()) };
        let old = sets::old(&self.sets, new).into_iter();
        let mut alive: Vec<_> =
            old.filter(|set| set.metadata.deletion_timestamp.is_none()).collect();
        let surplus = alive.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        // Those of equal revision stay in the order of their age.
        alive.sort_by_key(|set| revision::of(set).unwrap_or_default());
        for set in alive.into_iter().take(surplus) {
            let status = set.status.clone().unwrap_or_default();
            let unseen = set.metadata.generation > status.observed_generation;
            if status.replicas == 0 && set_replicas(set) == 0 && !unseen {
                let name = set.metadata.name.as_deref().unwrap_or_default();
                unless_gone(self.set_api().delete(name, &DeleteParams::background()).await)?;
                self.written.sets.deleted(&self.key(), &**set);
            }
        }
        Ok(())
    }
}
