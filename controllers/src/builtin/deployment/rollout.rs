use super::{
    DeploymentController, hash, revision, rollback,
    sets::{self, replicas, set_replicas, size},
    status, steps,
};
use crate::{Action, Context, Error, builtin::pods};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use kubeplane_client::{EventType, ObjectKey, controller_ref, is_controlled_by};
use kubeplane_workload::is_terminal;
use std::{sync::Arc, time::Duration};

/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// One look at a deployment and its replica sets, oldest first, and the next step that follows from it.
pub(super) struct Rollout<'a> {
    pub(super) written: &'a DeploymentController,
    pub(super) context: &'a Context,
    pub(super) deployment: Deployment,
    pub(super) sets: Vec<Arc<ReplicaSet>>,
}

impl<'a> Rollout<'a> {
    pub(super) fn new(
        written: &'a DeploymentController,
        context: &'a Context,
        deployment: Deployment,
        mut sets: Vec<Arc<ReplicaSet>>,
    ) -> Self {
        sets::sort_by_age(&mut sets);
        Self { written, context, deployment, sets }
    }

    pub(super) fn key(&self) -> ObjectKey {
        ObjectKey::of(&self.deployment)
    }

    /// Only says that the present generation was seen.
    pub(super) async fn observe_only(mut self) -> Result<Action, Error> {
        let mut status = self.deployment.status.clone().unwrap_or_default();
        if status.observed_generation < self.deployment.metadata.generation {
            status.observed_generation = self.deployment.metadata.generation;
            self.deployment.status = Some(status);
            self.write_status().await?;
        }
        Ok(Action::Done)
    }

    pub(super) async fn run(mut self) -> Result<Action, Error> {
        if self.deployment.metadata.deletion_timestamp.is_some() {
            let new = self.sync_new(false).await?;
            return self.sync_status(new.as_deref()).await;
        }
        if status::note_pause(&mut self.deployment, self.context.now()) {
            self.write_status().await?;
        }
        let new = self.sync_new(false).await?;
        let paused = self.deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or_default();
        let back = rollback::asked_for(&self.deployment);
        if let Some(revision) = back.filter(|_| !paused) {
            return self.roll_back(revision).await;
        }
        if paused || self.is_scaling() {
            self.scale(new.as_ref()).await?;
            if paused && back.is_none() {
                self.clean_up(new.as_deref()).await?;
            }
            let new = sets::find_new(&self.deployment, &self.sets);
            return self.sync_status(new.as_deref()).await;
        }
        if sets::is_rolling(&self.deployment) {
            self.roll().await
        } else {
            self.recreate(new).await
        }
    }

    /// Whether the deployment's size changed since its active sets were scaled last.
    fn is_scaling(&self) -> bool {
        let wanted = replicas(&self.deployment);
        sets::active(&self.sets)
            .iter()
            .any(|set| revision::desired(set).is_some_and(|desired| desired != wanted))
    }

    async fn roll(mut self) -> Result<Action, Error> {
        let Some(new) = self.sync_new(true).await? else { return Ok(Action::Done) };
        let wanted = replicas(&self.deployment);
        let fence = sets::fence(&self.deployment);
        let total = self.sets.iter().map(|set| sets::pods(set)).sum();
        let current = set_replicas(&new);
        let grown = if current > wanted {
            wanted
        } else {
            steps::grow_new(wanted, fence.surge, total, current)
        };
        if self.resize(&new, grown, false).await? {
            return self.finish(&new).await;
        }
        let old: Vec<_> =
            sets::active(sets::old(&self.sets, Some(&new))).into_iter().cloned().collect();
        let sizes: Vec<_> = old.iter().map(|set| size(set)).collect();
        let mut shrunk = false;
        for (set, size) in
            old.iter().zip(steps::shrink_old(wanted, fence.unavailable, size(&new), &sizes))
        {
            shrunk |= self.resize(set, size, false).await?;
        }
        if !shrunk && status::is_complete(&self.deployment, &status::present(&self.deployment)) {
            self.clean_up(Some(&new)).await?;
        }
        self.finish(&new).await
    }

    async fn recreate(mut self, new: Option<Arc<ReplicaSet>>) -> Result<Action, Error> {
        let old: Vec<_> =
            sets::active(sets::old(&self.sets, new.as_deref())).into_iter().cloned().collect();
        let mut shrunk = false;
        for set in &old {
            shrunk |= self.resize(set, 0, false).await?;
        }
        if shrunk || self.old_pods_run(new.as_deref()) {
            return self.sync_rollout_status(new.as_deref()).await;
        }
        let Some(new) = self.sync_new(true).await? else { return Ok(Action::Done) };
        self.resize(&new, replicas(&self.deployment), false).await?;
        if status::is_complete(&self.deployment, &status::present(&self.deployment)) {
            self.clean_up(Some(&new)).await?;
        }
        self.finish(&new).await
    }

    async fn finish(self, new: &ReplicaSet) -> Result<Action, Error> {
        let fresh = self.sets.iter().find(|set| set.metadata.uid == new.metadata.uid).cloned();
        self.sync_rollout_status(fresh.as_deref()).await
    }

    fn old_pods_run(&self, new: Option<&ReplicaSet>) -> bool {
        let all = self.context.informers().of::<Pod>();
        sets::old(&self.sets, new).iter().any(|set| {
            let counted = set.status.as_ref().is_some_and(|status| status.replicas > 0);
            let uid = set.metadata.uid.as_deref().unwrap_or_default();
            counted || pods::managed(&all, uid).iter().any(|pod| !is_terminal(pod))
        })
    }

    /// The set of the deployment's present template with its notes up to date; made when `create` says so.
    pub(super) async fn sync_new(
        &mut self,
        create: bool,
    ) -> Result<Option<Arc<ReplicaSet>>, Error> {
        let found = sets::find_new(&self.deployment, &self.sets);
        let old = sets::old(&self.sets, found.as_deref());
        let next = revision::next(old.into_iter().map(|set| &**set));
        match found {
            Some(set) => self.refresh(set, next).await.map(Some),
            None if create => self.create(next).await.map(Some),
            None => Ok(None),
        }
    }

    async fn refresh(&mut self, set: Arc<ReplicaSet>, next: i64) -> Result<Arc<ReplicaSet>, Error> {
        let min_ready = self
            .deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.min_ready_seconds)
            .unwrap_or_default();
        let mut copy = (*set).clone();
        let spec = copy.spec.get_or_insert_default();
        let slower = spec.min_ready_seconds.unwrap_or_default() != min_ready;
        spec.min_ready_seconds = Some(min_ready).filter(|seconds| *seconds != 0);
        let noted = revision::note(&mut copy, &self.deployment, next);
        if noted || slower {
            return self.replace_set(&copy).await;
        }
        let number = revision::of(&set).unwrap_or_default();
        let revised = self.note_revision(number);
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let found = status::note_found(&mut self.deployment, name, self.context.now());
        if revised || found {
            self.write_status().await?;
        }
        Ok(set)
    }

    fn note_revision(&mut self, revision: i64) -> bool {
        let annotations = self.deployment.metadata.annotations.get_or_insert_default();
        let text = revision.to_string();
        annotations.insert(revision::REVISION.to_owned(), text.clone()).as_ref() != Some(&text)
    }

    async fn create(&mut self, revision: i64) -> Result<Arc<ReplicaSet>, Error> {
        let set = self.new_set(revision)?;
        let name = set.metadata.name.clone().unwrap_or_default();
        let wanted = set_replicas(&set);
        let (created, is_new) =
            match self.set_api().create(&PostParams::default(), &set).await.map_err(Error::from) {
                Ok(created) => (created, true),
                Err(error) if error.is_already_exists() => {
                    (self.existing(&name, error).await?, false)
                }
                Err(error) if error.is_namespace_terminating() => return Err(error),
                Err(error) => {
                    let message =
                        format!("Failed to create new replica set {name:?}: {}", error.text());
                    if status::note_create_error(&mut self.deployment, &message, self.context.now())
                    {
                        // The failure to create is what counts.
                        let _ = self.write_status().await;
                    }
                    let reason = status::CREATE_ERROR;
                    self.context.recorder().event_for(
                        &self.deployment,
                        EventType::Warning,
                        reason,
                        message,
                    );
                    return Err(error);
                }
            };
        let created = Arc::new(created);
        self.written.sets.created(&self.key(), &*created);
        self.sets.push(created.clone());
        if is_new && wanted > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {wanted}");
            self.context.recorder().event_for(
                &self.deployment,
                EventType::Normal,
                "ScalingReplicaSet",
                message,
            );
        }
        let revised = self.note_revision(revision);
        let noted = is_new && status::note_created(&mut self.deployment, &name, self.context.now());
        if revised || noted {
            self.write_status().await?;
        }
        Ok(created)
    }

    fn new_set(&self, revision: i64) -> Result<ReplicaSet, Error> {
        let deployment = &self.deployment;
        let spec = deployment
            .spec
            .clone()
            .ok_or_else(|| Error::Invalid("deployment without a spec".to_owned()))?;
        let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = hash::of(&spec.template, collisions);
        let mut template = spec.template;
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(hash::HASH_LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        let mut selector = spec.selector;
        selector
            .match_labels
            .get_or_insert_default()
            .insert(hash::HASH_LABEL.to_owned(), hash.clone());

        let mut prefix = deployment.metadata.name.clone().unwrap_or_default();
        prefix.truncate(LONGEST_NAME - 1 - hash.len());
        let total = self.sets.iter().map(|set| sets::pods(set)).sum();
        let wanted = replicas(deployment);
        let rolling = sets::is_rolling(deployment);
        let first = if rolling {
            steps::grow_new(wanted, sets::fence(deployment).surge, total, 0)
        } else {
            wanted
        };
        let mut set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{prefix}-{hash}")),
                namespace: deployment.metadata.namespace.clone(),
                owner_references: Some(vec![controller_ref(deployment)]),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(first),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        revision::note(&mut set, deployment, revision);
        revision::note_replicas(&mut set, deployment);
        Ok(set)
    }

    /// The set that took the name: this deployment's own, seen late, or another one, whose name must be avoided.
    async fn existing(&mut self, name: &str, refusal: Error) -> Result<ReplicaSet, Error> {
        let present = self.set_api().get(name).await?;
        let uid = self.deployment.metadata.uid.as_deref().unwrap_or_default();
        let template = self.deployment.spec.as_ref().map(|spec| &spec.template);
        let other = present.spec.as_ref().and_then(|spec| spec.template.as_ref());
        let same =
            template.zip(other).is_some_and(|(template, other)| hash::is_same(template, other));
        if is_controlled_by(&present, uid) && same {
            return Ok(present);
        }
        let status = self.deployment.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
        self.write_status().await?;
        Err(refusal)
    }

    pub(super) async fn write_status(&mut self) -> Result<(), Error> {
        let meta = &self.deployment.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(self.context.client(), &namespace);
        self.deployment =
            api.replace_status(&name, &PostParams::default(), &self.deployment).await?;
        self.written.deployments.updated(&self.key(), &self.deployment);
        Ok(())
    }

    async fn sync_status(mut self, new: Option<&ReplicaSet>) -> Result<Action, Error> {
        let now = self.context.now();
        let mut next = status::compute(&self.deployment, &self.sets, new, now);
        next.terminating_replicas = next.terminating_replicas.filter(|_| self.written.terminating);
        if next != status::present(&self.deployment) {
            self.deployment.status = Some(next);
            self.write_status().await?;
        }
        Ok(Action::Done)
    }

    async fn sync_rollout_status(mut self, new: Option<&ReplicaSet>) -> Result<Action, Error> {
        let now = self.context.now();
        let mut next = status::progress(&self.deployment, &self.sets, new, now);
        next.terminating_replicas = next.terminating_replicas.filter(|_| self.written.terminating);
        if next != status::present(&self.deployment) {
            self.deployment.status = Some(next);
            self.write_status().await?;
            return Ok(Action::Done);
        }
        Ok(match status::check_again_in(&self.deployment, now) {
            Some(pause) => Action::RequeueAfter(pause + Duration::from_secs(1)),
            None => Action::Done,
        })
    }
}
